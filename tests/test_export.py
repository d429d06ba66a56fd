"""Export and merge: the same tiles in another dataset, made, interrupted and checked like a build."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from synthesis_fixtures import PICTURES, Workplace, command, contents, invoke, make_workplace

from noisegen.errors import NoisegenError, UsageError
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.copy_sources import SourceDataset
from noisegen.synthesis.copying import export_dataset, merge_datasets
from noisegen.synthesis.status import dataset_status
from noisegen.synthesis.verify import verify_dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Seven photographs, rows 2 and 5 are bad."""
    place = make_workplace(tmp_path_factory.mktemp("place"), photographs=7)
    rows = pq.read_table(place.manifest).to_pylist()
    for number in (2, 5):
        rows[number]["iso"] = 10**6
    pq.write_table(type(pq.read_table(place.manifest)).from_pylist(rows), place.manifest)
    return place


def build(place: Workplace, output: Path, **options: object) -> Path:
    settings: dict[str, object] = {"model": place.model, "tile_size": 64, "rows_per_shard": 2, "quiet": True}
    manifest = options.pop("manifest", place.manifest)
    build_dataset(manifest, output, **(settings | options))  # type: ignore[arg-type]
    return output


@pytest.fixture(scope="module")
def source(place: Workplace) -> Path:
    return build(place, place.root / "source")


@pytest.fixture(scope="module")
def parts(place: Workplace) -> list[Path]:
    """The manifest's rows 0 to 3 and 4 to 6, built apart."""
    table = pq.read_table(place.manifest)
    pq.write_table(table.slice(0, 4), place.root / "first.parquet")
    pq.write_table(table.slice(4), place.root / "second.parquet")
    return [
        build(place, place.root / name, manifest=place.root / f"{name}.parquet")
        for name in ("first", "second")
    ]


def tables(output: Path) -> dict[str, bytes]:
    """What does not depend on the format."""
    kept = ("index/", "failures.jsonl", "dataset.json", "contact_sheet.png")
    return {name: data for name, data in contents(output).items() if name.startswith(kept)}


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_dataset_that_went_through_every_format_is_what_it_was(source: Path, tmp_path: Path) -> None:
    before = source
    for output_format in ("parquet", "folders", "hdf5", "lmdb", "webdataset"):
        after = tmp_path / output_format
        export_dataset(before, after, format=output_format, quiet=True)
        assert tables(after) == tables(source)
        assert verify_dataset(after).problems == {}
        before = after
    shards = [{p.name: p.read_bytes() for p in (output / "shards").iterdir()} for output in (source, before)]
    assert shards[0] == shards[1] and len(shards[0]) == 4
    run = json.loads((before / "run.json").read_text())
    formats = []
    while "sources" in run:
        (origin,) = run["sources"]
        run = origin["run"]
        formats.append(run["config"]["format"])
    assert formats == ["lmdb", "hdf5", "folders", "parquet", "webdataset"]
    assert run == json.loads((source / "run.json").read_text())


@pytest.mark.parametrize("output_format", ["parquet", "lmdb"])
def test_a_killed_export_goes_on_and_gives_the_same_bytes(
    source: Path, tmp_path: Path, output_format: str
) -> None:
    reference, output = tmp_path / "reference", tmp_path / "out"
    export_dataset(source, reference, format=output_format, quiet=True)
    arguments = command("export", str(source), "-o", str(output), "--format", output_format, "-q")
    process = subprocess.Popen(arguments)
    while len(list(output.glob("state/*.done.json"))) < 2:
        assert process.poll() is None, "the export ended before it could be killed"
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert export_dataset(source, output, format=output_format, quiet=True).shards_built < 3
    assert contents(output) == contents(reference)
    assert export_dataset(source, output, format=output_format, quiet=True).shards_built == 0


def test_status_verify_and_repair_work_on_an_export(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = invoke("export", str(source), "-o", str(output), "--format", "parquet", "-q")
    assert result.exit_code == 0, result.output
    assert (dataset_status(output).rows_done, sum(dataset_status(output).failures.values())) == (7, 2)
    whole = contents(output)
    flip_a_byte(output / "shards" / "000001.parquet")
    assert list(verify_dataset(output).problems) == ["000001"]
    assert export_dataset(source, output, format="parquet", quiet=True).shards_built == 1
    assert contents(output) == whole


def test_what_one_command_began_no_other_continues(place: Workplace, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    export_dataset(source, output, format="parquet", quiet=True)
    before = contents(output)
    with pytest.raises(UsageError, match="was made by noisegen export"):
        build(place, output)
    with pytest.raises(UsageError, match=r"config\.format: .*parquet.* -> .*folders"):
        export_dataset(source, output, format="folders", quiet=True)
    with pytest.raises(UsageError, match="was made by noisegen build-dataset"):
        export_dataset(source, source, format="webdataset", quiet=True)
    assert contents(output) == before


def test_an_unfinished_source_is_refused(source: Path, tmp_path: Path) -> None:
    export_dataset(source, tmp_path / "copy", format="webdataset", quiet=True)
    (tmp_path / "copy" / "state" / "000001.done.json").unlink()
    with pytest.raises(UsageError, match="000001 is not finished"):
        export_dataset(tmp_path / "copy", tmp_path / "out", format="parquet", quiet=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output_format", ["webdataset", "folders", "hdf5", "parquet"])
def test_damaged_pixels_are_not_copied(source: Path, tmp_path: Path, output_format: str) -> None:
    """One changed byte of the source stops the export, also where no checksum of a PNG shows it."""
    copy, output = tmp_path / "copy", tmp_path / "out"
    export_dataset(source, copy, format=output_format, quiet=True)
    flip_a_byte(sorted(copy.glob(PICTURES[output_format]))[-1])
    with pytest.raises(NoisegenError, match=r"is damaged .* noisegen verify") as caught:
        export_dataset(copy, output, format="webdataset", quiet=True)
    assert caught.value.exit_code == 1
    assert not list(output.glob("state/tmp/*"))
    assert not (output / "dataset.json").exists()
    # the source is made anew, then the export goes on
    assert verify_dataset(copy).exit_code == 1
    export_dataset(source, copy, format=output_format, quiet=True)
    export_dataset(copy, output, format="webdataset", quiet=True)
    assert tables(output) == tables(source)


def test_merged_parts_of_a_manifest_are_the_build_of_the_whole(
    source: Path, parts: list[Path], tmp_path: Path
) -> None:
    """Rows, keys, pixels and failures, byte for byte, whatever the shards of the parts were."""
    merged = tmp_path / "merged"
    result = invoke("merge", *map(str, parts), "-o", str(merged), "-q")
    assert result.exit_code == 0, result.output
    assert tables(merged) == tables(source)
    for path in (source / "shards").iterdir():
        assert (merged / "shards" / path.name).read_bytes() == path.read_bytes()
    run = json.loads((merged / "run.json").read_text())
    assert [origin["first_row"] for origin in run["sources"]] == [0, 4]
    assert verify_dataset(merged).problems == {}
    other = tmp_path / "other"
    merge_datasets(parts, other, format="folders", layout="kair", rows_per_shard=3, quiet=True)
    assert len(list((other / "index").iterdir())) == 3
    assert sorted(p.name for p in (other / "trainL").iterdir()) == sorted(
        f"{key}.png"
        for path in (source / "index").iterdir()
        for key in pq.read_table(path)["key"].to_pylist()
    )


def test_what_does_not_belong_together_is_not_merged(
    place: Workplace, source: Path, parts: list[Path], tmp_path: Path
) -> None:
    small = build(place, tmp_path / "small", tile_size=32, limit=1)
    with pytest.raises(UsageError, match=r"tile size is 64 in .* but 32 in"):
        merge_datasets([source, small], tmp_path / "out", quiet=True)
    with pytest.raises(UsageError, match=r"photograph 'picture 0' of .* has the same noisy tiles in"):
        merge_datasets([parts[0], source], tmp_path / "out", quiet=True)
    rows = pq.read_table(place.manifest).to_pylist()[:2]
    rows[0]["path"], rows[1]["path"] = rows[1]["path"], rows[0]["path"]
    pq.write_table(type(pq.read_table(place.manifest)).from_pylist(rows), place.root / "swapped.parquet")
    swapped = build(place, tmp_path / "swapped", manifest=place.root / "swapped.parquet")
    with pytest.raises(UsageError, match=r"photograph 'picture \d' of .* is another photograph"):
        merge_datasets([source, swapped], tmp_path / "out", quiet=True)
    with pytest.raises(UsageError, match="two datasets at least"):
        merge_datasets([source], tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_photograph_must_not_get_into_two_splits(
    place: Workplace, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its noise and its tiles are: scores on the one split would tell nothing."""
    records = SourceDataset.records
    for split in ("train", "val"):
        monkeypatch.setattr(
            SourceDataset,
            "records",
            lambda self, shard, split=split: (
                (key, replace(record, split=split)) for key, record in records(self, shard)
            ),
        )
        export_dataset(source, tmp_path / split, format="webdataset", quiet=True)
    with pytest.raises(UsageError, match=r"photograph 'picture 0' of .*train is in another split in .*val"):
        merge_datasets([tmp_path / "train", tmp_path / "val"], tmp_path / "out", quiet=True)


def test_photographs_with_other_noise_are_merged(place: Workplace, source: Path, tmp_path: Path) -> None:
    again = build(place, tmp_path / "again", seed=1)
    summary = merge_datasets([source, again], tmp_path / "out", quiet=True)
    assert summary.tiles == 2 * dataset_status(source).tiles
    assert verify_dataset(tmp_path / "out").problems == {}
