"""What is wrong with a pair is measured, and noise alone is never held against it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from noisegen.cli import main
from noisegen.datasets.pair_checks import check_pair, measure_drift
from noisegen.datasets.pairs import read_pairs
from noisegen.datasets.registration import measure_shift

DATA = Path(__file__).parents[2] / "shared" / "data" / "pairs.csv"


def texture(seed: int, side: int = 256, blur: float = 1.5, spread: float = 30.0) -> np.ndarray:
    """A periodic picture [side, side, 3] around 120 with structure of about `blur` pixels."""
    white = np.random.default_rng(seed).normal(size=(side, side, 3))
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None]
    low_pass = np.exp(-2 * (np.pi * blur) ** 2 * (rows**2 + columns**2))[..., None]
    smooth = np.fft.ifft2(np.fft.fft2(white, axes=(0, 1)) * low_pass, axes=(0, 1)).real
    return 120 + spread * smooth / smooth.std()


def shifted(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """The periodic picture moved by (y, x) pixels, by the Fourier shift theorem."""
    rows, columns = (np.fft.fftfreq(side) for side in image.shape[:2])
    phase = np.exp(-2j * np.pi * (rows[:, None] * y + columns[None] * x))[..., None]
    return np.fft.ifft2(np.fft.fft2(image, axes=(0, 1)) * phase, axes=(0, 1)).real


def noisy_of(picture: np.ndarray, sigma: float, seed: int = 1000) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(np.round(picture + noise), 0, 255).astype(np.uint8)


def eight_bit(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def reasons(noisy: np.ndarray, clean: np.ndarray) -> list[str]:
    return [problem.reason for problem in check_pair(noisy, clean, 8)[1]]


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.6), (-0.9, 0.2), (2.4, -5.2)])
@pytest.mark.parametrize("sigma", [0.0, 15.0])
def test_a_known_shift_is_measured_within_a_tenth_of_a_pixel(
    shift: tuple[float, float], sigma: float
) -> None:
    clean = texture(1)
    found = measure_shift(noisy_of(shifted(clean, *shift), sigma), eight_bit(clean))
    assert (found.y, found.x) == pytest.approx(shift, abs=0.1)
    assert found.error < 0.05


def test_a_pair_is_misaligned_from_half_a_pixel_on() -> None:
    clean = texture(2)
    assert reasons(noisy_of(shifted(clean, 0.2, 0.3), 8), eight_bit(clean)) == []
    assert reasons(noisy_of(shifted(clean, 0.6, 0.3), 8), eight_bit(clean)) == ["misaligned"]


def test_a_flat_picture_cannot_be_judged_and_is_not_flagged() -> None:
    flat = np.full((256, 256, 3), 90.0)
    measures, problems = check_pair(noisy_of(flat, 12), eight_bit(flat), 8)
    assert np.isnan([measures.shift_y, measures.shift_x]).all()
    assert problems == ()
    nearly_flat = flat + texture(3, spread=0.3) - 120
    assert reasons(noisy_of(nearly_flat, 20), eight_bit(nearly_flat)) == []


def test_a_tone_curve_and_a_gain_are_no_shift() -> None:
    clean = texture(4, blur=3)
    curved = 255 * (clean / 255) ** 1.03
    found = measure_shift(noisy_of(curved, 5), eight_bit(clean))
    assert found.length < 0.05


def test_dark_seams_along_edges_are_no_shift_although_they_look_like_one() -> None:
    clean = np.full((256, 256, 3), 30.0)
    clean[90:, 60:] = 110.0
    clean = cv2.GaussianBlur(clean, (0, 0), 1.0)
    seam = np.abs(clean - cv2.GaussianBlur(clean, (0, 0), 2.0))
    noisy = noisy_of(clean - 1.5 * seam, 6)
    shift = measure_shift(noisy, eight_bit(clean))
    assert shift.length > 0.5
    assert shift.agreement < 0.7
    assert reasons(noisy, eight_bit(clean)) == []
    moved = cv2.warpAffine(
        clean, np.array([[1, 0, 0.8], [0, 1, 0.8]]), (256, 256), borderMode=cv2.BORDER_REFLECT
    )
    assert reasons(noisy_of(moved, 6), eight_bit(clean)) == ["misaligned"]


def test_a_gradient_of_brightness_is_drift_of_its_size() -> None:
    clean = texture(5)
    ramp = np.linspace(-4, 4, 256)[:, None, None]
    drift, error = measure_drift(noisy_of(clean + ramp, 6).astype(float), clean)
    assert drift == pytest.approx(8 / np.sqrt(12), rel=0.2)
    assert error < 0.5
    assert reasons(noisy_of(clean + ramp, 6), eight_bit(clean)) == ["drifting"]


def test_a_constant_offset_of_one_channel_is_drift() -> None:
    clean = texture(6)
    assert reasons(noisy_of(clean + np.array([0, 0, 2.0]), 3), eight_bit(clean)) == ["drifting"]


@pytest.mark.parametrize("blur", [0, 2])
def test_heavy_noise_is_not_drift(blur: int) -> None:
    clean = texture(7, spread=10)
    noise = np.random.default_rng(1007).normal(0, 35, clean.shape)
    noise = cv2.GaussianBlur(noise, (0, 0), blur) * 3 if blur else noise
    assert reasons(eight_bit(clean + noise), eight_bit(clean)) == []


def test_noise_clipped_at_black_is_not_drift() -> None:
    clean = texture(8, spread=4) - 108
    noisy = noisy_of(clean, 15)
    assert (noisy.astype(float) - clean).mean() > 1.5
    assert reasons(noisy, eight_bit(clean)) == []


def test_the_bias_of_a_tone_curve_is_not_drift() -> None:
    clean = texture(9, spread=20)
    linear = (clean / 255) ** 2.2
    light = linear + np.random.default_rng(1009).normal(0, 0.06, clean.shape)
    noisy = eight_bit(255 * np.clip(light, 0, 1) ** (1 / 2.2))
    assert (noisy.astype(float) - clean).mean() < -1.0
    assert reasons(noisy, eight_bit(clean)) == []


def test_black_and_white_areas_are_saturated() -> None:
    clean = eight_bit(texture(10))
    clean[:30], clean[-30:] = 0, 255
    measures, problems = check_pair(noisy_of(clean, 4), clean, 8)
    assert measures.saturated == pytest.approx(60 / 256, abs=0.01)
    assert [problem.reason for problem in problems] == ["saturated"]


def test_sixteen_bit_pairs_are_measured_in_eight_bit_levels() -> None:
    clean = texture(11)
    deep_clean = np.round(clean * 16).astype(np.uint16)
    deep_noisy = np.round(noisy_of(clean, 3).astype(float) * 16).astype(np.uint16) + 48
    measures, problems = check_pair(deep_noisy, deep_clean, 12)
    assert measures.drift == pytest.approx(3, abs=0.2)
    assert [problem.reason for problem in problems] == ["drifting"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A good pair and a bad one of each kind."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    clean = texture(20, side=128)
    pictures = {
        "clean": eight_bit(clean),
        "good": noisy_of(clean, 5),
        "moved": noisy_of(shifted(clean, 1, 1), 5),
        "brighter": noisy_of(clean + 3, 5),
        "small": noisy_of(clean[:100], 5),
        "grey": noisy_of(clean, 5)[..., 0],
    }
    for name, pixels in pictures.items():
        assert cv2.imwrite(str(folder / f"{name}.png"), pixels)
    (folder / "damaged.png").write_bytes((folder / "good.png").read_bytes()[:5000])
    names = ["good", "moved", "brighter", "small", "grey", "damaged", "absent"]
    lines = [f"pictures/{name}.png,pictures/clean.png,S6,800,{name}" for name in names]
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(["noisy_path,clean_path,camera,iso,scene", *lines, ",,S6,low,empty"]) + "\n")
    return path


EXPECTED = {
    "good": [],
    "moved": ["misaligned"],
    "brighter": ["drifting"],
    "small": ["size_mismatch"],
    "grey": ["format_mismatch"],
    "damaged": ["unreadable"],
    "absent": ["unreadable"],
    "empty": ["bad_row", "bad_row", "bad_row"],
}


def test_the_command_names_what_is_wrong_and_goes_on(table: Path) -> None:
    done = CliRunner().invoke(main, ["check-pairs", str(table), "--json", "-q"])
    assert done.exit_code == 3, done.output
    report = json.loads(done.stdout)
    found = {pair["pair"]: [p["reason"] for p in pair["problems"]] for pair in report["pairs"]}
    assert found == EXPECTED
    assert report["summary"]["bad"] == 7
    assert report["summary"]["reasons"]["unreadable"] == 2


def test_the_table_and_the_report_say_the_same(table: Path, tmp_path: Path) -> None:
    report = tmp_path / "out" / "report.csv"
    done = CliRunner().invoke(main, ["check-pairs", str(table), "-q", "-o", str(report)])
    assert "8 pairs, 1 good, 7 bad" in done.stdout
    assert "row 4, small: size_mismatch" in done.stdout
    with report.open(newline="") as file:
        rows = {row["pair"]: row for row in csv.DictReader(file)}
    assert {name: row["reasons"] for name, row in rows.items()} == {
        name: " ".join(dict.fromkeys(found)) for name, found in EXPECTED.items()
    }
    assert float(rows["moved"]["shift_y"]) == pytest.approx(1, abs=0.1)
    assert rows["absent"]["drift"] == ""


def test_the_good_pairs_are_a_table_that_works_from_another_folder(table: Path, tmp_path: Path) -> None:
    good = tmp_path / "elsewhere" / "deep" / "good.csv"
    CliRunner().invoke(main, ["check-pairs", str(table), "-q", "--write-good", str(good)])
    [pair] = read_pairs(good)
    assert pair.name == "good"
    assert pair.noisy_path.resolve() == (tmp_path / "pictures" / "good.png").resolve()
    assert CliRunner().invoke(main, ["check-pairs", str(good), "-q"]).exit_code == 0


def test_limits_are_options(table: Path) -> None:
    loose = ["--max-shift", "2", "--max-drift", "5"]
    done = CliRunner().invoke(main, ["check-pairs", str(table), "--json", "-q", *loose])
    assert {"misaligned", "drifting"} & set(json.loads(done.stdout)["summary"]["reasons"]) == set()


@pytest.mark.skipif(not DATA.is_file(), reason="the development pairs are not on this machine")
def test_dark_and_noisy_blocks_of_phones_do_not_drift() -> None:
    done = CliRunner().invoke(main, ["check-pairs", str(DATA), "--split", "val", "--json", "-q"])
    found = {p["pair"]: [q["reason"] for q in p["problems"]] for p in json.loads(done.stdout)["pairs"]}
    assert [name for name, bad in found.items() if name.startswith("val_") and "drifting" in bad] == []
    assert found["Nikon800_bulle"] == ["drifting"]
