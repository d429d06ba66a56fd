"""`--profile`: a table whose numbers agree, and a trace that viewers of the Chrome Trace Event Format open."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from synthesis_fixtures import Workplace, command, contents, invoke, make_workplace

from noisegen.synthesis import pipeline, trace, writing
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.engine import Engine
from noisegen.synthesis.formats import shard_files
from noisegen.synthesis.profile import Profile
from noisegen.synthesis.stages import StageClock
from noisegen.synthesis.status import dataset_status
from noisegen.synthesis.summary import BuildSummary
from noisegen.synthesis.trace import Trace
from noisegen.synthesis.verify import verify_dataset

Event = dict[str, Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=40)


@pytest.fixture(scope="module")
def built(place: Workplace) -> tuple[Path, Profile]:
    output = place.root / "profiled"
    summary = build(place, output, limit=12)
    assert summary.profile is not None
    return output, summary.profile


def build(place: Workplace, output: Path | str, **options: object) -> BuildSummary:
    arguments: dict[str, object] = {
        "model": place.model,
        "tile_size": 64,
        "rows_per_shard": 3,
        "workers": 3,
        "profile": True,
        "quiet": True,
    }
    return build_dataset(place.manifest, output, **(arguments | options))  # type: ignore[arg-type]


def start(place: Workplace, output: Path) -> subprocess.Popen[str]:
    arguments = place.arguments(output, "-q", "--workers", "2", "--profile")
    return subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_trace(path: Path) -> list[Event]:
    """The events, after a look at what the format demands of each."""
    text = path.read_text()
    events: list[Event] = json.loads(text if text.endswith("]\n") else text + "]")
    for event in events:
        assert isinstance(event["name"], str) and isinstance(event["pid"], int)
        assert event["ph"] in ("X", "C", "M")
        if event["ph"] == "X":
            assert isinstance(event["cat"], str) and isinstance(event["tid"], int)
            assert event["ts"] >= 0 and event["dur"] >= 0
        elif event["ph"] == "C":
            assert event["ts"] >= 0
            assert all(isinstance(value, int | float) for value in event["args"].values())
        else:
            assert event["name"] in ("process_name", "thread_name", "thread_sort_index")
    return events


def spans(events: list[Event]) -> dict[str, list[Event]]:
    """Complete events by the name of their track, which every track must have."""
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    tracks: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[names[event["tid"]]].append(event)
    assert len(tracks) == len(names), "two tracks share a name"
    return tracks


def kind(track: str) -> str:
    return track.split(" ")[0]


def test_a_profiled_build_has_the_bytes_of_any_other_and_verify_finds_nothing(
    place: Workplace, built: tuple[Path, Profile]
) -> None:
    output, _ = built
    plain = place.root / "plain"
    assert build(place, plain, limit=12, profile=False).profile is None
    assert not (plain / "state" / "trace.json").exists()
    assert contents(plain) == contents(output)
    assert verify_dataset(output, model=place.model).problems == {}


def test_the_time_of_each_thread_is_accounted_for_once(built: tuple[Path, Profile]) -> None:
    """The lines of a kind of thread sum to its threads' time, and nobody was busy for longer than there was time."""
    _, profile = built
    assert profile.threads == {"maker": 3, "decoder": 1, "writer": 1}
    for threads, count in profile.threads.items():
        lines = [line for line in profile.spent if line.threads == threads]
        assert sum(line.seconds for line in lines) == pytest.approx(count * profile.seconds)
        assert sum(line.share for line in lines) == pytest.approx(1)
        assert all(line.seconds >= 0 for line in lines), lines
        assert lines[-1].activity == ("other" if threads == "writer" else "idle")
    done = {(line.threads, line.activity): line for line in profile.spent}
    tiles = done["maker", "synthesize"].calls
    assert tiles == profile.tiles == done["writer", "write"].calls
    assert done["decoder", "decode"].calls == done["writer", "header"].calls == 12
    stages = profile.stage_seconds()
    assert {"read", "synthesize", "encode", "write", "idle", "other"} == set(stages)
    assert sum(stages.values()) == pytest.approx(5 * profile.seconds)
    assert profile.first_tile is not None and profile.first_shard is not None
    assert profile.before < profile.first_tile <= profile.first_shard < profile.before + profile.seconds
    assert profile.peak_bytes > 50e6


def test_spans_of_a_thread_do_not_overlap_and_sum_to_the_table(built: tuple[Path, Profile]) -> None:
    output, profile = built
    tracks = spans(read_trace(output / "state" / "trace.json"))
    assert {"shards", "writer", "decoder 0", "maker 0"} <= set(tracks)
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for track, events in tracks.items():
        ordered = sorted(events, key=lambda event: event["ts"])
        for one, other in pairwise(ordered):
            # in whole nanoseconds, so that floating point does not make neighbours overlap
            assert round(1000 * (one["ts"] + one["dur"])) <= round(1000 * other["ts"]), (track, one, other)
        for event in events:
            sums[kind(track), event["name"]] += event["dur"] / 1e6
    lines = {(line.threads, line.activity): line.seconds for line in profile.spent if line.calls is not None}
    assert sums["writer", "prepare"] == pytest.approx(profile.before, abs=1e-5)
    compared = {key: value for key, value in sums.items() if key[0] != "shards" and key[1] != "prepare"}
    assert compared == pytest.approx(lines, abs=1e-5)


def test_spans_say_what_was_worked_on(place: Workplace, built: tuple[Path, Profile]) -> None:
    output, profile = built
    events = read_trace(output / "state" / "trace.json")
    named: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        named[event["name"]].append(event)
    decoded = {(event["args"]["row"], event["args"]["id"]) for event in named["decode"]}
    assert decoded == {(i, f"picture {i}") for i in range(12)}
    assert sum(event["args"]["tiles"] for event in named["synthesize"]) == profile.tiles
    keys = {path.name.split(".")[0] for path in _tar_names(output)}
    assert {event["args"]["first"] for event in named["encode"]} == keys
    shards = {name: found[0] for name, found in named.items() if name.startswith("shard ")}
    assert sorted(shards) == [f"shard {i:06d}" for i in range(4)]
    on_disk = (output / "shards" / "000000.tar").stat().st_size
    assert (
        shards["shard 000000"]["args"]["bytes"] == on_disk + (output / "index/000000.parquet").stat().st_size
    )
    counters = {event["name"]: event["args"]["value"] for event in events if event["ph"] == "C"}
    assert counters["tiles in flight"] == counters["photographs decoded ahead"] == 0, (
        "nothing is left at the end"
    )
    assert counters["memory (MB)"] > 50


def _tar_names(output: Path) -> Iterator[Path]:
    import tarfile

    for path in output.glob("shards/*.tar"):
        with tarfile.open(path) as archive:
            yield from map(Path, archive.getnames())


def test_the_command_prints_the_table_and_keeps_the_numbers(place: Workplace, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = invoke(*place.arguments(output, "-q", "--limit", "6", "--workers", "2", "--profile"))
    assert result.exit_code == 0, result.output
    text = result.output
    for word in (
        "2 maker ",
        "1 decoder ",
        "1 writer ",
        "synthesize",
        "encode",
        "idle",
        "read: decode",
        "write",
    ):
        assert word in text, word
    assert f"trace     {output}/state/trace.json" in text
    kept = json.loads((output / "state" / "profile.json").read_text())
    assert f"limit     {kept['bottleneck']}: {kept['advice']}" in text
    assert set(kept["stage_seconds"]) >= {"read", "synthesize", "encode", "write", "idle"}
    again = invoke(*place.arguments(output, "-q", "--limit", "6", "--workers", "2", "--profile"))
    assert "profile " not in again.output, "nothing was made, so the profile of what was made is to stay"
    assert json.loads((output / "state" / "profile.json").read_text()) == kept


@pytest.mark.parametrize(
    ("where", "name", "seconds", "stage", "advice"),
    [
        (pipeline, "read_image", 0.1, "read", "decoded slower"),
        (shard_files, "encode_png", 0.02, "encode", "--png-level stored"),
        (Engine, "run", 0.05, "synthesize", "a GPU help"),
        (writing, "write_index", 0.5, "write", "disk"),
    ],
)
def test_the_slow_stage_is_named_as_by_status_with_what_would_help(
    place: Workplace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: object,
    name: str,
    seconds: float,
    stage: str,
    advice: str,
) -> None:
    quick = getattr(where, name)

    def slow(*arguments: object, **options: object) -> object:
        time.sleep(seconds)
        return quick(*arguments, **options)

    monkeypatch.setattr(where, name, slow)
    # what else is written to the disk meanwhile is not to decide
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    profile = build(place, tmp_path / "out", limit=6, workers=1).profile
    assert profile is not None
    status = dataset_status(tmp_path / "out")
    assert profile.bottleneck == stage == status.bottleneck, profile.text()
    assert f"limited by: {stage}" in status.text()
    assert advice in profile.advice


def test_the_trace_of_a_killed_build_is_whole_up_to_then(place: Workplace, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = start(place, output)
    while len(list(output.glob("state/*.done.json"))) < 3:
        assert process.poll() is None, "the build ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (output / "state" / "trace.json").read_text().endswith("]\n")
    tracks = spans(read_trace(output / "state" / "trace.json"))
    assert {"writer", "decoder 0", "maker 0"} <= set(tracks)
    assert sum(event["name"] == "synthesize" for event in tracks["maker 0"]) > 2


def test_an_interrupted_build_prints_its_profile_and_ends_the_trace(place: Workplace, tmp_path: Path) -> None:
    """Looking at the first minute of a long build is what --profile is most used for."""
    output = tmp_path / "out"
    process = start(place, output)
    while len(list(output.glob("state/*.done.json"))) < 3:
        assert process.poll() is None, "the build ended before it could be interrupted"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command resumes" in errors and "limit     " in errors
    assert (output / "state" / "trace.json").read_text().endswith("]\n")
    assert read_trace(output / "state" / "trace.json")


def test_a_trace_ends_after_so_many_events_and_the_table_goes_on(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "MAX_EVENTS", 40)
    monkeypatch.setattr(trace, "WRITE_SECONDS", 0.001)
    profile = build(place, tmp_path / "out").profile
    assert profile is not None and "it ends after" in profile.text()
    events = read_trace(tmp_path / "out" / "state" / "trace.json")
    assert 40 <= len(events) < profile.tiles
    assert (tmp_path / "out" / "state" / "trace.json").read_text().endswith("]\n")
    made = next(line for line in profile.spent if line.activity == "synthesize")
    assert made.calls == profile.tiles == dataset_status(tmp_path / "out").tiles


def test_spans_that_a_disk_is_too_slow_for_are_not_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "MAX_WAITING", 100)
    monkeypatch.setattr(trace, "WRITE_SECONDS", 60)
    slow = Trace(tmp_path / "trace.json", time.perf_counter())
    clock = StageClock(1, slow)
    for _ in range(1000):
        with clock.stage("encode"):
            pass
    assert slow.cut is not None and len(slow._waiting) <= 101
    slow.close()
    assert len(spans(read_trace(tmp_path / "trace.json"))["writer"]) == 101
    assert clock.work()[0].calls == 1000


def test_a_full_disk_ends_the_trace_and_not_the_build(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Trace.__init__

    def onto_full_disk(self: Trace, path: Path, origin: float) -> None:
        begin(self, path, origin)
        self._file = full

    monkeypatch.setattr(Trace, "__init__", onto_full_disk)
    with Path("/dev/full").open("wb", buffering=0) as full:
        summary = build(place, tmp_path / "out", limit=3)
    assert summary.exit_code == 0 and summary.profile is not None
    assert "No space left on device" in summary.profile.text()


def test_a_stage_costs_microseconds() -> None:
    """A tile has about six; on the fastest GPU thousands are made in a second."""

    def microseconds(clock: StageClock) -> float:
        started = time.thread_time()
        for _ in range(3000):
            with clock.stage("synthesize", pixels=65536, tiles=1, first="00000000-00-00000-00000"):
                pass
        return (time.thread_time() - started) / 3000 * 1e6

    assert min(microseconds(StageClock(1)) for _ in range(5)) < 15


def test_a_stage_costs_microseconds_with_a_trace_too(tmp_path: Path) -> None:
    recording = Trace(tmp_path / "trace.json", time.perf_counter())
    clock = StageClock(1, recording)
    started = time.process_time()
    for _ in range(3000):
        with clock.stage("synthesize", pixels=65536, tiles=1, first="00000000-00-00000-00000"):
            pass
    recording.close()
    assert (time.process_time() - started) / 3000 * 1e6 < 100


def test_laps_of_all_threads_sum_to_the_whole() -> None:
    """Shards are timed by laps of the clock that the profile reads as a whole: nothing may be lost between them."""
    clock = StageClock(2)
    laps = []

    def work() -> None:
        for _ in range(300):
            with clock.stage("encode"):
                pass

    threads = [threading.Thread(target=work, name=f"maker_{i}") for i in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        laps.append(clock.lap(1))
    laps.append(clock.lap(1))
    (work_done,) = clock.work()
    assert (work_done.threads, work_done.calls) == ("maker", 600)
    assert sum(lap.stages["encode"] for lap in laps) == pytest.approx(work_done.seconds, abs=1e-4 * len(laps))


def test_a_device_has_a_track_of_its_own_that_counts_in_no_sum(tmp_path: Path) -> None:
    recording = Trace(tmp_path / "trace.json", 0.0)
    clock = StageClock(1, recording)
    clock.record("batch", 1.0, 1.5, track="cuda:0", tiles=16)
    recording.close()
    (event,) = spans(read_trace(tmp_path / "trace.json"))["cuda:0"]
    assert (event["ts"], event["dur"], event["args"]) == (1e6, 5e5, {"tiles": 16})
    assert clock.work() == [] and clock.recording and not StageClock(1).recording


def test_retry_failed_has_a_profile_of_what_it_redoes(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=4)
    photograph = tmp_path / "photo1.png"
    photograph.rename(tmp_path / "away.png")
    output = tmp_path / "out"
    assert build(place, output, profile=False).exit_code == 3
    (tmp_path / "away.png").rename(photograph)
    result = invoke("retry-failed", str(output), "--profile", "-q")
    assert result.exit_code == 0 and "limit     " in result.output
    assert read_trace(output / "state" / "trace.json")
