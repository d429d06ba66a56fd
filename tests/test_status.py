"""What `noisegen status` says of a dataset in the making, and where the time goes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from synthesis_fixtures import Workplace, command, invoke, make_workplace

from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.status import DatasetStatus, dataset_status, duration_text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=30)


def start(place: Workplace, output: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(*place.arguments(output, "-q", "--workers", "1")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def built(place: Workplace, output: Path) -> DatasetStatus:
    build_dataset(
        place.manifest,
        output,
        model=place.model,
        tile_size=64,
        rows_per_shard=3,
        limit=6,
        workers=1,
        quiet=True,
    )
    return dataset_status(output)


def test_a_running_build_is_seen_with_the_shard_it_writes_and_a_killed_one_is_not(
    place: Workplace, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = start(place, output)
    seen: list[DatasetStatus] = []
    while not (seen and seen[-1].shards_done >= 2):
        assert process.poll() is None, "the build ended before it could be seen"
        if (output / "run.json").exists():
            seen.append(dataset_status(output))
    process.kill()
    process.communicate()
    assert all(status.running for status in seen)
    written = {name for status in seen for name in status.writing}
    assert written & {"000000", "000001", "000002"}
    after = dataset_status(output)
    assert not after.running and after.writing == ()
    assert after.shards_done >= 2 and after.seconds_left


def test_looking_all_the_time_keeps_no_build_from_starting(place: Workplace, tmp_path: Path) -> None:
    """The lock is asked for with every look; a build must not take a look for another build."""
    output = tmp_path / "out"
    assert built(place, output).seconds_left == 0
    process = subprocess.Popen(
        command(*place.arguments(output, "-q", "--limit", "6")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    looks = 0
    while process.poll() is None:
        dataset_status(output)
        looks += 1
    assert process.returncode == 0, process.communicate()
    assert looks > 10


def test_shares_of_the_time_sum_to_one_and_are_kept_with_each_shard(place: Workplace, tmp_path: Path) -> None:
    status = built(place, tmp_path / "out")
    assert set(status.stages) == {"read", "synthesize", "encode", "write", "idle"}
    assert sum(status.stages.values()) == pytest.approx(1, abs=1e-3)
    assert all(share > 0 for name, share in status.stages.items() if name != "idle")
    # stages run ahead of the shard that is written, so only the sums over all shards are bounded by the time
    timings = [json.loads(path.read_text()) for path in (tmp_path / "out" / "state").glob("*.timing.json")]
    made = sum(timing["stages"]["synthesize"] + timing["stages"]["encode"] for timing in timings)
    assert len(timings) == 2 and made <= 1.1 * sum(timing["seconds"] for timing in timings)


def test_watching_ends_when_nothing_is_left(place: Workplace, tmp_path: Path) -> None:
    built(place, tmp_path / "out")
    result = invoke("status", str(tmp_path / "out"), "--watch", "0.1", "--json")
    assert json.loads(result.output)["seconds_left"] == 0


def test_lengths_of_time_are_given_in_two_units() -> None:
    spans = (5, 65, 3700, 90000)
    assert [duration_text(s) for s in spans] == ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]
