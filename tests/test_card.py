"""README.md and croissant.json of a dataset, read by the tools that they are for."""

from __future__ import annotations

import json
from pathlib import Path

import mlcroissant
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset
from huggingface_hub import DatasetCard
from synthesis_fixtures import Workplace, invoke, make_workplace

from noisegen.errors import UsageError
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.card import dataset_card
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import pixel_hash
from noisegen.synthesis.verify import verify_dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=5, bad_rows=True)


@pytest.fixture(scope="module", params=["webdataset", "folders"])
def built(request: pytest.FixtureRequest, place: Workplace) -> Path:
    output = place.root / request.param
    build(place, output, format=request.param, license="cc-by-4.0")
    return output


def build(place: Workplace, output: Path, **options: object) -> None:
    arguments: dict[str, object] = {"model": place.model, "tile_size": 64, "rows_per_shard": 5, "quiet": True}
    build_dataset(place.manifest, output, **(arguments | options))  # type: ignore[arg-type]


def index_of(output: Path) -> list[dict[str, object]]:
    return [row for path in sorted((output / "index").iterdir()) for row in pq.read_table(path).to_pylist()]


def test_hugging_face_reads_the_cards_header(built: Path) -> None:
    card = DatasetCard.load(built / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert card.data.task_categories == ["image-to-image"]
    assert card.data.size_categories == ["n<1K"]


def test_the_card_states_counts_conditions_and_where_all_comes_from(built: Path) -> None:
    text = (built / "README.md").read_text()
    table = json.loads((built / "dataset.json").read_text())
    run = json.loads((built / "run.json").read_text())
    rows = index_of(built)
    assert f"| pairs | {len(rows)} |" in text
    assert "| photographs used | 5 |" in text and "| photographs left out | 9, see `failures.jsonl` |" in text
    for condition in table["conditions"]:
        squares = [
            float(str(row["noise_std"])) ** 2
            for row in rows
            if (row["camera"], row["iso"]) == (condition["camera"], condition["iso"])
        ]
        deviation = condition["noise_std"]
        assert len(squares) == condition["tiles"]
        assert deviation == pytest.approx((sum(squares) / len(squares)) ** 0.5, abs=1e-4)
        assert f"| {condition['camera']} | {condition['iso']} | {len(squares)} | {deviation:.2f} |" in text
    assert run["checkpoint_sha256"] in text and run["manifest_sha256"] in text
    assert "contact_sheet.png" in text and (built / "contact_sheet.png").exists()


def test_load_dataset_gives_the_pairs_of_a_webdataset_and_the_index_of_folders(
    built: Path, tmp_path: Path
) -> None:
    loaded = load_dataset(str(built), split="train", cache_dir=str(tmp_path))
    index = index_of(built)
    assert len(loaded) == len(index)
    if built.name == "folders":
        assert loaded["key"] == [row["key"] for row in index]
        return
    by_key = {row["key"]: row for row in index}
    for sample in loaded:
        row = by_key[sample["__key__"]]
        assert sample["clean.png"].size == sample["noisy.png"].size == (64, 64)
        assert pixel_hash(np.asarray(sample["noisy.png"])) == row["noisy_pixels_xxh3"]
        assert sample["json"]["camera"] == row["camera"]


def test_mlcroissant_validates_the_description_and_reads_the_index_through_it(built: Path) -> None:
    dataset = mlcroissant.Dataset(built / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    found = {record["pairs/key"].decode(): record for record in dataset.records("pairs")}
    index = index_of(built)
    assert set(found) == {row["key"] for row in index}
    for row in index:
        record = found[str(row["key"])]
        assert record["pairs/noise_std"] == row["noise_std"] and record["pairs/iso"] == row["iso"]


def test_a_changed_card_is_found_and_written_anew(place: Workplace, tmp_path: Path) -> None:
    output = tmp_path / "out"
    build(place, output)
    for name in ("README.md", "croissant.json"):
        whole = (output / name).read_bytes()
        (output / name).write_bytes(whole + b" ")
        assert verify_dataset(output, remake=0).problems == {
            "dataset": [f"{name} does not agree with the shards"]
        }
        build(place, output)
        assert (output / name).read_bytes() == whole


def test_a_license_that_is_no_identifier_is_named_and_an_empty_one_refused(
    place: Workplace, tmp_path: Path
) -> None:
    build(place, tmp_path / "out", license="Photographers' terms: ask | first", limit=1)
    data = DatasetCard.load(tmp_path / "out" / "README.md").data
    assert (data.license, data.license_name) == ("other", "Photographers' terms: ask | first")
    for bad in ("", " ", "two\nlines"):
        with pytest.raises(UsageError, match="license"):
            build(place, tmp_path / "no", license=bad)


def test_names_of_cameras_cannot_break_the_card(built: Path) -> None:
    folder = DatasetFolder(built)
    table = json.loads((built / "dataset.json").read_text())
    table["conditions"] = [{"camera": "a|b\n---\n<script>", "iso": 100, "tiles": 1, "noise_std": 1.0}]
    text = dataset_card(folder.read_run(), table).decode()
    assert "| a\\|b --- &lt;script> | 100 | 1 | 1.00 |" in text
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "cc-by-4.0"


def test_a_folder_with_a_readme_of_its_own_is_left_alone(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    result = invoke(*place.arguments(tmp_path))
    assert result.exit_code == 2 and "README.md" in result.output
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_dataset_without_a_tile_has_a_card(place: Workplace, tmp_path: Path) -> None:
    build(place, tmp_path / "out", tile_size=1000)
    assert "0 pairs" in (tmp_path / "out" / "README.md").read_text()
    assert not mlcroissant.Dataset(tmp_path / "out" / "croissant.json").metadata.ctx.issues.errors
    assert DatasetCard.load(tmp_path / "out" / "README.md").data.size_categories == ["n<1K"]
