"""`noisegen preview`: a sheet on which every crop is the noisy photograph, pixel for pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import Result
from PIL import ExifTags, Image
from synthesis_fixtures import invoke, photograph, save_photograph, save_tiny_model

from noisegen.conditions import Condition
from noisegen.images import read_image
from noisegen.preview import Place, columns, draw_sheet, make_preview
from noisegen.synthesis.photograph_noise import PhotographNoise

NAME = "photo.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A photograph and a model."""
    save_photograph(tmp_path / NAME, photograph(240, 320))
    save_tiny_model(tmp_path / "model.safetensors")
    return tmp_path


def preview(folder: Path, *options: str, photo: str = NAME, output: str = "sheet.png") -> Result:
    where = ["-o", str(folder / output), "--model", str(folder / "model.safetensors"), "--device", "cpu"]
    return invoke("preview", str(folder / photo), *where, *options)


def numbers(result: Result) -> dict[str, Any]:
    """What --json prints."""
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def holds(sheet: np.ndarray, crop: np.ndarray) -> bool:
    """Whether a picture lies somewhere in the sheet, pixel for pixel."""
    crop = np.ascontiguousarray(np.broadcast_to(crop, (*crop.shape[:2], 3)))
    first = crop[0].tobytes()
    places = ((y, row.tobytes().find(first)) for y, row in enumerate(sheet))
    return any(
        x >= 0 and np.array_equal(sheet[y : y + len(crop), x // 3 : x // 3 + crop.shape[1]], crop)
        for y, x in places
    )


@pytest.mark.parametrize("zoom", [1, 3])
def test_crops_are_the_pixels_of_the_noisy_photograph_and_numbers_are_theirs(folder: Path, zoom: int) -> None:
    found = numbers(
        preview(
            folder,
            *("--camera", "S6", "--camera", "N6", "--iso", "800", "--zoom", str(zoom), "--json"),
            *("--crop", "100,60,50", "--crop", "300,10", "--save-noisy", str(folder / "noisy")),
        )
    )
    sheet, clean = read_image(folder / "sheet.png"), read_image(folder / NAME)
    assert [(c["kind"], c["camera"], c["iso"]) for c in found["columns"]] == [
        ("clean", None, None),
        ("synthetic", "S6", 800),
        ("synthetic", "N6", 800),
    ]
    for column in found["columns"]:
        noisy = clean
        if column["camera"]:
            noisy = read_image(folder / "noisy" / f"photo.{column['camera']}-iso800.png")
            noise = noisy.astype(float) - clean
            assert column["std"] == pytest.approx(noise.std())
            assert column["crop_stds"][0] == pytest.approx(noise[60:110, 100:150].std())
        for crop in (noisy[60:110, 100:150], noisy[10:, 300:]):
            assert holds(sheet, crop[:100].repeat(zoom, axis=0).repeat(zoom, axis=1))
    assert not holds(sheet, noisy[61:111, 101:151])


def test_noise_is_shown_around_grey_times_the_gain(folder: Path) -> None:
    save = ("--save-noisy", str(folder / "noisy"))
    options = ("--camera", "S6", "--iso", "100", "--crop", "8,16,64", "--gain", "2.5")
    found = numbers(preview(folder, *options, *save, "--json"))
    noisy, clean = (read_image(folder / name).astype(float) for name in ("noisy/photo.S6-iso100.png", NAME))
    shown = np.clip(np.rint(128 + 2.5 * (noisy - clean)), 0, 255).astype(np.uint8)
    assert holds(read_image(folder / "sheet.png"), shown[16:80, 8:72])
    assert found["gain"] == 2.5


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_noise(folder: Path) -> None:
    sheets = []
    for seed in ("5", "5", "6"):
        assert preview(folder, "--camera", "S6", "--iso", "100", "--seed", seed).exit_code == 0
        sheets.append((folder / "sheet.png").read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]


def test_the_noise_is_that_of_a_build_with_a_halo_of_8_and_the_files_name_as_id(folder: Path) -> None:
    choice = ("--camera", "S6", "--iso", "200")
    photos = folder / "photos"
    photos.mkdir()
    (folder / NAME).rename(photos / NAME)
    manifest, dataset = str(folder / "manifest.parquet"), folder / "dataset"
    assert invoke("make-manifest", str(photos), "-o", manifest, "--conditions", "draw").exit_code == 0
    model = ("--model", str(folder / "model.safetensors"), "--device", "cpu")
    built = invoke(
        *("build-dataset", manifest, "-o", str(dataset), *choice, *model, "--halo", "8", "--seed", "3"),
        *("--tile-size", "80", "--format", "folders", "--strength", "1.5"),
    )
    assert built.exit_code == 0, built.output
    tiles = [read_image(path) for path in dataset.glob("lq/*.png")]
    assert len(tiles) == 12
    save = ("--save-noisy", str(folder / "noisy"))
    assert (
        preview(folder, *choice, *save, "--seed", "3", "--strength", "1.5", photo=f"photos/{NAME}").exit_code
        == 0
    )
    noisy = read_image(folder / "noisy" / "photo.S6-iso200.png")
    cut = [noisy[y : y + 80, x : x + 80] for y in range(0, 240, 80) for x in range(0, 320, 80)]
    assert {tile.tobytes() for tile in tiles} == {tile.tobytes() for tile in cut}


def test_of_large_photographs_the_crops_alone_are_made_and_are_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = PhotographNoise(folder / "model.safetensors", device="cpu")
    clean, places = photograph(600, 700), [Place(250, 400, 64, 64), Place(10, 20, 30, 40)]
    conditions = [Condition("S6", 100), Condition("N6", 3200)]
    whole = make_preview(clean, noise, conditions, places, seed=2)
    monkeypatch.setattr(columns, "WHOLE_PIXELS", 1000)
    part = make_preview(clean, noise, conditions, places, seed=2, real=whole.columns[1].overview)
    assert (whole.whole, part.whole) == (True, False)
    # the synthetic photograph stands in for the real one: the same pixels, so the same numbers
    clean_column, real, *synthetic = part.columns
    for alone, of_whole in zip((clean_column, *synthetic), whole.columns, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(alone.crops, of_whole.crops, strict=True))
    assert real.std == synthetic[0].std != whole.columns[1].std
    assert synthetic[0].overview is None
    assert holds(draw_sheet(part, "large"), synthetic[0].crops[0])


def test_a_photograph_with_exif_is_shown_with_its_own_camera(folder: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "S6"
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ISOSpeedRatings: 400}
    Image.open(folder / NAME).save(folder / "shot.png", exif=exif)
    found = numbers(preview(folder, "--json", photo="shot.png"))
    assert [(c["camera"], c["iso"]) for c in found["columns"][1:]] == [("S6", 400)]
    assert found["columns"][1]["iso_rule"] == "log-iso 100..800 at 0.6667"


def test_without_exif_a_few_conditions_are_shown_from_little_to_much_noise(folder: Path) -> None:
    shown = numbers(preview(folder, "--json"))["columns"][1:]
    assert len(shown) == 4
    assert [c["std"] for c in shown] == sorted(c["std"] for c in shown)


def test_grey_12_bit_pictures_are_stretched_and_measured_in_their_own_levels(folder: Path) -> None:
    save_tiny_model(folder / "model.safetensors", channels=1, bit_depth=12)
    clean = photograph(200, 260, channels=1, bits=12) // 4 + 1000
    save_photograph(folder / "xray.png", clean)
    save = ("--save-noisy", str(folder / "noisy"))
    options = ("--camera", "S6", "--iso", "100", "--crop", "50,40,90")
    found = numbers(preview(folder, *options, *save, "--json", photo="xray.png"))
    low, high = found["shown"]
    assert np.mean(clean < low) < 0.002 and np.mean(clean > high) < 0.002 and high - low < 1100
    noisy = read_image(folder / "noisy" / "xray.S6-iso100.png").astype(float)
    assert found["columns"][1]["std"] == pytest.approx((noisy - clean).std())
    shown = np.clip(np.rint((noisy - low) * 255 / (high - low)), 0, 255).astype(np.uint8)
    assert holds(read_image(folder / "sheet.png"), shown[40:130, 50:140])


def test_a_real_photograph_stands_beside_and_is_measured(folder: Path) -> None:
    clean = read_image(folder / NAME)
    noise = np.random.default_rng(0).normal(0, 6, clean.shape)
    real = np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)
    save_photograph(folder / "real.png", real)
    options = ("--camera", "S6", "--iso", "100", "--crop", "10,20,80", "--json")
    found = numbers(preview(folder, *options, "--real", str(folder / "real.png")))
    column = found["columns"][1]
    assert column["kind"] == "real" and found["warnings"] == []
    assert column["std"] == pytest.approx((real.astype(float) - clean).std())
    assert holds(read_image(folder / "sheet.png"), real[20:100, 10:90])


def test_real_photographs_that_moved_or_are_brighter_are_warned_of(folder: Path) -> None:
    texture = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 400, (240, 320, 3)), (0, 0), 4)
    clean = np.clip(120 + texture, 0, 255).astype(np.uint8)
    save_photograph(folder / NAME, clean)
    save_photograph(folder / "moved.png", np.roll(clean, 3, axis=1))
    save_photograph(folder / "bright.png", np.minimum(clean, 240) + np.uint8(15))
    options = ("--camera", "S6", "--iso", "100", "--json")
    moved = numbers(preview(folder, *options, "--real", str(folder / "moved.png")))["warnings"]
    bright = numbers(preview(folder, *options, "--real", str(folder / "bright.png")))["warnings"]
    assert len(moved) == 1 and "edges" in moved[0] and "+3.0" in moved[0]
    assert len(bright) == 1 and "light" in bright[0]


def test_photographs_that_cannot_be_compared_are_refused_with_what_to_do(folder: Path) -> None:
    save_photograph(folder / "small.png", photograph(120, 160))
    save_photograph(folder / "deep.png", photograph(240, 320, bits=16))
    for name, message in (
        ("small.png", "160 x 120 pixels, the clean one 320 x 240"),
        ("deep.png", "16-bit RGB"),
    ):
        result = preview(folder, "--real", str(folder / name))
        assert result.exit_code == 2 and message in result.output and "export both" in result.output
        assert not (folder / "sheet.png").exists()


@pytest.mark.parametrize(
    ("options", "photo", "message"),
    [
        ([], "absent.png", "absent.png"),
        ([], "model.safetensors", "model.safetensors"),
        ([], "deep.png", "the photograph has 16 bits a channel"),
        (["--crop", "400,10"], NAME, "x up to 319"),
        (["--crop", "a,b"], NAME, "640,400,256"),
        (["--camera", "S7"], NAME, "known: N6, S6"),
        (
            ["--camera", "S6", "--crop", "0,0,240", "--zoom", "8", "--crop", "9,9,240"] * 5,
            NAME,
            "smaller --zoom",
        ),
        (["--strength", "0"], NAME, "--strength"),
        (["--downscale", "1000"], NAME, "nothing is left"),
    ],
)
def test_requests_that_cannot_be_met_are_told_and_write_nothing(
    folder: Path, options: list[str], photo: str, message: str
) -> None:
    save_photograph(folder / "deep.png", photograph(240, 320, bits=16))
    result = preview(folder, *options, photo=photo)
    assert result.exit_code == 2 and message in result.output
    assert not (folder / "sheet.png").exists()


def test_only_an_earlier_preview_is_replaced(folder: Path) -> None:
    choice = ("--camera", "S6", "--iso", "100")
    photo = (folder / NAME).read_bytes()
    for output, message in (
        (NAME, "no earlier preview"),
        ("sheet.jpg", "ends in .png"),
        (".", "ends in .png"),
    ):
        refused = preview(folder, *choice, output=output)
        assert refused.exit_code == 2 and message in refused.output
    assert (folder / NAME).read_bytes() == photo
    assert preview(folder, *choice).exit_code == 0
    first = (folder / "sheet.png").read_bytes()
    assert preview(folder, *choice, "--seed", "1").exit_code == 0
    assert (folder / "sheet.png").read_bytes() != first
    itself = preview(folder, *choice, photo="sheet.png")
    assert itself.exit_code == 2 and "left alone" in itself.output


def test_noisy_photographs_are_not_overwritten(folder: Path) -> None:
    options = ("--camera", "S6", "--iso", "100", "--save-noisy", str(folder / "noisy"))
    assert preview(folder, *options).exit_code == 0
    again = preview(folder, *options, "--seed", "1")
    assert again.exit_code == 2 and "another folder" in again.output


def test_a_smaller_photograph_is_previewed_as_a_build_makes_it_smaller(folder: Path) -> None:
    found = numbers(preview(folder, "--camera", "S6", "--iso", "100", "--downscale", "2", "--json"))
    assert (found["width"], found["height"]) == (160, 120)
