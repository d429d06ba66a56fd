"""Checking a dataset, marking what is damaged, making it anew; and reading how far one is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthesis_fixtures import PICTURES, Workplace, contents, invoke, make_workplace

from noisegen.errors import NoisegenError, UsageError
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.choices import FORMAT_NAMES
from noisegen.synthesis.status import dataset_status
from noisegen.synthesis.verify import verify_dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=7)


def build(place: Workplace, output: Path, output_format: str) -> int:
    return build_dataset(
        place.manifest,
        output,
        model=place.model,
        format=output_format,
        tile_size=64,
        rows_per_shard=3,
        quiet=True,
    ).shards_built


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("output_format", FORMAT_NAMES)
def test_every_damaged_shard_is_found_and_made_anew(
    place: Workplace, tmp_path: Path, output_format: str
) -> None:
    output = tmp_path / "out"
    build(place, output, output_format)
    assert verify_dataset(output).problems == {}
    whole = contents(output)
    flip_a_byte(sorted(output.glob(PICTURES[output_format]))[0])
    flip_a_byte(output / "index" / "000002.parquet")
    report = verify_dataset(output)
    assert sorted(report.problems) == ["000000", "000002"]
    assert report.exit_code == 1
    assert dataset_status(output).damaged == ("000000", "000002")
    assert build(place, output, output_format) == 2
    assert contents(output) == whole
    assert verify_dataset(output).exit_code == 0


@pytest.mark.parametrize("victim", ["lq.lmdb/data.mdb", "gt.lmdb/meta_info.txt", "state/lmdb.json"])
def test_damaged_databases_are_found_and_assembled_anew(
    place: Workplace, tmp_path: Path, victim: str
) -> None:
    output = tmp_path / "out"
    build(place, output, "lmdb")
    whole = contents(output)
    flip_a_byte(output / victim)
    assert list(verify_dataset(output).problems) == ["lmdb"]
    assert dataset_status(output).damaged == ("lmdb",)
    assert build(place, output, "lmdb") == 0
    assert contents(output) == whole
    assert verify_dataset(output).exit_code == 0


def test_no_database_is_made_from_a_damaged_shard(place: Workplace, tmp_path: Path) -> None:
    """A tar file may be damaged after its shard was finished and before all were."""
    output = tmp_path / "out"
    build(place, output, "lmdb")
    whole = contents(output)
    (output / "state" / "lmdb.json").unlink()
    flip_a_byte(output / "shards" / "000001.tar")
    with pytest.raises(NoisegenError, match=r"000001\.tar is damaged"):
        build(place, output, "lmdb")
    assert not (output / "lq.lmdb").exists()
    assert build(place, output, "lmdb") == 1
    assert contents(output) == whole


def test_a_damaged_marker_is_found_and_its_shard_made_anew(place: Workplace, tmp_path: Path) -> None:
    output = tmp_path / "out"
    build(place, output, "webdataset")
    whole = contents(output)
    (output / "state" / "000001.done.json").write_text("{")
    assert list(verify_dataset(output).problems) == ["000001"]
    assert build(place, output, "webdataset") == 1
    assert contents(output) == whole


def test_a_changed_table_of_the_whole_is_found_and_made_anew(place: Workplace, tmp_path: Path) -> None:
    output = tmp_path / "out"
    build(place, output, "webdataset")
    flip_a_byte(output / "dataset.json")
    assert verify_dataset(output).problems == {"dataset": ["dataset.json does not agree with the shards"]}
    build(place, output, "webdataset")
    assert verify_dataset(output).exit_code == 0


def test_the_command_exits_with_1_and_names_the_shard(place: Workplace, tmp_path: Path) -> None:
    output = tmp_path / "out"
    build(place, output, "webdataset")
    flip_a_byte(output / "shards" / "000001.tar")
    result = invoke("verify", str(output))
    assert result.exit_code == 1
    assert "000001: shards/000001.tar has another content" in result.output


def test_status_counts_shards_tiles_and_failures(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=4, bad_rows=True)
    output = tmp_path / "out"
    build(place, output, "webdataset")
    last = sorted(output.glob("state/*.done.json"))[-1]
    last.unlink()
    status = json.loads(invoke("status", str(output), "--json").output)
    assert (status["shards"], status["shards_done"], status["rows"]) == (5, 4, 13)
    assert status["seconds_left"] > 0
    assert sum(status["failures"].values()) > 0
    assert "4 of 5 done" in dataset_status(output).text()


def test_a_folder_without_a_dataset_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no dataset"):
        dataset_status(tmp_path)
    with pytest.raises(UsageError, match="no dataset"):
        verify_dataset(tmp_path)
