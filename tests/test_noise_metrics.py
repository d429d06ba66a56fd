"""Each metric against an independent reference, an analytic case or a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noisegen.evaluation.noise_metrics import (
    ACF_LAGS,
    acf_error,
    autocorrelation,
    grey_level_noise,
    kld_nm,
    mean_patch_kld,
    noise_bias,
    noise_histogram,
    noise_std,
)


def white(height: int, width: int, sigma: float, seed: int = 0) -> np.ndarray:
    return np.round(np.random.default_rng(seed).normal(0, sigma, (height, width, 3)))


def slow_kld(real: np.ndarray, synthetic: np.ndarray) -> float:
    """The protocol's definition, spelled out with numpy's histogram."""
    edges = np.arange(-260, 261, 4)
    p, q = (np.histogram(noise, edges)[0] + 1 for noise in (real, synthetic))
    return sum(
        a / p.sum() * (math.log(a / p.sum()) - math.log(b / q.sum())) for a, b in zip(p, q, strict=True)
    )


def slow_autocorrelation(channel: np.ndarray, y: int, x: int) -> float:
    mean = channel.mean()
    products = [
        (channel[i, j] - mean) * (channel[i + y, j + x] - mean)
        for i in range(channel.shape[0] - y)
        for j in range(channel.shape[1] - x)
    ]
    return float(np.mean(products) / channel.var())


def gaussian_bins(sigma: float) -> np.ndarray:
    edges = np.arange(-260, 261, 4)
    cdf = np.array([0.5 * (1 + math.erf(edge / sigma / math.sqrt(2))) for edge in edges])
    return np.diff(cdf)


def test_the_histogram_counts_every_value_in_bins_of_four_grey_levels() -> None:
    noise = np.array([-255, -4, -1, 0, 3, 3.99, 4, 255]).reshape(2, 4, 1)
    counts = noise_histogram(noise)
    assert counts.shape == (130,)
    assert counts.sum() == 8
    assert {int(i): int(counts[i]) for i in counts.nonzero()[0]} == {1: 1, 64: 2, 65: 3, 66: 1, 128: 1}


@pytest.mark.parametrize(("sigma", "other"), [(3, 3), (8, 9), (30, 5)])
def test_kld_of_a_patch_equals_the_slow_definition(sigma: float, other: float) -> None:
    real, synthetic = white(96, 96, sigma), white(96, 96, other, seed=1)
    assert kld_nm(real, synthetic) == pytest.approx(slow_kld(real, synthetic), rel=1e-9)


def test_kld_of_gaussians_approaches_the_divergence_of_the_binned_densities() -> None:
    real = np.random.default_rng(0).normal(0, 20, (1200, 1200, 3))
    synthetic = np.random.default_rng(1).normal(0, 25, (1200, 1200, 3))
    p, q = (gaussian_bins(sigma)[40:90] for sigma in (20, 25))
    assert kld_nm(real, synthetic) == pytest.approx(float(np.sum(p * np.log(p / q))), abs=2e-4)
    continuous = math.log(25 / 20) + 20**2 / (2 * 25**2) - 0.5
    assert kld_nm(real, synthetic) == pytest.approx(continuous, rel=0.01)


def test_kld_is_taken_of_real_against_synthetic_and_not_the_other_way() -> None:
    narrow, wide = white(96, 96, 4), white(96, 96, 12)
    assert kld_nm(narrow, wide) < 0.8 * kld_nm(wide, narrow)


def test_two_draws_of_one_distribution_score_at_the_floor_of_the_protocol() -> None:
    floor = mean_patch_kld(white(384, 384, 8), white(384, 384, 8, seed=1))
    assert floor == pytest.approx(0.0006, abs=0.0002)


def test_the_score_of_a_picture_is_the_mean_over_whole_patches() -> None:
    real, synthetic = white(200, 300, 8), white(200, 300, 10, seed=1)
    real[192:] = 99  # the rest below and right of the patches must not count
    real[:, 288:] = 99
    patches = [(y, x) for y in (0, 96) for x in (0, 96, 192)]
    expected = np.mean(
        [slow_kld(*(n[y : y + 96, x : x + 96] for n in (real, synthetic))) for y, x in patches]
    )
    assert mean_patch_kld(real, synthetic) == pytest.approx(expected, rel=1e-9)


def test_a_picture_smaller_than_a_patch_is_one_patch() -> None:
    real, synthetic = white(40, 50, 8), white(40, 50, 10, seed=1)
    assert mean_patch_kld(real, synthetic) == pytest.approx(slow_kld(real, synthetic), rel=1e-9)


def test_noise_of_a_deeper_picture_is_scaled_to_eight_bit_grey_levels() -> None:
    noisy = np.array([[[0, 65535, 1000]]], dtype=np.uint16)
    clean = np.array([[[65535, 0, 744]]], dtype=np.uint16)
    np.testing.assert_array_equal(grey_level_noise(noisy, clean, 16), [[[-65535 / 256, 65535 / 256, 1.0]]])
    small = np.array([[[3]]], dtype=np.uint8), np.array([[[200]]], dtype=np.uint8)
    np.testing.assert_array_equal(grey_level_noise(*small, 8), [[[-197.0]]])


def test_autocorrelation_equals_the_slow_definition_at_every_lag() -> None:
    noise = white(12, 15, 8)
    noise[:, 1:] += 0.5 * noise[:, :-1]
    expected = [np.mean([slow_autocorrelation(noise[..., c], y, x) for c in range(3)]) for y, x in ACF_LAGS]
    np.testing.assert_allclose(autocorrelation(noise), expected, rtol=1e-9)


def test_white_noise_has_no_autocorrelation() -> None:
    np.testing.assert_allclose(autocorrelation(white(256, 256, 8)), 0.0, atol=0.015)


def test_box_blurred_noise_has_the_triangle_as_autocorrelation() -> None:
    noise = np.random.default_rng(0).normal(0, 8, (514, 514, 3))
    blurred = sum(noise[i : i + 512, j : j + 512] for i in range(3) for j in range(3)) / 9
    triangle = {0: 1.0, 1: 2 / 3, 2: 1 / 3, 3: 0.0, 4: 0.0}
    expected = [triangle[y] * triangle[x] for y, x in ACF_LAGS]
    np.testing.assert_allclose(autocorrelation(blurred), expected, atol=0.03)


def test_autocorrelation_ignores_a_shift_in_brightness_and_the_scale() -> None:
    noise = white(64, 64, 8)
    np.testing.assert_allclose(autocorrelation(noise * 3 + 20), autocorrelation(noise), atol=1e-12)


def test_constant_noise_counts_as_uncorrelated() -> None:
    np.testing.assert_array_equal(autocorrelation(np.full((8, 8, 3), 2.0)), np.zeros(len(ACF_LAGS)))


def test_a_region_without_the_lag_is_refused() -> None:
    with pytest.raises(ValueError, match="8x4 has no lag"):
        autocorrelation(np.zeros((4, 8, 3)))


def test_acf_error_is_the_mean_absolute_difference() -> None:
    assert acf_error(np.array([0.5, 0.2, 0.1]), np.array([0.3, 0.3, 0.1])) == pytest.approx(0.1)


def test_std_and_bias_are_per_channel() -> None:
    noise = np.zeros((2, 2, 3))
    noise[..., 0] = [[1, 3], [1, 3]]
    noise[..., 2] = -5
    np.testing.assert_allclose(noise_std(noise), [1, 0, 0])
    np.testing.assert_allclose(noise_bias(noise), [2, 0, -5])
