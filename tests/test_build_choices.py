"""What a build's options choose: conditions, strength, tiles and splits; each told in run.json and the index."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from synthesis_fixtures import (
    Workplace,
    contents,
    invoke,
    make_workplace,
    photograph,
    save_photograph,
    save_tiny_model,
)

from noisegen.downscaling import downscale
from noisegen.images import read_image
from noisegen.synthesis.build import build_dataset

CONDITIONS = "cameras: {S6: {weight: 3, iso: {log_uniform: [200, 700]}}, N6: {iso: [400]}}"

FOLDERS = {"noisy": "lq", "clean": "gt"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = make_workplace(tmp_path_factory.mktemp("place"), photographs=7)
    (place.root / "conditions.yaml").write_text(CONDITIONS)
    return place


def build(place: Workplace, output: Path, **settings: Any) -> list[dict[str, Any]]:
    """The index of a dataset in two folders."""
    fixed = {"model": place.model, "tile_size": 64, "format": "folders", "workers": 2, "quiet": True}
    build_dataset(place.manifest, output, **fixed | settings)
    return [row for path in sorted((output / "index").iterdir()) for row in pq.read_table(path).to_pylist()]


def pixels(output: Path, side: str, row: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(output / FOLDERS[side] / f"{row['key']}.png"))


def test_conditions_are_drawn_from_the_file_where_the_manifest_gives_none(
    place: Workplace, tmp_path: Path
) -> None:
    rows = build(place, tmp_path / "out", conditions=place.root / "conditions.yaml", variants=6)
    by_photo: dict[int, dict[int, tuple[str, int]]] = defaultdict(dict)
    for row in rows:
        by_photo[row["row"]][row["variant"]] = (row["camera"], row["iso"])
    assert set(by_photo[0].values()) == {("S6", 100)}  # the manifest's own stay
    assert set(by_photo[3].values()) == {("N6", 400)}  # the manifest's camera, its ISO from the file
    drawn = [*by_photo[2].values(), *by_photo[6].values()]
    assert all(iso == 400 if camera == "N6" else 200 <= iso <= 700 for camera, iso in drawn)
    assert len(set(drawn)) > 4  # each variant has a draw of its own
    stored = json.loads((tmp_path / "out" / "run.json").read_text())["config"]["conditions"]
    assert stored["S6"] == {"weight": 3.0, "iso": {"log_uniform": [200, 700]}}


def test_another_distribution_is_refused_but_not_another_way_to_write_it(
    place: Workplace, tmp_path: Path
) -> None:
    file = tmp_path / "conditions.yaml"
    file.write_text(CONDITIONS)
    arguments = place.arguments(tmp_path / "out", "--conditions", str(file), "--limit", "1", "-q")
    assert invoke(*arguments).exit_code == 0
    file.write_text(
        "cameras:\n  N6: {weight: 1, iso: {400: 1}}\n  S6: {iso: {log_uniform: [200, 700]}, weight: 3.0}"
    )
    assert invoke(*arguments).exit_code == 0
    file.write_text(CONDITIONS.replace("700", "800"))
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "conditions.S6.iso.log_uniform: [200, 700] -> [200, 800]" in result.output


def test_the_strength_of_the_noise_is_scaled(place: Workplace, tmp_path: Path) -> None:
    weak, usual = (build(place, tmp_path / f"{f}", strength=f, limit=2) for f in (0.5, 1.0))
    assert [row["clean_pixels_xxh3"] for row in weak] == [row["clean_pixels_xxh3"] for row in usual]
    ratios = [a["noise_std"] / b["noise_std"] for a, b in zip(weak, usual, strict=True)]
    assert np.mean(ratios) == pytest.approx(0.5, abs=0.1)


def test_every_tile_of_a_photograph_is_in_its_split(place: Workplace, tmp_path: Path) -> None:
    rows = build(place, tmp_path / "out", format="webdataset", variants=2, split="train:0.5,val:0.5")
    splits = defaultdict(set)
    for row in rows:
        splits[row["id"]].add(row["split"])
    assert all(len(names) == 1 for names in splits.values())
    assert set().union(*splits.values()) == {"train", "val"}
    assert {row["split"] for row in build(place, tmp_path / "none", limit=1)} == {""}


def test_tiles_are_cut_from_the_downscaled_photograph_with_their_overlap(
    place: Workplace, tmp_path: Path
) -> None:
    rows = build(place, tmp_path / "out", downscale=1.5, tile_size=32, overlap=8, limit=2)
    assert rows
    for row in rows:
        smaller = downscale(read_image(place.root / f"photo{row['row']}.png"), 1.5)
        tile = smaller[row["y"] : row["y"] + 32, row["x"] : row["x"] + 32]
        assert np.array_equal(pixels(tmp_path / "out", "clean", row), tile)
    first = [row for row in rows if row["row"] == 0]
    assert sorted({row["x"] for row in first}) == [0, 24, 48, 68]  # 150 / 1.5 = 100 pixels wide
    result = invoke(*place.arguments(tmp_path / "small", "--downscale", "2", "--limit", "1", "-q"))
    assert result.exit_code == 3
    failure = json.loads((tmp_path / "small" / "failures.jsonl").read_text())
    assert failure["reason"] == "smaller_than_tile"
    assert "downscaled by 2: 75x32 pixels" in failure["message"]


def test_with_a_halo_tiles_of_any_size_show_the_same_noisy_photograph(
    place: Workplace, tmp_path: Path
) -> None:
    wholes = []
    for size in (40, 64):
        output = tmp_path / str(size)
        rows = build(place, output, tile_size=size, halo=8, limit=1)
        whole = np.zeros((64, 150, 3), int)
        for row in rows:
            whole[row["y"] : row["y"] + size, row["x"] : row["x"] + size] = pixels(output, "noisy", row)
        wholes.append(whole)
    difference = np.abs(wholes[0] - wholes[1])
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-4


def test_tiles_left_out_are_counted_and_the_others_are_as_without_selection(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=2)
    picture = photograph(64, 256)
    picture[:, :64] = 100
    picture[:, 64:128] = 255
    save_photograph(tmp_path / "photo0.png", picture)
    everything = build(place, tmp_path / "all")
    limits = {"min_sharpness": 0.5, "max_flat": 0.99, "max_saturated": 0.5}
    rows = build(place, tmp_path / "some", **limits)
    total = json.loads((tmp_path / "some" / "dataset.json").read_text())
    assert total["left_out"] == {"blurred": 2}
    assert len(rows) == total["tiles"] == len(everything) - 2
    hashes = {row["key"]: row["noisy_pixels_xxh3"] for row in everything}
    assert all(hashes[row["key"]] == row["noisy_pixels_xxh3"] for row in rows)
    marker = json.loads((tmp_path / "some" / "state" / "000000.done.json").read_text())
    assert marker["left_out"] == {"blurred": 2}
    assert invoke("verify", str(tmp_path / "some")).exit_code == 0
    result = invoke(*place.arguments(tmp_path / "told", "--max-saturated", "0.5", "-q"))
    assert result.exit_code == 0
    assert "1 tiles were left out by the selection (saturated 1)" in result.output


def test_a_photograph_of_which_nothing_is_kept_is_no_failure(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=1)
    summary = build_dataset(
        place.manifest, tmp_path / "out", model=place.model, tile_size=64, min_sharpness=1e6, quiet=True
    )
    assert (summary.tiles, summary.failures, summary.exit_code) == (0, {}, 0)
    assert sum(summary.left_out.values()) == 3


def test_workers_and_batch_size_change_no_byte_with_all_choices_made(
    place: Workplace, tmp_path: Path
) -> None:
    choices: dict[str, Any] = {
        "conditions": place.root / "conditions.yaml",
        "strength": 1.5,
        "downscale": 1.2,
        "overlap": 5,
        "halo": 3,
        "min_sharpness": 2.0,
        "max_flat": 0.9,
        "max_saturated": 0.2,
        "split": "train:0.7,val:0.3",
        "tile_size": 32,
        "variants": 2,
        "rows_per_shard": 3,
        "limit": 5,
    }
    build(place, tmp_path / "one", **choices | {"workers": 1, "batch_size": 7})
    build(place, tmp_path / "two", **choices | {"workers": 3, "batch_size": 2})
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert invoke("verify", str(tmp_path / "two")).exit_code == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--strength", "0"], "strength must be a positive number"),
        (["--strength", "nan"], "strength must be a positive number"),
        (["--downscale", "0.5"], "photographs are not enlarged"),
        (["--overlap", "64"], "less than the tile size of 64"),
        (["--split", "train:0.9"], "sum to 0.9"),
        (["--max-flat", "2"], "2.0 is not in the range"),
        (["--conditions", "absent.yaml"], "cannot read absent.yaml"),
    ],
)
def test_choices_that_cannot_be_are_refused_before_anything_is_written(
    place: Workplace, tmp_path: Path, options: list[str], complaint: str
) -> None:
    result = invoke(*place.arguments(tmp_path / "out", *options))
    assert result.exit_code == 2
    assert complaint in result.output
    assert not (tmp_path / "out" / "run.json").exists()


def test_the_help_lists_choices_under_their_headings() -> None:
    text = invoke("build-dataset", "--help").output
    options, rest = text.split("Noise:")
    noise, rest = rest.split("Tiles:")
    tiles, splits = rest.split("Splits:")
    assert (
        "--tile-size" in options and "--conditions" in noise and "--overlap" in tiles and "--split" in splits
    )


TWELVE_BIT = photograph(80, 100, channels=1, bits=12)


def grey_workplace(root: Path, pictures: dict[str, np.ndarray]) -> Workplace:
    for name, picture in pictures.items():
        save_photograph(root / name, picture)
    pq.write_table(pa.table({"path": list(pictures)}), root / "manifest.parquet")
    save_tiny_model(root / "model.safetensors", channels=1, bit_depth=12)
    return Workplace(root)


def test_twelve_bits_stay_twelve_from_png_and_tiff_to_both_tiles(tmp_path: Path) -> None:
    place = grey_workplace(tmp_path, {"a.png": TWELVE_BIT, "b.tif": TWELVE_BIT})
    rows = build(place, tmp_path / "out", halo=8)
    assert Counter(row["row"] for row in rows) == {0: 4, 1: 4}
    for row in rows:
        clean, noisy = (pixels(tmp_path / "out", side, row) for side in ("clean", "noisy"))
        assert clean.dtype == noisy.dtype == np.uint16 and clean.shape == noisy.shape == (64, 64)
        assert np.array_equal(clean, TWELVE_BIT[row["y"] : row["y"] + 64, row["x"] : row["x"] + 64, 0])
        assert noisy.max() <= 4095
        assert len(np.unique(noisy)) > 1000  # more than 8 bits hold
        assert np.std(noisy.astype(int) - clean) == pytest.approx(row["noise_std"])
    assert TWELVE_BIT.max() > 4000
    assert invoke("verify", str(tmp_path / "out")).exit_code == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["bit_depth"] == 12


def test_a_value_beyond_twelve_bits_is_a_recorded_failure(tmp_path: Path) -> None:
    beyond = TWELVE_BIT.copy()
    beyond[5, 5] = 4096
    place = grey_workplace(tmp_path, {"good.png": TWELVE_BIT, "beyond.tif": beyond})
    result = invoke(*place.arguments(tmp_path / "out", "-q"))
    assert result.exit_code == 3
    failure = json.loads((tmp_path / "out" / "failures.jsonl").read_text())
    assert (failure["path"], failure["reason"]) == ("beyond.tif", "bit_depth")
    assert "4096" in failure["message"] and "0 .. 4095" in failure["message"]
