"""The classical models recover what the pairs were made with, and handle conditions as the protocol says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from noisegen.conditions import Condition
from noisegen.datasets.pairs import Pair
from noisegen.errors import InputError, UsageError
from noisegen.fitting.one_pass import fit_models, fitted_types
from noisegen.models import checkpoint_of_model, load_noise_model
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.classical import Awgn, GaussianModel, Heteroscedastic, PoissonGaussian
from noisegen.models.learning import ModelSizes
from noisegen.models.protocol import NoiseModel, Randomness
from noisegen.models.registry import model_type

Fit = Callable[[list[Pair]], GaussianModel]

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


def fit_awgn(pairs: list[Pair], bit_depth: int | None = None) -> Awgn:
    model = fit_models(["awgn"], pairs, bit_depth)["awgn"]
    assert isinstance(model, Awgn)
    return model


def fit_heteroscedastic(pairs: list[Pair], bit_depth: int | None = None) -> Heteroscedastic:
    model = fit_models(["heteroscedastic"], pairs, bit_depth)["heteroscedastic"]
    assert isinstance(model, Heteroscedastic)
    return model


def fit_poisson_gaussian(pairs: list[Pair], bit_depth: int | None = None) -> PoissonGaussian:
    model = fit_models(["poisson-gaussian"], pairs, bit_depth)["poisson-gaussian"]
    assert isinstance(model, PoissonGaussian)
    return model


def table(model: GaussianModel, name: str, condition: Condition = S6) -> list[float]:
    """The values of a condition, one a channel."""
    return [float(value) for value in model.get_buffer(name)[model.row(condition)]]


def noise_std(model: NoiseModel, condition: Condition, level: float) -> float:
    clean = torch.full((1, model.channels, 200, 200), float(level))
    return (model.sample(clean, [condition], noise=randomness(tuple(clean.shape))) - clean).std().item()


def test_awgn_recovers_the_std_of_each_condition(tmp_path: Path) -> None:
    pairs = [simulate(tmp_path, S6, 0, 64), simulate(tmp_path, GP, 0, 25)]
    model = fit_awgn(pairs)
    rounding = 1 / 12
    assert table(model, "std") == pytest.approx([math.sqrt(64 + rounding)] * 3, rel=0.01)
    assert table(model, "std", GP) == pytest.approx([math.sqrt(25 + rounding)] * 3, rel=0.01)
    assert (model.channels, model.bit_depth, model.vocabulary.known) == (3, 8, (GP, S6))


def test_awgn_does_not_take_a_brightness_shift_for_noise(tmp_path: Path) -> None:
    assert table(fit_awgn([simulate(tmp_path, S6, 0, 64, shift=5)]), "std") == pytest.approx(
        [8] * 3, rel=0.02
    )


def test_heteroscedastic_recovers_slope_and_offset(tmp_path: Path) -> None:
    model = fit_heteroscedastic([simulate(tmp_path, S6, 0.5, 10, name=name) for name in ("a", "bb", "ccc")])
    assert table(model, "dark") == pytest.approx([10] * 3, abs=2.5)
    assert table(model, "bright") == pytest.approx([0.5 * 255 + 10] * 3, rel=0.03)


def test_a_falling_variance_never_becomes_negative(tmp_path: Path) -> None:
    model = fit_heteroscedastic([simulate(tmp_path, S6, -0.5, 0.5 * 179)])
    assert table(model, "bright") == [0.0, 0.0, 0.0]
    assert min(table(model, "dark")) > 0
    assert noise_std(model, S6, 255) == 0


def test_poisson_gaussian_recovers_gain_and_offset(tmp_path: Path) -> None:
    model = fit_poisson_gaussian([simulate(tmp_path, S6, 0.5, 10, name=name) for name in ("a", "bb", "ccc")])
    assert table(model, "gain") == pytest.approx([0.5] * 3, rel=0.05)
    assert table(model, "offset") == pytest.approx([10] * 3, abs=3)


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
    assert table(robust, "gain") == pytest.approx([3.0] * 3, rel=0.08)
    assert table(robust, "offset") == pytest.approx([100] * 3, abs=20)
    assert max(table(plain, "bright")) < 0.85 * (3.0 * 255 + 100)
    assert noise_std(robust, S6, 0) < 0.7 * math.sqrt(100)  # what clipping leaves of it


def moved_edges(folder: Path, std: float) -> Pair:
    """Black and white blinds of which the noisy picture stands one row lower."""
    rng = np.random.default_rng(0)
    clean = np.full((320, 320, 3), 60, np.uint8)
    clean[np.arange(320) % 40 < 20] = 190
    noisy = np.round(np.roll(clean, 1, axis=0) + rng.normal(0, std, clean.shape)).astype(np.uint8)
    return Pair(save(folder / "edges_n.png", noisy), save(folder / "edges_c.png", clean), S6, None, "edges")


@pytest.mark.parametrize("fit", [fit_awgn, fit_heteroscedastic, fit_poisson_gaussian])
def test_edges_that_moved_do_not_set_the_level(tmp_path: Path, fit: Fit) -> None:
    pair = moved_edges(tmp_path, 8)
    noisy, clean = (cv2.imread(str(path)).astype(float) for path in (pair.noisy_path, pair.clean_path))
    assert (noisy - clean).std() > 28  # what plain moments say
    model = fit([pair])
    assert [noise_std(model, S6, level) for level in (60, 190)] == pytest.approx([8, 8], rel=0.04)


@pytest.mark.parametrize("fit", [fit_awgn, fit_heteroscedastic])
def test_heavy_tails_are_part_of_the_noise(tmp_path: Path, fit: Fit) -> None:
    rng = np.random.default_rng(0)
    clean = np.full((320, 320, 3), 128, np.uint8)
    noise = rng.laplace(0, 8 / math.sqrt(2), clean.shape)
    noisy = np.clip(np.round(clean + noise), 0, 255).astype(np.uint8)
    pair = Pair(save(tmp_path / "n.png", noisy), save(tmp_path / "c.png", clean), S6, None, "tails")
    assert noise_std(fit([pair]), S6, 128) == pytest.approx((noisy - clean.astype(float)).std(), rel=0.015)


def test_poisson_gaussian_does_not_take_a_brightness_shift_for_noise(tmp_path: Path) -> None:
    pair, shifted = simulate(tmp_path, S6, 0, 64), simulate(tmp_path, S6, 0, 64, name="shifted", shift=6)
    assert noise_std(fit_poisson_gaussian([pair, shifted]), S6, 128) == pytest.approx(8, rel=0.04)


def test_poisson_gaussian_of_a_falling_variance_is_constant_and_of_black_pictures_still_fits(
    tmp_path: Path,
) -> None:
    model = fit_poisson_gaussian([simulate(tmp_path, S6, -0.5, 0.5 * 179)])
    assert table(model, "gain") == [0.0, 0.0, 0.0]
    assert min(table(model, "offset")) > 0
    black = np.zeros((64, 64, 3), np.uint8)
    noisy = np.abs(np.random.default_rng(0).normal(0, 3, black.shape)).astype(np.uint8)
    pair = Pair(save(tmp_path / "n.png", noisy), save(tmp_path / "c.png", black), S6, None, "black")
    assert noise_std(fit_poisson_gaussian([pair]), S6, 100) > 0


def test_all_types_fitted_together_equal_each_fitted_alone(tmp_path: Path) -> None:
    pairs = [simulate(tmp_path, S6, 0.5, 10), simulate(tmp_path, GP, 0, 25)]
    names = fitted_types()
    assert {"awgn", "poisson-gaussian", "heteroscedastic"} <= set(names)
    together = fit_models(names[::-1], pairs)
    assert list(together) == names[::-1]
    for name in names:
        alone = fit_models([name], pairs)[name].state_dict()
        assert all(torch.equal(alone[key], value) for key, value in together[name].state_dict().items())


@pytest.mark.parametrize("name", fitted_types())
def test_a_fitted_model_comes_back_from_its_checkpoint(name: str, tmp_path: Path) -> None:
    pairs = [simulate(tmp_path, condition, 0.2, 10) for condition in (S6, S6_LOW, GP)]
    model, path = fit_models([name], pairs)[name], tmp_path / "model.safetensors"
    write_checkpoint(path, checkpoint_of_model(name, model, {}))
    again = load_noise_model(path)
    clean, noise = torch.full((2, 3, 20, 30), 100.0), randomness((2, 3, 20, 30))
    conditions = [GP, Condition("S6", 300)]
    assert torch.equal(
        model.sample(clean, conditions, noise=noise), again.sample(clean, conditions, noise=noise)
    )


def test_a_fit_that_fails_ends_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(pictures: object, bit_depth: int) -> None:
        raise UsageError("cannot")

    broken = replace(model_type("awgn"), fit=fail)
    monkeypatch.setattr("noisegen.models.classical.AWGN", broken)
    pairs = [simulate(tmp_path, S6, 0, 25, name=name) for name in "abcd"]
    with pytest.raises(UsageError, match="cannot"):
        fit_models(["awgn", "heteroscedastic"], pairs)


def test_heteroscedastic_on_flat_pictures_still_has_their_variance(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clean = np.full((64, 64, 3), 100, np.uint8)
    noisy = np.round(clean + rng.normal(0, 6, clean.shape)).astype(np.uint8)
    pair = Pair(save(tmp_path / "n.png", noisy), save(tmp_path / "c.png", clean), S6, None, "flat")
    assert noise_std(fit_heteroscedastic([pair]), S6, 100) == pytest.approx(6, rel=0.05)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("fit", [fit_awgn, fit_heteroscedastic, fit_poisson_gaussian])
def test_grey_pairs_of_more_bits_fit_and_sample_in_their_own_levels(
    tmp_path: Path, bits: int, fit: Callable[[list[Pair], int], GaussianModel]
) -> None:
    top, grey = 2**bits - 1, 2 ** (bits - 8)
    model = fit([simulate(tmp_path, S6, 0.02 * grey, grey**2, top=top, channels=1)], bits)
    assert (model.channels, model.bit_depth) == (1, bits)
    expected = math.sqrt(0.02 * grey * 0.5 * top + grey**2)
    assert noise_std(model, S6, top // 2) == pytest.approx(expected, rel=0.03)


def test_the_depth_of_sixteen_bit_files_must_be_stated_and_hold_their_values(tmp_path: Path) -> None:
    pairs = [simulate(tmp_path, S6, 4.0, 900, top=4095, channels=1)]
    for depth, message in ((None, "--bit-depth"), (8, "bit depth of 8"), (10, "bit depth of 10")):
        with pytest.raises(UsageError, match=message):
            fit_awgn(pairs, depth)


def test_samples_are_whole_levels_within_the_range() -> None:
    model = Awgn.of(ModelSizes(), std={S6: (90.0, 90.0, 90.0)})
    clean = torch.randint(0, 256, (2, 3, 40, 40)).float()
    noisy = model.sample(clean, [S6, S6], noise=randomness((2, 3, 40, 40)))
    assert torch.equal(noisy, noisy.round())
    assert (noisy.min().item(), noisy.max().item()) == (0, 255)


def test_each_picture_of_a_batch_gets_its_own_condition_and_the_same_pixels_alone() -> None:
    dark, bright = {S6_LOW: (2.0,) * 3, S6: (30.0,) * 3}, {S6_LOW: (9.0,) * 3, S6: (300.0,) * 3}
    model = Heteroscedastic.of(ModelSizes(), dark=dark, bright=bright)
    conditions = [S6, S6_LOW, Condition("S6", 300)]
    clean = torch.randint(0, 256, (3, 3, 33, 47)).float()
    noise = randomness((3, 3, 33, 47))
    batch = model.sample(clean, conditions, noise=noise)
    for i, condition in enumerate(conditions):
        alone = Randomness(noise.normal[i : i + 1], noise.uniform[i : i + 1])
        assert torch.equal(batch[i : i + 1], model.sample(clean[i : i + 1], [condition], noise=alone))


def test_between_two_iso_settings_the_log_variance_is_linear_in_log_iso() -> None:
    std = {S6_LOW: (4.0,) * 3, S6: (16.0,) * 3}
    model = Awgn.of(ModelSizes(), std=std)
    middle = Condition("S6", round(math.sqrt(100 * 800)))
    assert noise_std(model, middle, 128) == pytest.approx(8.0, rel=0.02)


def test_an_unknown_camera_is_an_error_that_lists_the_known_ones() -> None:
    model = Awgn.of(ModelSizes(), std={S6: (1.0,) * 3, GP: (2.0,) * 3})
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
