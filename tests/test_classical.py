"""The classical models recover what the pairs were made with, and handle conditions as the protocol says."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from noisegen.conditions import Condition, Vocabulary
from noisegen.datasets.pairs import Pair
from noisegen.errors import InputError, UsageError
from noisegen.fitting.classical import fit_awgn, fit_baselines, fit_heteroscedastic, fit_poisson_gaussian
from noisegen.models.classical import Awgn, Heteroscedastic, PoissonGaussian
from noisegen.models.protocol import NoiseModel, Randomness

S6 = Condition("S6", 800)
S6_LOW = Condition("S6", 100)
GP = Condition("GP", 3200)


def save(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image[:, :, ::-1] if image.shape[2] == 3 else image)
    return path


def simulate(
    folder: Path,
    condition: Condition,
    slope: float,
    offset: float,
    *,
    top: int = 255,
    channels: int = 3,
    name: str = "pair",
    shift: float = 0.0,
) -> Pair:
    """A pair whose variance is slope * clean + offset, away from both ends so that nothing is clipped."""
    rng = np.random.default_rng(len(name) + condition.iso)
    dtype = np.uint8 if top == 255 else np.uint16
    clean = np.linspace(0.3 * top, 0.7 * top, 256 * 320 * channels).reshape(256, 320, channels).astype(dtype)
    noise = rng.standard_normal(clean.shape) * np.sqrt(slope * clean + offset) + shift
    noisy = np.clip(np.round(clean + noise), 0, top).astype(dtype)
    stem = f"{name}_{condition.camera}_{condition.iso}"
    noisy_path, clean_path = save(folder / f"{stem}_n.png", noisy), save(folder / f"{stem}_c.png", clean)
    return Pair(noisy_path, clean_path, condition, None, stem)


def randomness(shape: tuple[int, ...], seed: int = 0) -> Randomness:
    generator = torch.Generator().manual_seed(seed)
    return Randomness(torch.randn(shape, generator=generator), torch.rand(shape, generator=generator))


def noise_std(model: NoiseModel, condition: Condition, level: float) -> float:
    clean = torch.full((1, model.channels, 200, 200), float(level))
    return (model.sample(clean, [condition], noise=randomness(tuple(clean.shape))) - clean).std().item()


def test_awgn_recovers_the_std_of_each_condition(tmp_path: Path) -> None:
    pairs = [simulate(tmp_path, S6, 0, 64), simulate(tmp_path, GP, 0, 25)]
    model = fit_awgn(pairs)
    rounding = 1 / 12
    assert model.std[S6] == pytest.approx([math.sqrt(64 + rounding)] * 3, rel=0.01)
    assert model.std[GP] == pytest.approx([math.sqrt(25 + rounding)] * 3, rel=0.01)
    assert (model.channels, model.bit_depth, model.vocabulary.known) == (3, 8, (GP, S6))


def test_awgn_does_not_take_a_brightness_shift_for_noise(tmp_path: Path) -> None:
    assert fit_awgn([simulate(tmp_path, S6, 0, 64, shift=5)]).std[S6] == pytest.approx([8] * 3, rel=0.02)


def test_heteroscedastic_recovers_slope_and_offset(tmp_path: Path) -> None:
    model = fit_heteroscedastic([simulate(tmp_path, S6, 0.5, 10, name=name) for name in ("a", "bb", "ccc")])
    assert model.dark[S6] == pytest.approx([10] * 3, abs=2.5)
    assert model.bright[S6] == pytest.approx([0.5 * 255 + 10] * 3, rel=0.03)


def test_a_falling_variance_never_becomes_negative(tmp_path: Path) -> None:
    model = fit_heteroscedastic([simulate(tmp_path, S6, -0.5, 0.5 * 179)])
    assert model.bright[S6] == (0.0, 0.0, 0.0)
    assert min(model.dark[S6]) > 0
    assert noise_std(model, S6, 255) == 0


def test_poisson_gaussian_recovers_gain_and_offset(tmp_path: Path) -> None:
    model = fit_poisson_gaussian([simulate(tmp_path, S6, 0.5, 10, name=name) for name in ("a", "bb", "ccc")])
    assert model.gain[S6] == pytest.approx([0.5] * 3, rel=0.05)
    assert model.offset[S6] == pytest.approx([10] * 3, abs=3)


def clipped_pair(folder: Path, gain: float, offset: float) -> Pair:
    """Noise over the whole range of tones, cut off at black and white."""
    rng = np.random.default_rng(0)
    clean = np.linspace(0, 255, 400 * 400 * 3).reshape(400, 400, 3).astype(np.uint8)
    noise = rng.standard_normal(clean.shape) * np.sqrt(gain * clean + offset)
    noisy = np.clip(np.round(clean + noise), 0, 255).astype(np.uint8)
    return Pair(save(folder / "n.png", noisy), save(folder / "c.png", clean), S6, None, "clipped")


def test_poisson_gaussian_sees_through_clipping_where_least_squares_does_not(tmp_path: Path) -> None:
    pair = clipped_pair(tmp_path, 3.0, 100)
    robust, plain = fit_poisson_gaussian([pair]), fit_heteroscedastic([pair])
    assert robust.gain[S6] == pytest.approx([3.0] * 3, rel=0.08)
    assert robust.offset[S6] == pytest.approx([100] * 3, abs=20)
    assert max(plain.bright[S6]) < 0.85 * (3.0 * 255 + 100)
    assert noise_std(robust, S6, 0) < 0.7 * math.sqrt(100)  # what clipping leaves of it


def test_poisson_gaussian_takes_neither_outliers_nor_a_brightness_shift_for_noise(tmp_path: Path) -> None:
    pair = simulate(tmp_path, S6, 0, 64)
    noisy = cv2.imread(str(pair.noisy_path))
    noisy[::20] = 255  # one row in twenty is an edge that moved
    noisy_path = save(tmp_path / "edges.png", noisy)
    edges = Pair(noisy_path, pair.clean_path, S6, None, "edges")
    shifted = simulate(tmp_path, S6, 0, 64, name="shifted", shift=6)
    for bad in ([edges], [pair, shifted]):
        assert noise_std(fit_poisson_gaussian(bad), S6, 128) == pytest.approx(8, rel=0.04)
    assert noise_std(fit_heteroscedastic([edges]), S6, 128) > 16


def test_poisson_gaussian_of_a_falling_variance_is_constant_and_of_black_pictures_still_fits(
    tmp_path: Path,
) -> None:
    model = fit_poisson_gaussian([simulate(tmp_path, S6, -0.5, 0.5 * 179)])
    assert model.gain[S6] == (0.0, 0.0, 0.0)
    assert min(model.offset[S6]) > 0
    black = np.zeros((64, 64, 3), np.uint8)
    noisy = np.abs(np.random.default_rng(0).normal(0, 3, black.shape)).astype(np.uint8)
    pair = Pair(save(tmp_path / "n.png", noisy), save(tmp_path / "c.png", black), S6, None, "black")
    assert noise_std(fit_poisson_gaussian([pair]), S6, 100) > 0


def test_all_baselines_together_equal_each_fitted_alone(tmp_path: Path) -> None:
    pairs = [simulate(tmp_path, S6, 0.5, 10), simulate(tmp_path, GP, 0, 25)]
    together = fit_baselines(["poisson-gaussian", "awgn", "heteroscedastic"], pairs)
    alone = [fit_poisson_gaussian(pairs), fit_awgn(pairs), fit_heteroscedastic(pairs)]
    assert list(together.values()) == alone
    assert isinstance(together["poisson-gaussian"], PoissonGaussian)


def test_heteroscedastic_on_flat_pictures_still_has_their_variance(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clean = np.full((64, 64, 3), 100, np.uint8)
    noisy = np.round(clean + rng.normal(0, 6, clean.shape)).astype(np.uint8)
    pair = Pair(save(tmp_path / "n.png", noisy), save(tmp_path / "c.png", clean), S6, None, "flat")
    assert noise_std(fit_heteroscedastic([pair]), S6, 100) == pytest.approx(6, rel=0.05)


def test_sixteen_bit_grey_pairs_fit_and_sample_in_their_own_levels(tmp_path: Path) -> None:
    pairs = [simulate(tmp_path, S6, 4.0, 90000, top=65535, channels=1)]
    for fitted in (fit_awgn(pairs), fit_heteroscedastic(pairs), fit_poisson_gaussian(pairs)):
        assert (fitted.channels, fitted.bit_depth) == (1, 16)
        assert noise_std(fitted, S6, 0.5 * 65535) == pytest.approx(math.sqrt(2 * 65535 + 90000), rel=0.03)


def test_samples_are_whole_levels_within_the_range() -> None:
    model = Awgn(Vocabulary.of([S6]), 3, 8, {S6: (90.0, 90.0, 90.0)})
    clean = torch.randint(0, 256, (2, 3, 40, 40)).float()
    noisy = model.sample(clean, [S6, S6], noise=randomness((2, 3, 40, 40)))
    assert torch.equal(noisy, noisy.round())
    assert (noisy.min().item(), noisy.max().item()) == (0, 255)


def test_each_picture_of_a_batch_gets_its_own_condition_and_the_same_pixels_alone() -> None:
    dark, bright = {S6_LOW: (2.0,) * 3, S6: (30.0,) * 3}, {S6_LOW: (9.0,) * 3, S6: (300.0,) * 3}
    model = Heteroscedastic(Vocabulary.of(dark), 3, 8, dark, bright)
    conditions = [S6, S6_LOW, Condition("S6", 300)]
    clean = torch.randint(0, 256, (3, 3, 33, 47)).float()
    noise = randomness((3, 3, 33, 47))
    batch = model.sample(clean, conditions, noise=noise)
    for i, condition in enumerate(conditions):
        alone = Randomness(noise.normal[i : i + 1], noise.uniform[i : i + 1])
        assert torch.equal(batch[i : i + 1], model.sample(clean[i : i + 1], [condition], noise=alone))


def test_between_two_iso_settings_the_log_variance_is_linear_in_log_iso() -> None:
    std = {S6_LOW: (4.0,) * 3, S6: (16.0,) * 3}
    model = Awgn(Vocabulary.of(std), 3, 8, std)
    middle = Condition("S6", round(math.sqrt(100 * 800)))
    assert noise_std(model, middle, 128) == pytest.approx(8.0, rel=0.02)


def test_an_unknown_camera_is_an_error_that_lists_the_known_ones() -> None:
    model = Awgn(Vocabulary.of([S6, GP]), 3, 8, {S6: (1.0,) * 3, GP: (2.0,) * 3})
    clean = torch.zeros(1, 3, 8, 8)
    with pytest.raises(InputError, match="known: GP, S6"):
        model.sample(clean, [Condition("Canon", 100)], noise=randomness((1, 3, 8, 8)))
    with pytest.raises(InputError, match="outside what is known"):
        model.sample(clean, [Condition("S6", 6400)], noise=randomness((1, 3, 8, 8)))


def test_fitting_on_nothing_or_on_unlike_pairs_is_an_error(tmp_path: Path) -> None:
    grey = simulate(tmp_path, S6, 0, 64, channels=1, name="grey")
    with pytest.raises(UsageError, match="unlike the pairs before"):
        fit_awgn([simulate(tmp_path, S6, 0, 64), grey])
    with pytest.raises(UsageError, match="no pairs"):
        fit_heteroscedastic([])


def test_fitting_on_a_damaged_pair_names_it(tmp_path: Path) -> None:
    pair = simulate(tmp_path, S6, 0, 64)
    pair.noisy_path.write_bytes(pair.noisy_path.read_bytes()[:500])
    with pytest.raises(UsageError, match=pair.noisy_path.name):
        fit_awgn([pair])
