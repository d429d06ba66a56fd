"""Drift is told from noise by its scale: what is taken off, what stays, and what the border does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from noisegen.evaluation.drift import DRIFT_SIGMA, drift_std, slow_part
from noisegen.evaluation.structure_metrics import autocorrelation


def noise(height: int = 256, width: int = 320) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 8, (height, width, 3))


def ramp(height: int = 256, width: int = 320) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.repeat((3 * np.sin(y / 90) + x / 100)[..., None], 3, axis=2)


@pytest.mark.parametrize(("height", "width"), [(256, 320), (97, 203), (30, 500)])
def test_the_slow_part_equals_a_normalised_gaussian_filter(height: int, width: int) -> None:
    field = noise(height, width) + ramp(height, width)
    weight = gaussian_filter(np.ones((height, width)), DRIFT_SIGMA, mode="constant")
    expected = np.stack(
        [gaussian_filter(field[..., c], DRIFT_SIGMA, mode="constant") / weight for c in range(3)], axis=-1
    )
    np.testing.assert_allclose(slow_part(field), expected, atol=0.1)


def test_a_constant_stays_that_constant_up_to_the_border() -> None:
    np.testing.assert_allclose(slow_part(np.full((70, 90, 1), -2.5)), -2.5, atol=1e-12)
    assert drift_std(slow_part(np.full((70, 90, 1), -2.5))) == pytest.approx(0, abs=1e-12)


def test_drift_is_found_under_noise_several_times_as_strong() -> None:
    wave = 2 * np.sin(np.mgrid[:512, :512][1] / 512 * 2 * np.pi)[..., None]
    field = np.random.default_rng(0).normal(0, 8, (512, 512, 1))
    assert drift_std(slow_part(field)) < 0.12
    # the window passes exp(-(2 pi 32 / 512)^2 / 2) of a wave of 512 pixels
    passed = np.exp(-((2 * np.pi * DRIFT_SIGMA / 512) ** 2) / 2)
    assert drift_std(slow_part(field + wave)) == pytest.approx(passed * 2 / np.sqrt(2), rel=0.1)


def test_white_noise_loses_no_more_than_a_hundredth_of_its_std() -> None:
    field = np.random.default_rng(0).normal(0, 8, (512, 512, 3))
    assert drift_std(slow_part(field)) == pytest.approx(8 / (2 * np.sqrt(np.pi) * DRIFT_SIGMA), rel=0.4)
    assert (field - slow_part(field)).std() == pytest.approx(field.std(), rel=1e-3)


def test_taking_drift_off_restores_the_autocorrelation() -> None:
    field = noise(512, 512) / 4
    drifting = field + ramp(512, 512)
    assert autocorrelation(drifting).min() > 0.3
    np.testing.assert_allclose(autocorrelation(drifting - slow_part(drifting)), 0, atol=0.06)
