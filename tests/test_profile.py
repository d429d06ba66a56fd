"""`--profile`: a table whose numbers agree, and a trace that viewers of the Chrome Trace Event Format open."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from synthesis_fixtures import Workplace, command, contents, invoke, make_workplace
from trace_fixtures import Event, read_trace, spans

from noisegen.synthesis import pipeline, trace, writing
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.engine import Engine
from noisegen.synthesis.formats import shard_files
from noisegen.synthesis.profile import Profile
from noisegen.synthesis.status import dataset_status
from noisegen.synthesis.summary import BuildSummary
from noisegen.synthesis.trace import Trace
from noisegen.synthesis.verify import verify_dataset


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
    """A build of some seconds, once its trace has been begun."""
    arguments = place.arguments(output, "-q", "--workers", "2", "--variants", "4", "--profile")
    process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    path = output / "state" / "trace.json"
    while not (path.exists() and path.read_text().count('"name":"synthesize"') > 5):
        assert process.poll() is None, "the build ended before its trace could be seen"
        time.sleep(0.01)
    return process


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
    process.kill()
    process.communicate()
    assert not (output / "state" / "trace.json").read_text().endswith("]\n")
    tracks = spans(read_trace(output / "state" / "trace.json"))
    assert {"writer", "decoder 0"} <= set(tracks)
    made = [event for name in ("maker 0", "maker 1") for event in tracks.get(name, [])]
    assert sum(event["name"] == "synthesize" for event in made) > 5


def test_an_interrupted_build_prints_its_profile_and_ends_the_trace(place: Workplace, tmp_path: Path) -> None:
    """Looking at the first minute of a long build is what --profile is most used for."""
    output = tmp_path / "out"
    process = start(place, output)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command resumes" in errors and "profile   " in errors
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
    assert 40 <= len(events) < sum(line.calls or 0 for line in profile.spent)
    assert (tmp_path / "out" / "state" / "trace.json").read_text().endswith("]\n")
    made = next(line for line in profile.spent if line.activity == "synthesize")
    assert made.calls == profile.tiles == dataset_status(tmp_path / "out").tiles


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
