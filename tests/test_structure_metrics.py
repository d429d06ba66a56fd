"""Autocorrelation, spectrum and channel correlation against slow references and noises with known answers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.signal import lfilter

from noisegen.evaluation.structure_metrics import (
    ACF_LAGS,
    acf_error,
    autocorrelation,
    autocorrelation_map,
    channel_correlation,
    directional_autocorrelation,
    radial_spectrum,
    spectrum_error_db,
    spectrum_frequencies,
)


def white(height: int, width: int, sigma: float, seed: int = 0) -> np.ndarray:
    return np.round(np.random.default_rng(seed).normal(0, sigma, (height, width, 3)))


def slow_autocorrelation(channel: np.ndarray, y: int, x: int) -> float:
    mean = channel.mean()
    products = [
        (channel[i, j] - mean) * (channel[i + y, j + x] - mean)
        for i in range(channel.shape[0] - y)
        for j in range(channel.shape[1] - x)
    ]
    return float(np.mean(products) / channel.var())


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


def test_the_map_equals_the_slow_definition_at_every_lag_and_channel() -> None:
    noise = white(12, 15, 8)
    noise[:, 1:] += 0.5 * noise[:, :-1]
    found = autocorrelation_map(noise, 3)
    for channel in range(3):
        for y in range(4):
            for x in range(4):
                slow = slow_autocorrelation(noise[..., channel], y, x)
                assert found[3 + y, 3 + x, channel] == pytest.approx(slow)
                assert found[3 - y, 3 - x, channel] == pytest.approx(slow)
                mirrored = slow_autocorrelation(noise[:, ::-1, channel], y, x)
                assert found[3 + y, 3 - x, channel] == pytest.approx(mirrored)


def test_the_map_has_zeros_where_a_small_region_has_no_lag_and_for_constant_noise() -> None:
    found = autocorrelation_map(white(10, 40, 8), 12)
    assert np.all(found[:3] == 0)
    assert np.all(found[3, 12] != 0)
    np.testing.assert_array_equal(autocorrelation_map(np.full((9, 9, 1), 3.0), 4), np.zeros((9, 9, 1)))


def test_autoregressive_noise_has_powers_of_its_coefficient_along_its_direction() -> None:
    rng = np.random.default_rng(0)
    noise = lfilter([1.0], [1.0, -0.6], rng.normal(0, 8, (600, 800, 3)), axis=1)[:, 100:]
    x, y, diagonal = directional_autocorrelation(autocorrelation_map(noise))
    np.testing.assert_allclose(x, np.repeat(0.6 ** np.arange(5)[:, None], 3, axis=1), atol=0.01)
    np.testing.assert_allclose(y[1:], 0, atol=0.01)
    np.testing.assert_allclose(diagonal[1:], 0, atol=0.01)


def slow_radial_spectrum(noise: np.ndarray) -> np.ndarray:
    """By the definition: Fourier sums of the windowed noise, frequency by frequency."""
    height, width, channels = noise.shape
    window = np.outer(*(np.sin(np.pi * np.arange(1, side + 1) / (side + 1)) ** 2 for side in (height, width)))
    rows, columns = np.arange(height), np.arange(width)
    found: list[list[float]] = [[] for _ in range(32)]
    for u in range(-(height // 2), height - height // 2):
        for v in range(-(width // 2), width - width // 2):
            radius = np.hypot(u / height, v / width)
            if 0 < radius < 0.5:
                wave = np.exp(-2j * np.pi * (u * rows[:, None] / height + v * columns[None] / width))
                powers = [
                    abs(np.sum(wave * window * (noise[..., c] - noise[..., c].mean()))) ** 2
                    for c in range(channels)
                ]
                found[int(radius * 64)].append(float(np.mean(powers)) / np.sum(window**2))
    return np.array([np.mean(values) if values else np.nan for values in found])


def test_the_spectrum_equals_fourier_sums_frequency_by_frequency() -> None:
    noise = white(24, 19, 8)
    noise[1:] += 0.5 * noise[:-1]
    expected = slow_radial_spectrum(noise)
    known = np.isfinite(expected)
    assert known.sum() > 15
    np.testing.assert_allclose(radial_spectrum(noise)[known], expected[known], rtol=1e-9)
    assert np.isfinite(radial_spectrum(noise)).all()


def test_white_noise_has_its_variance_at_every_frequency() -> None:
    power = radial_spectrum(np.random.default_rng(0).normal(0, 8, (512, 512, 3)))
    np.testing.assert_allclose(power[1:], 64, rtol=0.12)
    np.testing.assert_allclose(power[8:], 64, rtol=0.06)
    assert power.mean() == pytest.approx(64, rel=0.01)


def test_blurred_noise_has_the_squared_response_of_the_blur_as_spectrum() -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 20, (520, 520, 3)), (0, 0), 1.0)
    response = np.exp(-2 * (np.pi * spectrum_frequencies()) ** 2) ** 2
    low = response > 0.01
    np.testing.assert_allclose(radial_spectrum(noise[4:-4, 4:-4])[low], 400 * response[low], rtol=0.25)


def test_the_spectrum_error_of_noise_twice_as_strong_is_six_decibels() -> None:
    power = radial_spectrum(white(64, 64, 8))
    assert spectrum_error_db(power, power) == 0
    assert spectrum_error_db(power, 4 * power) == pytest.approx(20 * np.log10(2))
    assert np.isfinite(spectrum_error_db(power, np.zeros(32)))


def test_channel_correlation_equals_numpys_coefficients() -> None:
    noise = white(40, 50, 8)
    noise[..., 1] += 0.7 * noise[..., 0]
    noise[..., 2] -= 0.4 * noise[..., 1]
    expected = np.corrcoef(noise.reshape(-1, 3).T)
    np.testing.assert_allclose(
        channel_correlation(noise), [expected[0, 1], expected[1, 2], expected[0, 2]], rtol=1e-9
    )


def test_channels_without_noise_count_as_uncorrelated_and_grey_has_no_pairs() -> None:
    noise = white(8, 8, 8)
    noise[..., 2] = 5
    assert channel_correlation(noise)[1:] == pytest.approx([0, 0])
    assert channel_correlation(noise[..., :1]).shape == (0,)
