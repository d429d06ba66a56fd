"""Metrics of the noise's values against an independent reference, an analytic case or a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noisegen.evaluation.histogram_metrics import (
    LAST_EDGE,
    akld,
    kld_naflow,
    kld_nm,
    local_variance,
    mean_patch_kld,
    noise_histogram,
    unit_histogram,
)
from noisegen.evaluation.noise_metrics import (
    diagonal_quadrants,
    grey_level_noise,
    interleaved_halves,
    noise_bias,
    noise_std,
    std_error,
)
from noisegen.evaluation.picture_score import NoiseField, compare


def white(height: int, width: int, sigma: float, seed: int = 0) -> np.ndarray:
    return np.round(np.random.default_rng(seed).normal(0, sigma, (height, width, 3)))


def slow_kld(real: np.ndarray, synthetic: np.ndarray) -> float:
    """The protocol's definition, spelled out with numpy's histogram."""
    edges = np.arange(-260, 261, 4)
    p, q = (np.histogram(noise, edges)[0] + 1 for noise in (real, synthetic))
    return sum(
        a / p.sum() * (math.log(a / p.sum()) - math.log(b / q.sum())) for a, b in zip(p, q, strict=True)
    )


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


def test_std_and_bias_are_per_channel() -> None:
    noise = np.zeros((2, 2, 3))
    noise[..., 0] = [[1, 3], [1, 3]]
    noise[..., 2] = -5
    np.testing.assert_allclose(noise_std(noise), [1, 0, 0])
    np.testing.assert_allclose(noise_bias(noise), [2, 0, -5])


def test_std_error_is_relative_to_the_real_spread_over_all_channels() -> None:
    assert std_error(np.array([3.0, 4.0]), np.array([6.0, 8.0])) == pytest.approx(1.0)
    assert std_error(np.array([3.0, 4.0]), np.array([4.0, 3.0])) == pytest.approx(0.0)
    assert std_error(np.array([2.0]), np.array([1.5])) == pytest.approx(0.25)
    assert std_error(np.zeros(3), np.zeros(3)) == 0.0
    assert std_error(np.zeros(3), np.ones(3)) == 1.0


def slow_kld_naflow(real: np.ndarray, synthetic: np.ndarray) -> float:
    edges = np.linspace(-1, 1, 257)
    p, q = ([0.0] * 256, [0.0] * 256)
    for counts, noise in ((p, real), (q, synthetic)):
        for value in noise.ravel() / 255:
            place = int(np.searchsorted(edges, value, side="right")) - 1
            counts[min(place, 255)] += 1 / noise.size
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0 and b > 0)


@pytest.mark.parametrize(("sigma", "other"), [(3, 3), (30, 12)])
def test_naflow_kld_equals_the_slow_definition(sigma: float, other: float) -> None:
    real, synthetic = white(40, 40, sigma), white(40, 40, other, seed=1)
    real[0, 0] = [-255, 255, 0]
    assert kld_naflow(real, synthetic) == pytest.approx(slow_kld_naflow(real, synthetic), rel=1e-9)


def test_naflow_kld_drops_bins_that_either_noise_leaves_empty() -> None:
    assert kld_naflow(np.full((4, 4, 3), 20.0), np.full((4, 4, 3), -20.0)) == 0.0
    half = np.array([20.0, 60.0])
    assert kld_naflow(half, np.array([20.0, -60.0])) == 0.0
    assert kld_naflow(half, np.array([20.0, 20.0])) == pytest.approx(0.5 * math.log(0.5))


def test_local_variance_is_the_gaussian_weighted_mean_of_the_squares_with_mirrored_borders() -> None:
    noise = white(9, 11, 8)
    weights = np.array([1, 3.5, 7, 9, 7, 3.5, 1]) / 32
    padded = np.pad(noise**2, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    expected = np.zeros_like(noise)
    for i in range(7):
        for j in range(7):
            expected += weights[i] * weights[j] * padded[i : i + 9, j : j + 11]
    np.testing.assert_allclose(local_variance(noise), expected, rtol=1e-5)
    assert local_variance(noise[..., :1]).shape == (9, 11, 1)
    assert local_variance(np.zeros((8, 8, 3))).min() == pytest.approx(1e-10 * 255**2)


@pytest.mark.parametrize("ratio", [0.3, 1.0, 4.0])
def test_akld_is_the_divergence_of_zero_mean_gaussians(ratio: float) -> None:
    """Against the integral of p log(p / q), p the synthetic and q the real density."""
    real, synthetic = 9.0, 9.0 * ratio
    x = np.linspace(-80, 80, 200_001)
    logs = [-(x**2) / (2 * v) - 0.5 * math.log(2 * math.pi * v) for v in (synthetic, real)]
    integral = float(np.sum(np.exp(logs[0]) * (logs[0] - logs[1])) * (x[1] - x[0]))
    maps = np.full((8, 8, 3), real), np.full((8, 8, 3), synthetic)
    assert akld(*maps) == pytest.approx(integral, abs=1e-6)


def test_akld_takes_no_ratio_for_more_than_ten_or_less_than_a_tenth() -> None:
    one = np.ones((4, 4, 1))
    assert akld(one, 1e6 * one) == pytest.approx(0.5 * (10 - 1 - math.log(10)))
    assert akld(one, 1e-6 * one) == pytest.approx(0.5 * (0.1 - 1 - math.log(0.1)))


def test_akld_of_two_draws_of_white_noise_is_at_its_floor_and_of_unlike_noises_above() -> None:
    real, same, other = (
        local_variance(white(200, 200, sigma, seed)) for sigma, seed in ((8, 0), (8, 1), (14, 2))
    )
    assert akld(real, same) == pytest.approx(0.04, abs=0.01)
    assert akld(real, other) > 0.4


def test_the_unit_histogram_counts_each_grey_level() -> None:
    counts = unit_histogram(np.array([[[-256.0, 0.0, 0.4], [3.0, 3.0, 256.0]]]))
    assert {int(i) - 256: int(counts[i]) for i in counts.nonzero()[0]} == {-256: 1, 0: 2, 3: 2, 256: 1}


def test_interleaved_halves_are_alternate_strips_of_the_same_rows() -> None:
    picture = np.arange(2 * 21).reshape(2, 21, 1)
    first, second = interleaved_halves(picture)
    np.testing.assert_array_equal(first[0, :, 0], [0, 1, 2, 3, 8, 9, 10, 11])
    np.testing.assert_array_equal(second[0, :, 0], [4, 5, 6, 7, 12, 13, 14, 15])
    assert [half.shape for half in interleaved_halves(picture[:, :5])] == [(2, 2, 1)] * 2


def test_diagonal_quadrants_cover_the_picture_and_balance_a_gradient() -> None:
    y, x = np.mgrid[:20, :31]
    picture = (2.0 * y + 5.0 * x)[..., None]
    first, second = diagonal_quadrants(picture)
    assert {part.shape for part in (*first, *second)} == {(10, 15, 1)}
    assert np.mean(first) == pytest.approx(np.mean(second))


def test_a_model_whose_noise_is_as_wild_as_eight_bits_allow_is_scored() -> None:
    """Taking the drift off such noise carries it beyond the outermost edges, where it must not be lost or fatal."""
    few = np.random.default_rng(0).random((192, 192, 3)) < 0.02
    clean = np.where(few, 255, 0).astype(np.uint8)
    noisy = 255 - clean
    wild = NoiseField.of(noisy - clean.astype(np.float64), clean, 8, detailed=True)
    real = NoiseField.of(white(192, 192, 5.0), clean, 8, detailed=True)
    assert wild.detail is not None
    assert np.abs(wild.detail.detrended).max() >= LAST_EDGE
    detail = compare(real, wild, 0.0).detail
    assert detail is not None
    assert math.isfinite(detail.kld_nm_detrended)
    assert noise_histogram(np.array([-400.0, -260.0, 259.0, 260.0, 400.0]))[[0, -1]].tolist() == [2, 3]
