"""What a build survives: short forms of the scripts in tests/faults, and faults inside its own threads."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthesis_fixtures import Workplace, contents, make_workplace

from noisegen.errors import NoisegenError, UsageError
from noisegen.progress import Progress
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.engine import Engine, TileJob
from noisegen.synthesis.interrupt import Interrupted, stop_on_signals
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.locks import locked
from noisegen.synthesis.threads import PATIENCE_SECONDS, worker_threads
from noisegen.synthesis.verify import verify_dataset

SCRIPTS = Path(__file__).parent / "faults"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=7)


@pytest.fixture(scope="module")
def whole(place: Workplace) -> dict[str, bytes]:
    build(place, place.root / "whole")
    return contents(place.root / "whole")


def build(place: Workplace, output: Path) -> int:
    return build_dataset(
        place.manifest, output, model=place.model, tile_size=64, rows_per_shard=3, workers=2, quiet=True
    ).shards_built


@pytest.mark.parametrize(
    "arguments",
    [
        "kill.py --kills 3 --formats webdataset --photographs 6",
        "ranks.py --kills 2 --photographs 6",
        "corruption.py --bytes 8 --formats webdataset",
        "two_builds.py --rounds 1 --formats folders",
        "disk.py --sizes 1 --formats folders",
        "fuzz.py --cases 200 --seconds 60 --save {}",
    ],
)
def test_the_script_finds_no_broken_promise(arguments: str, tmp_path: Path) -> None:
    script, *options = arguments.format(tmp_path).split()
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, *options], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["violations"] == 0


@pytest.mark.parametrize("fault", [RuntimeError("no such kernel"), MemoryError()])
def test_a_fault_in_one_tile_ends_the_run_and_costs_no_finished_shard(
    place: Workplace,
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
) -> None:
    run, calls = Engine.run, []

    def failing(engine: Engine, jobs: list[TileJob]) -> list[np.ndarray]:
        calls.append(jobs)
        if len(calls) == 25:
            raise fault
        return run(engine, jobs)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "run", failing)
        with pytest.raises(type(fault)):
            build(place, tmp_path / "out")
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]
    done = list((tmp_path / "out" / "state").glob("*.done.json"))
    assert 0 < len(done) < 3 and not list((tmp_path / "out" / "state").glob("tmp/*"))
    assert verify_dataset(tmp_path / "out").problems == {}
    assert build(place, tmp_path / "out") == 3 - len(done)
    assert contents(tmp_path / "out") == whole


def test_a_process_that_crashes_in_a_decoder_is_resumed(
    place: Workplace, whole: dict[str, bytes], tmp_path: Path
) -> None:
    program = (
        "import os, sys, noisegen.synthesis.pipeline as pipeline\n"
        "from noisegen.cli import main\n"
        "read, calls = pipeline.read_image, []\n"
        "def crash(path, **options):\n"
        "    calls.append(path)\n"
        "    if len(calls) == 6: os.abort()\n"
        "    return read(path, **options)\n"
        "pipeline.read_image = crash\n"
        "main()\n"
    )
    arguments = place.arguments(tmp_path / "out", "--quiet")
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, check=False)
    assert done.returncode == -signal.SIGABRT
    assert 0 < build(place, tmp_path / "out") <= 3
    assert contents(tmp_path / "out") == whole


def test_a_file_system_without_locks_is_named(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", without)
    with pytest.raises(UsageError, match=r"cannot lock .*no flock.*another file system"):
        build(place, tmp_path / "out")


def test_an_error_while_tidying_up_does_not_hide_the_full_disk(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    # after the files of the shard are in place, so that there is nothing left to remove
    monkeypatch.setattr("noisegen.synthesis.layout.DatasetFolder.write_marker", full)
    with pytest.raises(NoisegenError, match=r"No space left on device.*the same command resumes"):
        build(place, tmp_path / "out")


def test_after_a_signal_slow_threads_are_not_waited_for() -> None:
    release = threading.Event()
    started = time.monotonic()
    with (
        pytest.raises(Interrupted),
        stop_on_signals() as stop,
        stop.between_steps(),
        worker_threads(1, "slow") as pool,
    ):
        future = pool.submit(release.wait, 60)
        os.kill(os.getpid(), signal.SIGTERM)
        stop.result(future)
    assert time.monotonic() - started < PATIENCE_SECONDS + 3
    release.set()


def test_a_signal_outside_the_writing_of_shards_ends_the_run_at_once() -> None:
    with pytest.raises(Interrupted) as caught, stop_on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            time.sleep(0.01)
    assert caught.value.exit_code == 130
    with pytest.raises(Interrupted), stop_on_signals() as stop:
        with stop.between_steps():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            finished = True
        time.sleep(10)
    assert finished


class ClosedLog(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_log_that_was_closed_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", ClosedLog())
    with Progress(3, "photo", "build-dataset", interval=0.0) as progress:
        progress.update(1)
        progress.update(2)
    assert progress.done == 3


def test_a_damaged_run_file_is_found_and_written_anew_but_another_run_refused(
    place: Workplace, whole: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    build(place, output)
    good = (output / "run.json").read_bytes()
    for damage in (good.replace(b'"seed": 0', b'"seed": 7'), good[:50], b"[]"):
        (output / "run.json").write_bytes(damage)
        assert verify_dataset(output).exit_code == 1
        assert build(place, output) == 0
        assert contents(output) == whole
    (output / "state" / "run.xxh3").unlink()
    (output / "run.json").write_bytes(good.replace(b'"seed": 0', b'"seed": 7'))
    with pytest.raises(UsageError, match=r"config\.seed: 7 -> 0"):
        build(place, output)


def test_the_lock_is_what_keeps_the_second_build_out(place: Workplace, tmp_path: Path) -> None:
    with (
        locked(DatasetFolder(tmp_path)),
        pytest.raises(UsageError, match="another"),
    ):
        build(place, tmp_path)
