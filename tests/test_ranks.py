"""Several processes build one dataset: the same bytes as by one, whatever their number, order and end."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from synthesis_fixtures import Workplace, contents, invoke, make_workplace

from noisegen.errors import NoisegenError, UsageError
from noisegen.synthesis import locks
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.locks import locked
from noisegen.synthesis.rank import Rank, resolve_rank
from noisegen.synthesis.shards import shards_of
from noisegen.synthesis.status import dataset_status
from noisegen.synthesis.summary import BuildSummary
from noisegen.synthesis.verify import verify_dataset

SLURM = {"SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_MAX": "16"}
SLURM |= {"SLURM_ARRAY_TASK_STEP": "2", "SLURM_ARRAY_TASK_ID": "14"}


@pytest.mark.parametrize(
    ("environment", "world_size", "expected"),
    [
        ({}, None, Rank()),
        (SLURM, None, Rank(2, 4)),
        (SLURM | {"SLURM_ARRAY_TASK_ID": "3"}, 8, Rank(3, 8)),
        ({"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "8"}, None, Rank(3, 8)),
        ({"JOB_COMPLETION_INDEX": "3"}, 8, Rank(3, 8)),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "2"}, None, Rank(0, 2)),
        ({"BATCH_TASK_INDEX": "1", "BATCH_TASK_COUNT": "2"}, None, Rank(1, 2)),
        ({"RANK": "5", "WORLD_SIZE": "6", "LOCAL_RANK": "1"}, None, Rank(5, 6)),
        ({"RANK": "5", "WORLD_SIZE": "6"}, 1, Rank()),
        # a scheduler of jobs that starts torchrun's variables for one process
        (
            {"BATCH_TASK_INDEX": "1", "BATCH_TASK_COUNT": "2", "RANK": "1", "WORLD_SIZE": "2"},
            None,
            Rank(1, 2),
        ),
    ],
)
def test_the_batch_system_says_which_rank_it_is(
    environment: dict[str, str], world_size: int | None, expected: Rank
) -> None:
    assert resolve_rank(None, world_size, environment) == expected


@pytest.mark.parametrize(
    ("rank", "world_size", "environment", "message"),
    [
        (3, None, {}, "--world-size"),
        (None, 4, {}, "--rank"),
        (4, 4, {}, "the last 3"),
        (None, None, {"JOB_COMPLETION_INDEX": "1"}, "JOB_COMPLETIONS"),
        (None, None, {"RANK": "one", "WORLD_SIZE": "2"}, "'one'"),
        (None, None, {"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_COUNT"),
        (None, None, SLURM | {"SLURM_ARRAY_TASK_COUNT": "2"}, "gaps"),
        (None, None, SLURM | {"RANK": "0", "WORLD_SIZE": "8"}, "Slurm says 2-of-4 and torchrun says 0-of-8"),
    ],
)
def test_a_rank_that_is_not_clear_is_refused_and_not_guessed(
    rank: int | None, world_size: int | None, environment: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_rank(rank, world_size, environment)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 50])
def test_ranks_share_all_shards_evenly(size: int) -> None:
    shards = shards_of(1003, 10)
    shares = [Rank(number, size).share(shards) for number in range(size)]
    assert sorted(shard.index for share in shares for shard in share) == list(range(101))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_what_one_rank_has_left_is_spread_over_ranks_of_another_number() -> None:
    left = Rank(3, 8).share(shards_of(8000, 1))
    counts = [len([shard for shard in left if Rank(number, 4).owns(shard)]) for number in range(4)]
    assert min(counts) > 200


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=16, bad_rows=True)


def build(place: Workplace, output: Path, **options: object) -> BuildSummary:
    arguments: dict[str, object] = {"model": place.model, "tile_size": 64, "rows_per_shard": 2, "quiet": True}
    return build_dataset(place.manifest, output, **(arguments | {"workers": 1} | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["webdataset", "folders", "lmdb"])
def alone(request: pytest.FixtureRequest, place: Workplace) -> tuple[str, dict[str, bytes]]:
    output = place.root / f"alone-{request.param}"
    build(place, output, format=request.param, split="train:0.7,val:0.3")
    return request.param, contents(output)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_ranks_at_the_same_time_write_the_bytes_of_one_process(
    place: Workplace, tmp_path: Path, alone: tuple[str, dict[str, bytes]], size: int
) -> None:
    options = {"format": alone[0], "split": "train:0.7,val:0.3", "world_size": size}
    with ThreadPoolExecutor(size) as pool:
        found = [pool.submit(build, place, tmp_path, rank=rank, **options) for rank in range(size)]
        summaries = [future.result() for future in found]
    assert contents(tmp_path) == alone[1]
    assert any(summary.complete for summary in summaries)
    table = json.loads(alone[1]["dataset.json"])
    assert sum(summary.tiles for summary in summaries) == table["tiles"]
    assert sum((Counter(summary.failures) for summary in summaries), Counter()) == table["failures"]
    assert [summary.exit_code for summary in summaries] == [3 if s.failures else 0 for s in summaries]


def test_the_number_of_ranks_may_change_between_runs(place: Workplace, tmp_path: Path) -> None:
    build(place, tmp_path / "alone")
    output = tmp_path / "ranks"
    first = build(place, output, rank=1, world_size=3)
    assert not first.complete and not (output / "dataset.json").exists()
    status = dataset_status(output)
    assert 0 < status.shards_done == first.shards_built < status.shards
    second = build(place, output, rank=0, world_size=2)
    assert 0 < second.shards_built < second.shards
    # the rest by one process that is told nothing
    assert build(place, output).complete
    assert contents(output) == contents(tmp_path / "alone")
    # nothing is left to do, for ranks of any number
    again = build(place, output, rank=4, world_size=5)
    assert again.complete and not again.shards_built
    assert contents(output) == contents(tmp_path / "alone")


def test_a_shard_that_a_rank_makes_anew_has_the_whole_described_again(
    place: Workplace, tmp_path: Path
) -> None:
    build(place, tmp_path, rank=0, world_size=2)
    assert build(place, tmp_path, rank=1, world_size=2).complete
    whole = contents(tmp_path)
    tar = sorted(tmp_path.glob("shards/*.tar"))[1]
    tar.write_bytes(tar.read_bytes()[:-1])
    summaries = [build(place, tmp_path, rank=rank, world_size=2) for rank in (0, 1)]
    assert sorted(summary.shards_built for summary in summaries) == [0, 1]
    assert contents(tmp_path) == whole


def test_ranks_are_kept_apart_from_others_but_not_from_each_other(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "RANK_PATIENCE_SECONDS", 0.1)
    build(place, tmp_path, rank=0, world_size=3)
    with locked(DatasetFolder(tmp_path, part="0-of-3")), locked(DatasetFolder(tmp_path, part="1-of-3")):
        assert dataset_status(tmp_path).running
        for options, message in [
            ({"rank": 1, "world_size": 3}, "another process of rank 1-of-3"),
            ({"rank": 1, "world_size": 2}, "3 ranks are writing"),
            ({}, "another command"),
        ]:
            with pytest.raises(UsageError, match=message):
                build(place, tmp_path, **options)
        assert build(place, tmp_path, rank=2, world_size=3).shards_built
    assert not dataset_status(tmp_path).running


def test_ranks_of_different_settings_that_start_together_do_not_mix(place: Workplace, tmp_path: Path) -> None:
    """Whoever comes second is refused, even into an empty folder at the same moment."""
    errors: list[str] = []
    start = threading.Barrier(4)

    def run(rank: int) -> None:
        start.wait()
        try:
            build(place, tmp_path, rank=rank, world_size=4, seed=rank % 2)
        except UsageError as error:
            errors.append(str(error))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    assert len(errors) == 2 and all("config.seed" in error for error in errors)


def test_the_limit_of_failures_holds_for_a_ranks_share(place: Workplace, tmp_path: Path) -> None:
    with pytest.raises(NoisegenError, match=r"state/ranks/0-of-2\.failures\.jsonl") as error:
        build(place, tmp_path, rank=0, world_size=2, max_failures=1)
    assert error.value.exit_code == 1
    listed = (tmp_path / "state/ranks/0-of-2.failures.jsonl").read_text().splitlines()
    assert len(listed) == 2
    build(place, tmp_path, rank=0, world_size=2)
    assert build(place, tmp_path, rank=1, world_size=2).complete
    assert not list(tmp_path.glob("state/ranks/*.jsonl"))


def test_the_command_line_says_which_part_it_was(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    monkeypatch.setenv("JOB_COMPLETIONS", "2")
    result = invoke(*place.arguments(tmp_path, "-q"))
    assert result.output.startswith("rank 1 of 2: ")
    assert "the last to finish completes" in result.output
    result = invoke(*place.arguments(tmp_path, "-q", "--rank", "0", "--world-size", "2"))
    assert "all ranks are done" in result.output and result.exit_code == 3
    # what is not shared out is not touched by those variables
    assert invoke("retry-failed", str(tmp_path), "-q").exit_code == 3


def test_verify_shares_its_work_among_ranks_too(place: Workplace, tmp_path: Path) -> None:
    build(place, tmp_path)
    whole = verify_dataset(tmp_path, remake=0)
    parts = [verify_dataset(tmp_path, remake=0, rank=rank, world_size=3) for rank in range(3)]
    assert sum(part.tiles for part in parts) == whole.tiles
    tar = sorted(tmp_path.glob("shards/*.tar"))[4]
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    parts = [verify_dataset(tmp_path, remake=0, rank=rank, world_size=3) for rank in range(3)]
    assert [name for part in parts for name in part.problems] == [tar.stem]
    assert verify_dataset(tmp_path, remake=0, sample=2).shards == 2


def test_the_table_of_shards_says_what_is_in_them(place: Workplace, tmp_path: Path) -> None:
    build(place, tmp_path, split="train:0.7,val:0.3")
    rows = pq.read_table(tmp_path / "shards.parquet").to_pylist()
    assert [(row["shard"], row["first_row"]) for row in rows] == [(i, 2 * i) for i in range(len(rows))]
    for row in rows:
        name = f"{row['shard']:06d}"
        index = pq.read_table(tmp_path / "index" / f"{name}.parquet").to_pylist()
        files = [tmp_path / "index" / f"{name}.parquet", *tmp_path.glob(f"splits/*/shards/{name}.tar")]
        assert row["tiles"] == len(index) and row["bytes"] == sum(path.stat().st_size for path in files)
        for split in ("train", "val"):
            assert row[f"tiles_{split}"] == sum(tile["split"] == split for tile in index)
    assert sum(row["rows"] for row in rows) == pq.read_metadata(place.manifest).num_rows
    failed = (tmp_path / "failures.jsonl").read_text().splitlines()
    assert sum(row["failures"] for row in rows) == len(failed)
