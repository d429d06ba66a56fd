"""Building a dataset: what comes out, whatever the number of workers, and what happens to bad rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image
from synthesis_fixtures import (
    Workplace,
    contents,
    invoke,
    make_workplace,
    photograph,
    run_command,
    save_photograph,
    save_tiny_model,
    tiny_model,
)

from noisegen import native
from noisegen.conditions import Condition
from noisegen.errors import NoisegenError, UsageError
from noisegen.images import read_image
from noisegen.models import prepare_for_synthesis
from noisegen.png import decode_png
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.engine import synthesize
from noisegen.synthesis.records import pixel_hash


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=7)


@pytest.fixture(scope="module")
def built(place: Workplace) -> Path:
    output = place.root / "built"
    build_dataset(
        place.manifest,
        output,
        model=place.model,
        tile_size=64,
        rows_per_shard=3,
        seed=5,
        workers=1,
        quiet=True,
    )
    return output


def index_of(output: Path) -> list[dict[str, object]]:
    return [row for path in sorted((output / "index").iterdir()) for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 16), (2, 1), (3, 4)])
def test_workers_and_batch_size_change_no_byte(
    place: Workplace, built: Path, tmp_path: Path, workers: int, batch_size: int
) -> None:
    build_dataset(
        place.manifest,
        tmp_path / "out",
        model=place.model,
        tile_size=64,
        rows_per_shard=3,
        seed=5,
        workers=workers,
        batch_size=batch_size,
        quiet=True,
    )
    assert contents(tmp_path / "out") == contents(built)


def test_tiles_are_those_of_the_photograph_and_of_synthesize(place: Workplace, built: Path) -> None:
    model = prepare_for_synthesis(tiny_model(), device="cpu", precision="float32")
    samples = {
        s["__key__"]: s
        for s in webdataset.WebDataset(str(built / "shards" / "000000.tar"), shardshuffle=False)
    }
    rows = [row for row in index_of(built) if row["row"] == 1]
    assert len(rows) > 2
    picture = read_image(place.root / "photo1.png")
    whole = synthesize(model, picture, Condition("S6", 400), seed=5, image_id="picture 1", tile_size=64)
    first = samples[rows[0]["key"]]
    assert np.array_equal(decode_png(first["noisy.png"]), whole[:64, :64])
    for row in rows:
        clean = decode_png(samples[row["key"]]["clean.png"])
        assert np.array_equal(clean, picture[row["y"] : row["y"] + 64, row["x"] : row["x"] + 64])


def test_webdataset_reads_every_tile_with_its_record(built: Path) -> None:
    shards = sorted(str(path) for path in (built / "shards").iterdir())
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))
    index = index_of(built)
    assert [sample["__key__"] for sample in samples] == [row["key"] for row in index]
    for sample, row in zip(samples, index, strict=True):
        noise = sample["noisy.png"].astype(float) - sample["clean.png"]
        assert noise.std() == pytest.approx(row["noise_std"], abs=1e-9)
        assert sample["json"]["camera"] == row["camera"]
        assert sample["json"]["extra"]["scene"] == f"scene {row['row']}"
        assert pixel_hash(sample["noisy.png"]) == row["noisy_pixels_xxh3"]


def test_folders_hold_the_same_pixels_under_the_same_keys(
    place: Workplace, built: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    build_dataset(
        place.manifest,
        output,
        model=place.model,
        format="folders",
        tile_size=64,
        seed=5,
        workers=2,
        quiet=True,
    )
    index = index_of(built)
    assert index_of(output) == index
    for side in ("lq", "gt"):
        assert sorted(path.stem for path in (output / side).iterdir()) == sorted(
            str(row["key"]) for row in index
        )
    for row in index:
        noisy = np.asarray(Image.open(output / "lq" / f"{row['key']}.png"))
        assert pixel_hash(noisy) == row["noisy_pixels_xxh3"]


def test_each_tile_records_condition_rule_and_whether_it_was_drawn(built: Path) -> None:
    by_row = {row["row"]: row for row in index_of(built)}
    assert (by_row[0]["camera"], by_row[0]["iso"], by_row[0]["iso_rule"], by_row[0]["drawn"]) == (
        "S6",
        100,
        "exact",
        False,
    )
    assert by_row[1]["iso_rule"].startswith("log-iso 100..800 at 0.6667")
    assert by_row[2]["drawn"]
    assert by_row[3]["drawn"]
    assert by_row[3]["camera"] == "N6"


def test_variants_have_the_clean_picture_in_common_and_differ_in_noise(
    place: Workplace, tmp_path: Path
) -> None:
    build_dataset(
        place.manifest, tmp_path / "out", model=place.model, tile_size=64, variants=2, limit=1, quiet=True
    )
    rows = index_of(tmp_path / "out")
    first, second = ([r for r in rows if r["variant"] == variant] for variant in (0, 1))
    assert len(first) == len(second) > 1
    assert [r["clean_pixels_xxh3"] for r in first] == [r["clean_pixels_xxh3"] for r in second]
    assert not {r["noisy_pixels_xxh3"] for r in first} & {r["noisy_pixels_xxh3"] for r in second}


def test_a_camera_for_all_is_used_and_an_unknown_one_refused(place: Workplace, tmp_path: Path) -> None:
    build_dataset(
        place.manifest,
        tmp_path / "a",
        model=place.model,
        tile_size=64,
        camera="N6",
        iso=800,
        limit=3,
        quiet=True,
    )
    assert {(row["camera"], row["iso"], row["drawn"]) for row in index_of(tmp_path / "a")} == {
        ("N6", 800, False)
    }
    with pytest.raises(UsageError, match=r"X9.*known: N6, S6"):
        build_dataset(place.manifest, tmp_path / "b", model=place.model, camera="X9", quiet=True)


def test_bad_rows_are_recorded_the_rest_is_built_and_the_exit_code_is_3(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=4, bad_rows=True)
    result = run_command(*place.arguments(tmp_path / "out"))
    assert result.returncode == 3, result.stderr
    failures = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert len(failures) == 9
    reasons = {failure["reason"] for failure in failures}
    expected = {
        "empty_file",
        "missing",
        "channels",
        "bit_depth",
        "smaller_than_tile",
        "unknown_camera",
        "iso_out_of_range",
    }
    assert expected <= reasons
    assert all(failure["id"].startswith("bad ") and failure["message"] for failure in failures)
    assert {row["path"] for row in failures} >= {"absent.png"}
    assert len({row["id"] for row in index_of(tmp_path / "out")}) == 4
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["failures"]["missing"] == 1


def test_too_many_failures_stop_the_build(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=4, bad_rows=True)
    with pytest.raises(NoisegenError, match="more than the limit of 2") as caught:
        build_dataset(
            place.manifest,
            tmp_path / "out",
            model=place.model,
            tile_size=64,
            max_failures=2,
            workers=1,
            quiet=True,
        )
    assert caught.value.exit_code == 1
    assert len((tmp_path / "out" / "failures.jsonl").read_text().splitlines()) == 3
    assert not list((tmp_path / "out").glob("shards/*"))


def test_shards_hold_about_a_thousand_tiles_by_default(place: Workplace, tmp_path: Path) -> None:
    build_dataset(place.manifest, tmp_path / "out", model=place.model, tile_size=32, limit=1, quiet=True)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    tiles = [(-(-(64 + 17 * (i % 4)) // 32)) * (-(-(150 + 31 * (i % 3)) // 32)) for i in range(7)]
    assert run["config"]["rows_per_shard"] == round(1000 / (sum(tiles) / 7))


def test_the_contact_sheet_shows_eight_tiles(built: Path) -> None:
    sheet = Image.open(built / "contact_sheet.png")
    assert sheet.size == (3 * 264 + 8, 22 + 8 * (256 + 22 + 8))
    assert len(np.unique(np.asarray(sheet))) > 100


def test_an_output_that_cannot_be_written_is_a_usage_error(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = invoke(*place.arguments(tmp_path / "file" / "out"))
    assert result.exit_code == 2
    assert "cannot write into" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_sixteen_bit_pictures_stay_sixteen_bit(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=1, bad_rows=True)
    save_tiny_model(place.model, bit_depth=16)
    summary = build_dataset(place.manifest, tmp_path / "out", model=place.model, tile_size=64, quiet=True)
    assert summary.tiles == 4
    (sample, *_) = webdataset.WebDataset(str(tmp_path / "out" / "shards" / "000000.tar"), shardshuffle=False)
    assert decode_png(sample["noisy.png"]).dtype == np.uint16


def test_a_twelve_bit_grey_dataset_can_be_seen_on_its_contact_sheet(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model.safetensors", channels=1, bit_depth=12)
    save_photograph(tmp_path / "xray.png", photograph(64, 64, channels=1, bits=12))
    pq.write_table(pa.table({"path": ["xray.png"]}), tmp_path / "manifest.parquet")
    build_dataset(tmp_path / "manifest.parquet", tmp_path / "out", model=model, tile_size=64, quiet=True)
    clean = np.asarray(Image.open(tmp_path / "out" / "contact_sheet.png"))[52:308, 8:264]
    assert clean.max() > 200 and clean.min() < 50


def test_failures_do_not_say_where_the_photographs_lie(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=1, bad_rows=True)
    build_dataset(place.manifest, tmp_path / "out", model=place.model, tile_size=64, quiet=True)
    failures = (tmp_path / "out" / "failures.jsonl").read_text()
    assert len(failures.splitlines()) > 3 and str(tmp_path) not in failures


def test_whose_kernels_made_the_noise_is_recorded_and_a_build_goes_on_with_the_same(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "plain"
    with monkeypatch.context() as patch:
        patch.setattr(native, "library", lambda: None)
        result = invoke(*place.arguments(output, "--limit", "1", "--device", "cpu"))
        assert result.exit_code == 0 and "C compiler" in result.stderr
        quiet = invoke(*place.arguments(output, "--limit", "1", "--device", "cpu", "--quiet"))
        assert quiet.exit_code == 0 and "C compiler" not in quiet.stderr
    run = json.loads((output / "run.json").read_text())
    host = json.loads((output / "state" / "host.json").read_text())
    assert run["versions"]["kernels"] == host["kernels"] == "torch"
    if native.library() is None:
        return
    refused = invoke(*place.arguments(output, "--limit", "1", "--device", "cpu"))
    assert refused.exit_code == 2 and 'versions.kernels: "torch" -> "native"' in refused.stderr
    assert invoke(*place.arguments(tmp_path / "other", "--limit", "1", "--device", "cpu")).exit_code == 0
    host = json.loads((tmp_path / "other" / "state" / "host.json").read_text())
    assert host["kernels"] == native.instruction_set()
