"""Fitted correlated Gaussian noise has the correlation, over space and channels, and the level of real noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from noisegen.conditions import Condition
from noisegen.models.correlated_gaussian import (
    CorrelatedGaussian,
    CorrelatedGaussianSizes,
    fit_correlated_gaussian,
)
from noisegen.models.linear_filters import filter_latent, unit_norm
from noisegen.models.protocol import Randomness

LOW, HIGH = Condition("S6", 100), Condition("S6", 1600)
SIDE = 384
REACH = 4
GAIN, OFFSET = 0.3, 16.0
LAGS = [(0, 0), (0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (0, 4), (4, 0)]


def camera(channels: int = 3) -> Tensor:
    """What a camera may do: wider along rows, slanted, channels mixed and not all alike. [C, C, 5, 5], norm 1."""
    kernels = torch.zeros(channels, channels, 5, 5)
    for channel in range(channels):
        own = kernels[channel, channel]
        own[2, 2], own[2, 1], own[2, 3], own[3, 2] = 1.0, 0.4, 0.6, 0.25
        own[1, 3] = 0.2 * channel
        kernels[channel, (channel + 1) % channels, 2, 2] += 0.4
    return unit_norm(kernels)


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomness(*shape: int, seed: int = 0) -> Randomness:
    return Randomness(white(*shape, seed=seed), torch.zeros(shape))


def noise_of(kernels: Tensor, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """Standard normal noise [H, W, C] of these filters."""
    latent = filter_latent(white(1, len(kernels), side, side, seed=seed), kernels[None], 1)
    return latent[0].permute(1, 2, 0).numpy()


def tones(low: float, high: float, channels: int = 3, side: int = SIDE) -> np.ndarray:
    """Stripes of all tones, so that tone and place do not go together."""
    ramp = np.linspace(low, high, side)[np.random.default_rng(0).permutation(side)]
    return np.broadcast_to(np.round(ramp)[:, None, None], (side, side, channels))


def picture(
    clean: np.ndarray, latent: np.ndarray, condition: Condition = LOW, top: int = 255
) -> tuple[Condition, np.ndarray, np.ndarray]:
    dtype = np.uint8 if top == 255 else np.uint16
    grey = (top + 1) / 256
    noisy = clean + latent * np.sqrt(GAIN * grey * clean + OFFSET * grey**2)
    return condition, np.clip(np.round(noisy), 0, top).astype(dtype), clean.astype(dtype)


def correlations(noise: Tensor) -> Tensor:
    """Of each channel with each other at the lags, [lags, C, C]; noise [C, H, W]."""
    noise = noise - noise.mean(dim=(1, 2), keepdim=True)
    noise = noise / noise.square().mean(dim=(1, 2), keepdim=True).sqrt()
    return torch.stack([torch.einsum("ihw,jhw->ij", noise, noise.roll(lag, (1, 2))) for lag in LAGS]) / (
        noise.shape[1] * noise.shape[2]
    )


def drawn(model: CorrelatedGaussian, clean: float, condition: Condition = LOW, side: int = 512) -> Tensor:
    """Noise on an evenly grey picture, [C, H, W]."""
    flat = torch.full((1, model.channels, side, side), clean)
    noise = randomness(1, model.channels, side, side, seed=99)
    return (model.sample(flat, [condition], noise=noise) - flat)[0]


def wanted(kernels: Tensor) -> Tensor:
    return correlations(torch.from_numpy(noise_of(kernels, 1024, seed=7)).permute(2, 0, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_correlation_and_level_of_the_pairs_come_back(channels: int) -> None:
    kernels = camera(channels)
    clean = tones(40, 200, channels)
    model = fit_correlated_gaussian([picture(clean, noise_of(kernels, seed=s)) for s in range(2)], 8, REACH)
    truth = wanted(kernels)
    assert truth[1].diagonal().min() > 0.5 and (channels == 1 or truth[0, 0, 1] > 0.1)
    for level in (50.0, 125.0, 190.0):
        made = drawn(model, level)
        assert made.var(dim=(1, 2)).tolist() == pytest.approx([GAIN * level + OFFSET] * channels, rel=0.06)
        assert (correlations(made) - truth).abs().max() < 0.03


def test_clipped_shadows_and_edges_that_moved_leave_the_correlation_alone() -> None:
    kernels = camera()
    clean = tones(60, 200)
    clean = np.concatenate(
        [clean, np.zeros_like(clean)]
    )  # half of it black, where half of the noise is cut off
    latent = np.concatenate([noise_of(kernels), noise_of(kernels, seed=1)])
    condition, noisy, black = picture(clean, latent)
    noisy[::16] = 255  # and lines that moved
    model = fit_correlated_gaussian([(condition, noisy, black)], 8, REACH)
    assert (correlations(drawn(model, 125.0)) - wanted(kernels)).abs().max() < 0.04


def test_a_slow_drift_in_brightness_is_not_taken_for_correlation() -> None:
    drift = np.sin(np.linspace(0, np.pi, SIDE))[:, None, None]
    condition, noisy, clean = picture(tones(100, 160), noise_of(camera()) + drift)
    model = fit_correlated_gaussian([(condition, noisy, clean)], 8, REACH)
    assert (correlations(drawn(model, 125.0)) - wanted(camera())).abs().max() < 0.04


def test_pairs_that_are_clipped_all_over_are_fitted_by_what_there_is() -> None:
    clean = np.full((SIDE, SIDE, 3), 2.0)
    model = fit_correlated_gaussian([picture(clean, noise_of(camera()))], 8, REACH)
    assert correlations(drawn(model, 125.0))[1].diagonal().min() > 0.35


@pytest.mark.parametrize("side", [1, SIDE])
def test_pairs_without_noise_are_fitted_by_none(side: int) -> None:
    clean = tones(40, 200, side=side)
    model = fit_correlated_gaussian([picture(clean, np.zeros_like(clean))], 8, REACH)
    assert not drawn(model, 125.0, side=20).any()


def test_twelve_bit_values_are_fitted_in_their_own_levels() -> None:
    model = fit_correlated_gaussian([picture(tones(640, 3200), noise_of(camera()), top=4095)], 12, REACH)
    assert (model.bit_depth, model.channels) == (12, 3)
    made = drawn(model, 2000.0)
    assert made.var(dim=(1, 2)).tolist() == pytest.approx([GAIN * 16 * 2000 + OFFSET * 256] * 3, rel=0.06)
    assert (correlations(made) - wanted(camera())).abs().max() < 0.03


def two_settings() -> CorrelatedGaussian:
    """Noise of variance 100 at all tones, hardly correlated at the low ISO and strongly at the high one."""
    side = 2 * REACH + 1
    kernels = torch.zeros(2, 3, 3, side, side)
    kernels[..., REACH, REACH] = torch.eye(3)
    kernels[1, ..., REACH - 1 : REACH + 2, REACH - 2 : REACH + 3] += 0.2 * torch.eye(3)[..., None, None]
    flat = {LOW: (100.0,) * 3, HIGH: (100.0,) * 3}
    tables = {LOW: kernels[0], HIGH: unit_norm(kernels[1])}
    return CorrelatedGaussian.of(CorrelatedGaussianSizes(reach=REACH), dark=flat, bright=flat, kernels=tables)


def test_between_two_iso_settings_the_correlation_lies_between_and_the_level_stays() -> None:
    model = two_settings()
    low, middle, high = (drawn(model, 125.0, condition) for condition in (LOW, Condition("S6", 400), HIGH))
    beside = [correlations(noise)[1].diagonal().mean().item() for noise in (low, middle, high)]
    assert beside[0] + 0.1 < beside[1] < beside[2] - 0.1
    assert middle.var().item() == pytest.approx(100, rel=0.03)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (5, 3), (10, 12)])
def test_every_pixel_of_every_size_has_the_whole_level(height: int, width: int) -> None:
    count = 1500
    clean = torch.full((count, 3, height, width), 125.0)
    shape = (count, 3, height, width)
    made = two_settings().sample(clean, [HIGH] * count, noise=randomness(*shape)) - clean
    # six standard errors of a variance
    assert (made.var(dim=0) / 100 - 1).abs().max() < 6 * (2 / count) ** 0.5


def test_a_tile_with_a_halo_of_the_reach_fits_into_its_photograph() -> None:
    model, noise = two_settings(), randomness(1, 3, 90, 100)
    clean = torch.full((1, 3, 90, 100), 125.0)
    whole = model.sample(clean, [HIGH], noise=noise)
    part = (..., slice(20, 61), slice(30, 71))
    cut = model.sample(clean[part], [HIGH], noise=Randomness(noise.normal[part], noise.uniform[part]))
    inner = slice(REACH, -REACH)
    difference = (whole[part] - cut)[..., inner, inner].abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 0.001


def test_a_picture_of_a_batch_is_the_same_alone() -> None:
    model, noise = two_settings(), randomness(3, 3, 31, 33)
    conditions = [LOW, Condition("S6", 300), HIGH]
    clean = torch.full((3, 3, 31, 33), 125.0)
    together = model.sample(clean, conditions, noise=noise)
    for index, condition in enumerate(conditions):
        one = slice(index, index + 1)
        alone = Randomness(noise.normal[one], noise.uniform[one])
        assert torch.equal(together[one], model.sample(clean[one], [condition], noise=alone))
