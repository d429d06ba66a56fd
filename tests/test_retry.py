"""Rows that failed are tried again; what is there stays until something better is."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from synthesis_fixtures import Workplace, command, contents, invoke, make_workplace

from noisegen.errors import UsageError
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.retry import retry_failed
from noisegen.synthesis.status import dataset_status
from noisegen.synthesis.verify import verify_dataset

PHOTOGRAPHS = 12


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace with a dataset of all its photographs, ``whole``, and one that lacks two of them, ``holed``."""
    place = make_workplace(tmp_path_factory.mktemp("place"), photographs=PHOTOGRAPHS)
    build(place, place.root / "whole")
    for name in ("photo4.png", "photo10.png"):
        (place.root / name).rename(place.root / f"{name}.away")
    build(place, place.root / "holed")
    for name in ("photo4.png", "photo10.png"):
        (place.root / f"{name}.away").rename(place.root / name)
    return place


@pytest.fixture
def place(original: Workplace, tmp_path: Path) -> Workplace:
    shutil.copytree(original.root, tmp_path / "place")
    moved = Workplace(tmp_path / "place")
    host = moved.root / "holed" / "state" / "host.json"
    host.write_text(host.read_text().replace(str(original.root), str(moved.root)))
    return moved


def build(place: Workplace, output: Path) -> None:
    build_dataset(
        place.manifest, output, model=place.model, tile_size=64, rows_per_shard=3, workers=1, quiet=True
    )


def times(output: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in output.glob("shards/*")}


def test_only_shards_with_rows_that_may_succeed_are_redone_and_equal_a_build_that_never_failed(
    place: Workplace,
) -> None:
    output = place.root / "holed"
    before = times(output)
    result = invoke("retry-failed", str(output), "--json", "-q")
    report = json.loads(result.stdout)
    assert result.exit_code == 0, result.output
    assert (report["shards"], report["recovered"]) == (["000001", "000003"], 2)
    assert contents(output) == contents(place.root / "whole")
    changed = {name for name, moment in times(output).items() if moment != before[name]}
    assert changed == {"000001.tar", "000003.tar"}
    assert verify_dataset(output).exit_code == 0


def test_a_dry_run_lists_the_rows_and_changes_nothing(place: Workplace) -> None:
    output = place.root / "holed"
    before = contents(output)
    result = invoke("retry-failed", str(output), "--dry-run")
    assert result.exit_code == 3
    assert "row 4  missing  photo4.png" in result.output and "row 10  missing" in result.output
    assert contents(output) == before


def test_rows_that_fail_as_before_by_their_header_cost_no_shard(place: Workplace) -> None:
    output = place.root / "holed"
    (place.root / "photo4.png").unlink()
    report = retry_failed(output, quiet=True)
    assert (report.shards, report.hopeless, report.recovered, report.exit_code) == (
        ("000003",),
        {"missing": 1},
        1,
        3,
    )
    left = [json.loads(line) for line in (output / "failures.jsonl").read_text().splitlines()]
    assert [(failure["row"], failure["reason"]) for failure in left] == [(4, "missing")]


def test_a_photograph_that_is_still_damaged_keeps_its_record(place: Workplace) -> None:
    output = place.root / "holed"
    photo = place.root / "photo4.png"
    data = bytearray(photo.read_bytes())
    data[len(data) // 2] ^= 1
    photo.write_bytes(data)
    report = retry_failed(output, quiet=True)
    assert (len(report.tried), report.recovered, report.exit_code) == (2, 1, 3)
    (left,) = [json.loads(line) for line in (output / "failures.jsonl").read_text().splitlines()]
    assert (left["row"], left["reason"]) == (4, "unreadable")
    assert verify_dataset(output).exit_code == 0


def test_only_failures_of_the_reason_asked_for_are_tried(place: Workplace) -> None:
    report = retry_failed(place.root / "holed", reason="truncated", quiet=True)
    assert (report.failures, report.shards, report.build, report.exit_code) == ({}, (), None, 0)


def test_a_shard_whose_other_photographs_are_gone_stays_as_it_was(place: Workplace) -> None:
    """Otherwise a folder that is not mounted would cost tiles that are there."""
    output = place.root / "holed"
    before = contents(output)
    for name in ("photo3.png", "photo9.png"):
        (place.root / name).unlink()
    result = invoke("retry-failed", str(output), "-q")
    assert result.exit_code == 3
    assert "kept as it was: the shard of row 3" in result.output
    assert contents(output) == before


def test_a_retry_killed_at_any_moment_leaves_no_less_than_before_and_goes_on(place: Workplace) -> None:
    output = place.root / "holed"
    for delay in (0.0, 0.02, 0.05):
        process = subprocess.Popen(
            command("retry-failed", str(output), "-q"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while not list(output.glob("state/*.retry.json")) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(delay)
        process.kill()
        process.communicate()
        status = dataset_status(output)
        # a shard lacks only for the instant in which its files are exchanged
        assert status.shards_done >= 3 and not status.running
    retry_failed(output, quiet=True)
    assert contents(output) == contents(place.root / "whole")


def test_the_same_build_finishes_what_an_interrupted_retry_left(place: Workplace) -> None:
    output = place.root / "holed"
    (output / "state" / "000001.retry.json").write_text("{}")
    assert dataset_status(output).retried == ("000001",)
    build(place, output)
    assert dataset_status(output).retried == ()
    failures = [json.loads(line) for line in (output / "failures.jsonl").read_text().splitlines()]
    assert [failure["row"] for failure in failures] == [10]


def test_shards_that_were_never_built_are_left_alone(place: Workplace) -> None:
    output = place.root / "holed"
    for path in [output / "state" / "000000.done.json", output / "dataset.json"]:
        path.unlink()
    retry_failed(output, quiet=True)
    assert dataset_status(output).shards_done == 3
    assert not (output / "dataset.json").exists()


def test_photographs_and_checkpoint_may_have_moved(place: Workplace, tmp_path: Path) -> None:
    place.root.rename(tmp_path / "elsewhere")
    moved = Workplace(tmp_path / "elsewhere")
    output = moved.root / "holed"
    with pytest.raises(UsageError, match="does not exist"):
        retry_failed(output, quiet=True)
    report = retry_failed(output, manifest=moved.manifest, root=moved.root, model=moved.model, quiet=True)
    assert report.recovered == 2
    assert retry_failed(output, quiet=True).exit_code == 0


def test_another_manifest_is_refused(place: Workplace, tmp_path: Path) -> None:
    other = make_workplace(tmp_path, photographs=3)
    before = contents(place.root / "holed")
    with pytest.raises(UsageError, match="not the manifest"):
        retry_failed(place.root / "holed", manifest=other.manifest, quiet=True)
    assert contents(place.root / "holed") == before
