"""The noise of a dataset against its checkpoint: made again, compared, and skipped with a reason."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthesis_fixtures import Workplace, contents, invoke, make_workplace, save_tiny_model

from noisegen.models import checkpoint_sha256
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.files import record_file
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.status import dataset_status
from noisegen.synthesis.verify import verify_dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = make_workplace(tmp_path_factory.mktemp("place"), photographs=5)
    build(place, place.root / "built", place.model)
    return place


@pytest.fixture
def built(place: Workplace, tmp_path: Path) -> Path:
    shutil.copytree(place.root / "built", tmp_path / "built")
    return tmp_path / "built"


def build(place: Workplace, output: Path, model: Path, **options: object) -> None:
    arguments: dict[str, object] = {"tile_size": 64, "rows_per_shard": 3, "quiet": True}
    build_dataset(place.manifest, output, model=model, **(arguments | options))  # type: ignore[arg-type]


def change_run(output: Path, **changes: object) -> None:
    folder = DatasetFolder(output)
    folder.write_run(folder.read_run() | changes)


def test_tiles_of_every_condition_come_out_again_pixel_by_pixel(place: Workplace, built: Path) -> None:
    noise = verify_dataset(built).noise
    assert noise is not None and noise.skipped is None and noise.exact
    index = [row for path in built.glob("index/*") for row in pq.read_table(path).to_pylist()]
    assert {(c.camera, c.iso) for c in noise.conditions} == {(row["camera"], row["iso"]) for row in index}
    assert all(c.equal == c.sampled > 0 and c.agrees for c in noise.conditions)
    assert sum(c.tiles for c in noise.conditions) == len(index)


def test_noise_of_another_model_is_found_and_its_shards_are_made_anew(
    place: Workplace, built: Path, tmp_path: Path
) -> None:
    """All hashes agree with each other; only the checkpoint can tell."""
    output = tmp_path / "foreign"
    build(place, output, save_tiny_model(tmp_path / "other.safetensors", seed=1))
    change_run(output, checkpoint_sha256=checkpoint_sha256(place.model))
    report = verify_dataset(output, model=place.model)
    assert {"000000", "000001", "noise"} <= set(report.problems) and report.exit_code == 1
    assert dataset_status(output).damaged == ("000000", "000001")
    change_run(output, **DatasetFolder(built).read_run())
    build(place, output, place.model)
    assert contents(output) == contents(built)


def test_under_other_versions_deviations_are_compared(place: Workplace, built: Path, tmp_path: Path) -> None:
    run = json.loads((built / "run.json").read_text())
    other = run["versions"] | {"torch": "0.1"}
    change_run(built, versions=other)
    noise = verify_dataset(built).noise
    assert noise is not None and not noise.exact and noise.conditions and not noise.problems
    output = tmp_path / "foreign"
    build(place, output, save_tiny_model(tmp_path / "other.safetensors", seed=1))
    change_run(output, versions=other, checkpoint_sha256=checkpoint_sha256(place.model))
    report = verify_dataset(output, model=place.model)
    assert list(report.problems) == ["dataset", "noise"] or list(report.problems) == ["noise"]
    assert report.noise is not None and not report.noise.foreign


def test_without_the_checkpoint_the_comparison_is_left_out_with_the_reason(
    place: Workplace, built: Path, tmp_path: Path
) -> None:
    other = save_tiny_model(tmp_path / "other.safetensors", seed=1)
    result = invoke("verify", str(built), "--model", str(other))
    assert result.exit_code == 0
    assert "another checkpoint than the build's" in result.output
    result = invoke("verify", str(built), "--model", str(tmp_path / "absent"), "--json")
    assert "cannot be read" in json.loads(result.stdout)["noise"]["skipped"]
    (built / "state" / "host.json").unlink()
    noise = verify_dataset(built).noise
    assert noise is not None and noise.skipped is not None and "not recorded" in noise.skipped
    assert verify_dataset(built, remake=0).noise is None


def test_scaled_noise_is_compared_and_noise_with_a_halo_is_not(place: Workplace, tmp_path: Path) -> None:
    build(place, tmp_path / "scaled", place.model, strength=0.5)
    noise = verify_dataset(tmp_path / "scaled").noise
    assert noise is not None and noise.exact and all(c.equal == c.sampled > 0 for c in noise.conditions)
    build(place, tmp_path / "halo", place.model, halo=4)
    noise = verify_dataset(tmp_path / "halo").noise
    assert noise is not None and noise.skipped is not None and "halo" in noise.skipped


def test_a_recorded_deviation_that_is_not_the_noises_is_found(built: Path) -> None:
    index = built / "index" / "000000.parquet"
    table = pq.read_table(index)
    wrong = pa.array([value * 1.01 for value in table["noise_std"].to_pylist()])
    pq.write_table(table.set_column(table.column_names.index("noise_std"), "noise_std", wrong), index)
    folder = DatasetFolder(built)
    marker = folder.read_marker(folder.shards()[0])
    assert marker is not None
    folder.write_marker(replace(marker, files=marker.files | {"index/000000.parquet": record_file(index)}))
    first, *others = verify_dataset(built, remake=0).problems["000000"]
    assert "the marker counts other cameras" in first
    assert others and all("another deviation than the index" in problem for problem in others)


def test_pictures_of_sixteen_bits_and_the_folder_format_are_compared_too(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=1, bad_rows=True)
    save_tiny_model(place.model, bit_depth=16)
    build(place, tmp_path / "deep", place.model, format="folders")
    noise = verify_dataset(tmp_path / "deep").noise
    assert noise is not None and noise.exact and sum(c.equal for c in noise.conditions) == 4
