"""A Ray cluster builds a dataset: the bytes of one process, whatever becomes of processes, nodes and the driver."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_fixtures import (
    DEADLY,
    FAILING,
    NODE,
    connected,
    finished,
    makers,
    meanwhile,
    running_cluster,
    wait_for,
)
from remote_fixtures import S3Server, running_server
from synthesis_fixtures import Workplace, command, contents, make_workplace

from noisegen.errors import NoisegenError, UsageError
from noisegen.synthesis import chunks
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.chunks import Chunks
from noisegen.synthesis.shards import shards_of
from noisegen.synthesis.summary import BuildSummary

SHARDS, VARIANTS = 24, 10


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def cluster(store: S3Server) -> Iterator[Any]:
    with running_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=SHARDS - 9, bad_rows=True)


def build(place: Workplace, output: Path | str, **options: object) -> BuildSummary:
    arguments: dict[str, object] = {"model": place.model, "tile_size": 64, "rows_per_shard": 1, "quiet": True}
    return build_dataset(place.manifest, output, **(arguments | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def expected(place: Workplace) -> dict[str, bytes]:
    """What one process makes."""
    build(place, place.root / "local")
    return contents(place.root / "local")


@pytest.fixture(scope="module")
def large(place: Workplace) -> dict[str, bytes]:
    """The same with so many variants that there is time to end things."""
    build(place, place.root / "large", variants=VARIANTS)
    return contents(place.root / "large")


def stamps(markers: list[Path]) -> dict[Path, tuple[int, int]]:
    """By which one sees whether finished shards were written again."""
    shards = [path.parents[1] / "shards" / f"{path.name[:6]}.tar" for path in markers]
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in [*markers, *shards] if path.exists()
    }


def test_too_many_failures_end_the_build_and_one_process_can_go_on_with_it(
    cluster: Any, place: Workplace, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with connected(cluster), pytest.raises(NoisegenError, match="more than the limit of 2"):
        build(place, tmp_path / "out", executor="ray", max_failures=2)
    before = stamps(finished(tmp_path / "out"))
    assert 0 < len(before) // 2 < SHARDS
    summary = build(place, tmp_path / "out")
    assert contents(tmp_path / "out") == expected
    assert stamps(list(before)) == before
    assert summary.complete


def test_a_process_and_a_node_that_are_killed_cost_no_finished_shard(
    cluster: Any, place: Workplace, large: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    node = cluster.add_node(**NODE)
    kept: dict[Path, tuple[int, int]] = {}

    def kill() -> None:
        wait_for(lambda: len(finished(output)) >= 2)
        os.kill(makers(cluster)[0], signal.SIGKILL)
        wait_for(lambda: len(finished(output)) >= 6)
        kept.update(stamps(finished(output)[:6]))
        cluster.remove_node(node, allow_graceful=False)

    with connected(cluster), meanwhile(kill):
        summary = build(place, output, executor="ray", variants=VARIANTS)
    assert contents(output) == large
    assert stamps(list(kept)) == kept
    assert summary.shards_built >= SHARDS - 6
    assert not (output / "state" / "tmp").exists() or not list((output / "state" / "tmp").iterdir())


def test_a_driver_that_is_killed_or_asked_to_end_leaves_what_the_next_one_completes(
    cluster: Any, place: Workplace, large: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    arguments = ["build-dataset", str(place.manifest), "-o", str(output), "--model", str(place.model)]
    arguments += ["--tile-size", "64", "--rows-per-shard", "1", "--variants", str(VARIANTS), "-q"]
    arguments += ["--executor", "ray"]
    kept: dict[Path, tuple[int, int]] = {}
    # the second one has no cluster, and starts Ray on this machine
    for ending, code, options in (
        (signal.SIGKILL, -9, ["--ray-address", cluster.address]),
        (signal.SIGTERM, 143, ["--workers", "1"]),
    ):
        there = len(finished(output))
        driver = subprocess.Popen(command(*arguments, *options), stderr=subprocess.PIPE, text=True)
        wait_for(lambda there=there: len(finished(output)) >= there + 3)  # type: ignore[misc]
        kept.update(stamps(finished(output)[:3]))
        asked = time.monotonic()
        driver.send_signal(ending)
        _, said = driver.communicate(timeout=30)
        assert driver.returncode == code, said
        assert time.monotonic() - asked < 10
        assert "the same command resumes" in said or code < 0
    assert len(finished(output)) < SHARDS
    # a build is the same whoever makes it, so one process may go on
    summary = build(place, output, variants=VARIANTS)
    assert contents(output) == large
    assert stamps(list(kept)) == kept
    assert summary.complete


def test_a_shard_that_fails_or_ends_its_processes_is_named_and_all_others_are_built(
    cluster: Any,
    place: Workplace,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunks, "ATTEMPTS", 2)
    trouble = {FAILING: "000003", DEADLY: "000007"}
    with connected(cluster, **trouble), pytest.raises(NoisegenError) as caught:
        build(place, tmp_path / "out", executor="ray")
    assert caught.value.exit_code == 1
    text = str(caught.value)
    assert "2 shards could not be made" in text
    assert f"shard 000003, on node {os.uname().nodename}: no room for this one" in text
    assert "shard 000007, over which 2 processes have ended" in text
    names = {path.name[:6] for path in finished(tmp_path / "out")}
    assert {f"{index:06d}" for index in range(SHARDS)} - names == {"000003", "000007"}
    assert not (tmp_path / "out" / "dataset.json").exists()
    summary = build(place, tmp_path / "out")
    assert summary.shards_built == 2
    assert contents(tmp_path / "out") == expected


def test_a_cluster_builds_into_a_bucket_and_leaves_nothing_in_the_staging_folder(
    cluster: Any, store: S3Server, place: Workplace, expected: dict[str, bytes], tmp_path: Path
) -> None:
    bucket = store.bucket()
    with connected(cluster):
        summary = build(place, f"s3://{bucket}/out", executor="ray", staging=tmp_path)
    assert store.contents(bucket, "out") == expected
    assert (summary.output, summary.exit_code) == (f"s3://{bucket}/out", 3)
    assert (summary.shards, summary.shards_built, summary.failures["missing"]) == (SHARDS, SHARDS, 1)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"lock"}
    # only the driver lists what is there, at the start and at the end, not each process or chunk
    listings = [path for path in store.made("GET", bucket) if path.rstrip("/") == f"/{bucket}"]
    assert len(listings) <= 6


def test_a_node_that_would_make_other_bytes_is_refused_and_named(
    cluster: Any, place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "site" / "pillow-1.2.3.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: pillow\nVersion: 1.2.3\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(other.parent), os.environ["PYTHONPATH"]]))
        node = cluster.add_node(**NODE)
    try:
        with connected(cluster), pytest.raises(UsageError) as caught:
            build(place, tmp_path / "out", executor="ray", variants=VARIANTS)
    finally:
        cluster.remove_node(node)
    assert f"node {os.uname().nodename} would make other bytes" in str(caught.value)
    assert "versions.pillow" in str(caught.value) and "1.2.3" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0, "world_size": 2}, "do not go with --executor ray"),
        ({"profile": True}, "one process"),
        ({"device": "cuda:1"}, "Ray chooses the GPUs"),
        ({"ray_address": "ray://10.0.0.1:10001"}, "ray job submit"),
        ({"ray_address": "http://10.0.0.1:8265"}, "ray job submit"),
        ({"executor": "slurm"}, "unknown executor"),
        ({"executor": "local", "gpus_per_task": 0.5}, "for --executor ray only"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_started(
    place: Workplace, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match=message):
        build(place, tmp_path / "out", **({"executor": "ray"} | options))


def test_without_ray_it_is_said_how_to_install_it(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noisegen.synthesis.build.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'noisegen\[ray\]'"):
        build(place, tmp_path / "out", executor="ray")


def test_chunks_grow_to_some_seconds_and_shrink_so_that_all_end_at_once() -> None:
    waiting = Chunks(shards_of(10_000, 1))
    assert len(waiting.take(8)) == 1
    sizes = []
    given = []
    while waiting:
        waiting.took(1, 0.1)
        given += (chunk := waiting.take(8))
        sizes.append(len(chunk))
    assert [shard.index for shard in given] == list(range(1, 10_000))
    assert max(sizes) == 200 and sizes == sorted(sizes, reverse=True)
    # what one taker has at the end is little beside what it has made
    assert sizes[-16:] == [1] * 16


def test_a_shard_over_which_processes_end_goes_out_alone_and_not_for_ever() -> None:
    waiting = Chunks(shards_of(3, 1))
    chunk = waiting.take(1)
    assert waiting.take_suspect() == ()
    # which may have been another's fault
    assert waiting.lost(chunk, alone=False) == 0
    for _ in range(chunks.ATTEMPTS - 1):
        assert waiting.take_suspect() == chunk
        assert waiting.lost(chunk, alone=True) == 0
    assert waiting.take_suspect() == chunk
    assert waiting.lost(chunk, alone=True) == chunks.ATTEMPTS
    rest = []
    while waiting:
        rest += waiting.take(1)
    assert [shard.index for shard in rest] == [1, 2]
