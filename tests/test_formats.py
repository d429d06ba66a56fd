"""Each format is read by what it is made for, with the lines that docs/formats.md gives."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthesis_fixtures import PICTURES, make_workplace, photograph, save_photograph, save_tiny_model

from noisegen.datasets.built import BuiltDataset
from noisegen.errors import UsageError
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.choices import FORMAT_NAMES, LAYOUTS, OutputChoice
from noisegen.synthesis.copy_sources import SourceDataset
from noisegen.synthesis.copying import export_dataset
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import pixel_hash, read_index
from noisegen.synthesis.verify import verify_dataset

DOCUMENT = Path(__file__).parents[1] / "docs" / "formats.md"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = make_workplace(tmp_path_factory.mktemp("place"), photographs=4)
    output = place.root / "source"
    build_dataset(
        place.manifest,
        output,
        model=place.model,
        tile_size=64,
        rows_per_shard=3,
        variants=2,
        quiet=True,
    )
    return output


def index_of(output: Path) -> list[dict[str, Any]]:
    folder = DatasetFolder(output)
    return [row for shard in folder.shards() for row in read_index(folder.index_file(shard))]


def snippet(heading: str) -> str:
    """The Python lines under a heading of the documentation."""
    section = DOCUMENT.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    return code


@pytest.mark.parametrize(
    ("output_format", "heading"),
    [
        ("webdataset", "WebDataset"),
        ("parquet", "Hugging Face datasets"),
        ("folders", "BasicSR, NAFNet, Restormer, KAIR: folders"),
        ("lmdb", "BasicSR: LMDB"),
        ("hdf5", "NM-FlowGAN's authors' trainer: HDF5"),
    ],
)
def test_the_documented_lines_read_every_pair_of_the_format(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output_format: str, heading: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if output_format == "parquet":
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    export_dataset(source, "DATASET", format=output_format, quiet=True)
    names: dict[str, Any] = {}
    exec(snippet(heading), names)
    found = {
        (pixel_hash(np.asarray(noisy)), pixel_hash(np.asarray(clean))) for noisy, clean in names["pairs"]
    }
    assert found == {(row["noisy_pixels_xxh3"], row["clean_pixels_xxh3"]) for row in index_of(source)}


def test_hugging_face_shows_images_and_the_record_of_each_tile(source: Path, tmp_path: Path) -> None:
    import datasets

    export_dataset(source, tmp_path / "out", format="parquet", quiet=True)
    files = sorted(str(path) for path in tmp_path.glob("out/shards/*.parquet"))
    rows = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert isinstance(rows.features["noisy"], datasets.Image)
    assert isinstance(rows.features["clean"], datasets.Image)
    record = {name: value for name, value in rows[5].items() if name not in ("noisy", "clean")}
    assert record == index_of(source)[5]


def test_the_databases_have_equal_keys_and_basicsr_finds_them(source: Path, tmp_path: Path) -> None:
    """As BasicSR pairs them: both meta_info.txt have the same first words, cut at the first dot."""
    import lmdb

    export_dataset(source, tmp_path / "out", format="lmdb", png_level="small", quiet=True)
    lines = [(tmp_path / "out" / f"{side}.lmdb" / "meta_info.txt").read_text() for side in ("lq", "gt")]
    assert lines[0] == lines[1]
    assert re.fullmatch(r"\d{8}-\d\d-\d{5}-\d{5}\.png \(64,64,3\) 3", lines[0].splitlines()[0])
    keys = [line.split(".")[0] for line in lines[0].splitlines()]
    assert keys == [row["key"] for row in index_of(source)]
    for side in ("lq", "gt"):
        with lmdb.open(str(tmp_path / "out" / f"{side}.lmdb"), readonly=True, lock=False) as database:
            assert database.stat()["entries"] == len(keys)
    assert sorted(path.name for path in (tmp_path / "out" / "lq.lmdb").iterdir()) == [
        "data.mdb",
        "meta_info.txt",
    ]


def test_databases_of_many_transactions_have_the_same_bytes_each_time(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later transaction reuses pages that an earlier one has freed."""
    import lmdb

    monkeypatch.setattr("noisegen.synthesis.formats.lmdb.COMMIT_BYTES", 1 << 15)
    for name in ("one", "two"):
        export_dataset(source, tmp_path / name, format="lmdb", quiet=True)
    data = [(tmp_path / name / "lq.lmdb" / "data.mdb").read_bytes() for name in ("one", "two")]
    assert data[0] == data[1]
    with lmdb.open(str(tmp_path / "one" / "lq.lmdb"), readonly=True, lock=False) as database:
        assert database.info()["last_txnid"] > 5
        with database.begin() as transaction:
            keys = [key.decode() for key in transaction.cursor().iternext(values=False)]
    assert keys == [row["key"] for row in index_of(source)]


def test_hdf5_files_are_what_the_authors_trainer_expects(source: Path, tmp_path: Path) -> None:
    """Three axes of each tile, equally many on both sides, and attributes that a loader can collate."""
    import h5py

    export_dataset(source, tmp_path / "out", format="hdf5", quiet=True)
    rows = index_of(source)
    files = sorted((tmp_path / "out" / "hdf5").iterdir())
    assert [path.name for path in files[:3]] == [
        f"{name}.hdf5" for name in ("00000000-00", "00000000-01", "00000001-00")
    ]
    with h5py.File(files[0]) as file:
        tiles = [row for row in rows if row["row"] == row["variant"] == 0]
        assert len(file["clean"]) == len(file["noisy"]) == len(tiles)
        assert all(file[f"clean/{i}"].shape == (3, 64, 64) for i in file["clean"])
        config = dict(file["config"].attrs)
        assert (config["smartphone-code"], config["ISO-level"]) == (2, 100)
        assert all(isinstance(value, np.integer) for value in config.values())
        assert [key.decode() for key in file["keys"]] == [row["key"] for row in tiles]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_of_every_layout_pair_by_name_and_by_position(
    source: Path, tmp_path: Path, layout: str
) -> None:
    export_dataset(source, tmp_path / "out", format="folders", layout=layout, quiet=True)
    noisy, clean = (
        sorted(path.name for path in (tmp_path / "out" / side).iterdir()) for side in LAYOUTS[layout]
    )
    assert noisy == clean == [f"{row['key']}.png" for row in index_of(source)]


@pytest.mark.parametrize("output_format", FORMAT_NAMES)
def test_the_splits_lie_apart_and_are_read_and_checked_together(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output_format: str
) -> None:
    """A shard may have tiles of several splits."""
    of_row = ("train", "val", "train", "test")
    records = SourceDataset.records

    def with_splits(self: SourceDataset, shard: Any) -> Any:
        for key, record in records(self, shard):
            yield key, replace(record, split=of_row[record.row])

    monkeypatch.setattr(SourceDataset, "records", with_splits)
    output = tmp_path / "out"
    export_dataset(source, output, format=output_format, quiet=True)
    assert not list(output.glob(PICTURES[output_format]))
    parts = {
        split: len(list((output / "splits" / split).glob(PICTURES[output_format])))
        for split in ("train", "val", "test")
    }
    by_tile = {split: sum(of_row[row["row"]] == split for row in index_of(source)) for split in parts}
    by_variant = {"train": 4, "val": 2, "test": 2}
    by_shard = {"train": 1, "val": 1, "test": 1}
    assert parts == {"folders": by_tile, "hdf5": by_variant}.get(output_format, by_shard)
    if output_format == "lmdb":
        for split, count in by_tile.items():
            lines = (output / "splits" / split / "gt.lmdb" / "meta_info.txt").read_text().splitlines()
            assert len(lines) == count
    assert verify_dataset(output).problems == {}
    whole, split = BuiltDataset.open(source), BuiltDataset.open(output)
    for key, _ in whole.tiles:
        np.testing.assert_array_equal(whole.load(key), split.load(key))
    # what was made in the folders of the splits is found and made anew
    damaged = sorted((output / "splits" / "val").glob(PICTURES[output_format]))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert export_dataset(source, output, format=output_format, quiet=True).shards_built == 1
    assert verify_dataset(output).problems == {}


@pytest.mark.parametrize("output_format", FORMAT_NAMES)
def test_twelve_bit_grey_pixels_survive_in_every_format(tmp_path: Path, output_format: str) -> None:
    model = save_tiny_model(tmp_path / "model.safetensors", channels=1, bit_depth=12)
    save_photograph(tmp_path / "xray.png", photograph(64, 100, channels=1, bits=12))
    pq.write_table(pa.table({"path": ["xray.png"]}), tmp_path / "manifest.parquet")
    output = tmp_path / "out"
    build_dataset(
        tmp_path / "manifest.parquet", output, model=model, tile_size=64, format=output_format, quiet=True
    )
    assert verify_dataset(output).problems == {}
    dataset = BuiltDataset.open(output)
    for (key, _), row in zip(dataset.tiles, index_of(output), strict=True):
        noisy, clean = dataset.load(key)
        assert noisy.shape == (64, 64, 1) and noisy.dtype == np.uint16
        assert (pixel_hash(noisy), pixel_hash(clean)) == (row["noisy_pixels_xxh3"], row["clean_pixels_xxh3"])
    if output_format == "lmdb":
        assert "(64,64,1)" in (output / "lq.lmdb" / "meta_info.txt").read_text()


def test_the_level_changes_sizes_and_no_index(source: Path, tmp_path: Path) -> None:
    sizes = []
    for level in ("stored", "fast", "small"):
        export_dataset(source, tmp_path / level, format="webdataset", png_level=level, quiet=True)
        assert index_of(tmp_path / level) == index_of(source)
        sizes.append((tmp_path / level / "shards" / "000000.tar").stat().st_size)
    assert len(set(sizes)) == 3
    assert json.loads((tmp_path / "small" / "run.json").read_text())["config"]["png_level"] == "small"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (("zip", None, None), "known: webdataset, parquet"),
        (("folders", "imagenet", None), "known: basicsr, nafnet"),
        (("webdataset", None, "best"), "known: stored, fast, small"),
        (("parquet", "nafnet", None), "belongs to format folders"),
        (("hdf5", None, "small"), "keeps raw pixels"),
    ],
)
def test_choices_that_do_not_exist_or_fit_are_refused(
    choice: tuple[str, str | None, str | None], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        OutputChoice.resolve(*choice)


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"noisegen\[lmdb\]"):
        OutputChoice.resolve("lmdb", None, None)
