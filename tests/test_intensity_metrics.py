"""Spread and bias against the clean value: slow references and a noise model with a known curve."""

from __future__ import annotations

import numpy as np
import pytest

from noisegen.evaluation.intensity_metrics import (
    intensity_bias,
    intensity_bias_error,
    intensity_centres,
    intensity_std,
    intensity_std_error,
    intensity_sums,
)


def picture(seed: int = 0, side: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def test_curves_equal_numpys_std_and_mean_of_each_bin() -> None:
    clean = picture(side=60)
    noise = np.random.default_rng(1).normal(0, 5, clean.shape) + clean / 100
    sums = intensity_sums(noise, clean, 8)
    for channel in range(3):
        for index in range(32):
            inside = (clean[..., channel] // 8) == index
            values = noise[..., channel][inside]
            assert sums[channel, index, 0] == inside.sum()
            if len(values) >= 64:
                assert intensity_std(sums)[channel, index] == pytest.approx(values.std())
                assert intensity_bias(sums)[channel, index] == pytest.approx(values.mean())
            else:
                assert np.isnan(intensity_std(sums)[channel, index])


def test_a_signal_dependent_noise_shows_its_own_curve() -> None:
    clean = picture()
    noise = np.random.default_rng(1).normal(0, 1, clean.shape) * np.sqrt(4 + 0.5 * clean)
    expected = np.sqrt(4 + 0.5 * intensity_centres())
    np.testing.assert_allclose(
        intensity_std(intensity_sums(noise, clean, 8)).mean(axis=0), expected, rtol=0.03
    )


def test_sixteen_bit_pictures_fall_into_the_same_bins() -> None:
    clean = picture(side=40)
    noise = np.random.default_rng(1).normal(0, 5, clean.shape)
    deep = clean.astype(np.uint16) * 256 + 17
    np.testing.assert_array_equal(intensity_sums(noise, deep, 16), intensity_sums(noise, clean, 8))
    np.testing.assert_array_equal(intensity_sums(noise, deep >> 4, 12), intensity_sums(noise, clean, 8))


def test_errors_are_weighted_by_the_pixels() -> None:
    clean = np.full((100, 100, 1), 20, np.uint8)
    clean[:25] = 200
    noise = np.random.default_rng(0).normal(0, 6, clean.shape)
    stronger, shifted = noise.copy(), noise.copy()
    stronger[:25] = noise[:25] * 1.4
    shifted[:25] += 3
    real = intensity_sums(noise, clean, 8)
    assert intensity_std_error(real, intensity_sums(stronger, clean, 8)) == pytest.approx(0.25 * 0.4)
    assert intensity_bias_error(real, intensity_sums(shifted, clean, 8)) == pytest.approx(0.25 * 3)
    assert intensity_std_error(real, intensity_sums(shifted, clean, 8)) == pytest.approx(0, abs=1e-9)


def test_where_real_noise_is_clipped_away_errors_are_relative_to_rounding() -> None:
    clean = np.full((20, 20, 1), 255, np.uint8)
    some = np.random.default_rng(0).normal(0, 1, clean.shape)
    real, synthetic = (intensity_sums(noise, clean, 8) for noise in (np.zeros(clean.shape), some))
    assert intensity_std_error(real, synthetic) == pytest.approx(some.std() * 12**0.5)


def test_without_a_tone_of_64_pixels_there_is_no_number() -> None:
    sums = intensity_sums(np.ones((5, 5, 1)), np.zeros((5, 5, 1), np.uint8), 8)
    assert np.isnan(intensity_std_error(sums, sums))
