"""Interrupting, repeating and repeating differently: one folder, one result."""

from __future__ import annotations

import fcntl
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from synthesis_fixtures import PICTURES, Workplace, command, contents, invoke, make_workplace, save_tiny_model

from noisegen.errors import UsageError
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.choices import FORMAT_NAMES


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=30)


def build(place: Workplace, output: Path, **options: object) -> int:
    arguments: dict[str, object] = {"model": place.model, "tile_size": 64, "rows_per_shard": 3, "quiet": True}
    return build_dataset(place.manifest, output, **(arguments | options)).shards_built  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=FORMAT_NAMES)
def whole(request: pytest.FixtureRequest, place: Workplace) -> tuple[str, Path]:
    output = place.root / f"whole-{request.param}"
    build(place, output, format=request.param)
    return request.param, output


def start(place: Workplace, output: Path, output_format: str) -> subprocess.Popen[bytes]:
    arguments = place.arguments(output, "--format", output_format, "--quiet", "--workers", "2")
    return subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_shards(process: subprocess.Popen[bytes], output: Path, count: int) -> None:
    while len(list(output.glob("state/*.done.json"))) < count:
        assert process.poll() is None, "the build ended before it could be killed"
        time.sleep(0.002)


def test_a_build_killed_at_random_moments_and_rerun_equals_one_that_was_not(
    place: Workplace, whole: tuple[str, Path], tmp_path: Path
) -> None:
    output_format, reference = whole
    moments = random.Random(0)
    output = tmp_path / "out"
    for shards in (1, 5):
        process = start(place, output, output_format)
        wait_for_shards(process, output, shards)
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.communicate()
        for path in [*output.glob(PICTURES[output_format]), *output.glob("index/*")]:
            assert path.read_bytes() == (reference / path.relative_to(output)).read_bytes()
    assert 0 < build(place, output, format=output_format) < 10
    assert contents(output) == contents(reference)


def test_a_build_killed_while_it_assembles_the_databases_assembles_them_again(
    place: Workplace, tmp_path: Path
) -> None:
    output, reference = tmp_path / "out", place.root / "whole-lmdb"
    if not reference.exists():
        build(place, reference, format="lmdb")
    shutil.copytree(reference, output)
    for name in ("lq.lmdb", "gt.lmdb"):
        shutil.rmtree(output / name)
    (output / "state" / "lmdb.json").unlink()
    process = start(place, output, "lmdb")
    while not (output / "state" / "tmp" / "lmdb" / "gt.lmdb").exists():
        assert process.poll() is None, "the databases were there before the build could be killed"
    process.kill()
    process.communicate()
    assert not (output / "state" / "lmdb.json").exists()
    assert build(place, output, format="lmdb") == 0
    assert contents(output) == contents(reference)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drops_the_unfinished_shard_and_says_how_to_go_on(
    place: Workplace, tmp_path: Path, number: int, code: int
) -> None:
    output = tmp_path / "out"
    process = start(place, output, "webdataset")
    wait_for_shards(process, output, 2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert b"the same command resumes" in errors
    assert b"Traceback" not in errors
    done = {path.name.split(".")[0] for path in output.glob("state/*.done.json")}
    assert {path.stem for path in output.glob("shards/*")} == done
    assert not list(output.glob("state/tmp/*"))
    assert not (output / "dataset.json").exists()


def test_a_finished_build_does_nothing_again(place: Workplace, whole: tuple[str, Path]) -> None:
    output_format, output = whole

    def written() -> dict[Path, int]:
        files = [*output.glob(PICTURES[output_format]), *output.glob("*.lmdb/*"), *output.glob("index/*")]
        return {path: path.stat().st_mtime_ns for path in files}

    before = written()
    assert build(place, output, format=output_format) == 0
    assert written() == before and len(before) >= 20


def test_a_lost_file_has_its_shard_built_again(
    place: Workplace, whole: tuple[str, Path], tmp_path: Path
) -> None:
    output_format, reference = whole
    output = tmp_path / "out"
    shutil.copytree(reference, output)
    victim = sorted(output.glob(PICTURES[output_format]))[-1]
    victim.unlink()
    assert build(place, output, format=output_format) == 1
    assert contents(output) == contents(reference)


def test_another_configuration_is_refused_and_every_difference_shown(
    place: Workplace, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    build(place, output, limit=2)
    before = contents(output)
    result = invoke(*place.arguments(output, "--limit", "2", "--seed", "9", "--variants", "2"))
    assert result.exit_code == 2
    assert "config.seed: 0 -> 9" in result.output
    assert "config.variants: 1 -> 2" in result.output
    assert contents(output) == before


def test_another_checkpoint_is_refused(place: Workplace, tmp_path: Path) -> None:
    output = tmp_path / "out"
    build(place, output, limit=2)
    other = save_tiny_model(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(UsageError, match="checkpoint_sha256"):
        build(place, output, limit=2, model=other)


def test_workers_batch_size_and_automatic_shards_may_change_between_runs(
    place: Workplace, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    build(place, output, limit=4)
    assert build(place, output, limit=4, workers=3, batch_size=7, rows_per_shard=None) == 0


def test_a_folder_of_unknown_origin_is_left_alone(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt" / "00000000-mine.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match="gt but no run"):
        build(place, tmp_path, format="folders")
    assert (tmp_path / "gt" / "00000000-mine.png").read_bytes() == b"mine"


def test_a_second_build_into_the_same_folder_is_refused(place: Workplace, tmp_path: Path) -> None:
    output = tmp_path / "out"
    (output / "state").mkdir(parents=True)
    with (output / "state" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = invoke(*place.arguments(output))
    assert result.exit_code == 2
    assert "another command is writing into" in result.output
    assert [path.name for path in output.iterdir()] == ["state"]
