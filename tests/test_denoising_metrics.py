"""PSNR and the three SSIM conventions against closed forms and independent implementations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.signal import convolve2d
from skimage.metrics import peak_signal_noise_ratio

from noisegen.evaluation.denoising_metrics import SSIM_CONVENTIONS, psnr, ssim

Pictures = tuple[np.ndarray, np.ndarray]


def pictures(height: int = 13, width: int = 12, channels: int = 3, top: int = 255) -> Pictures:
    rng = np.random.default_rng(1)
    dtype = np.uint8 if top == 255 else np.uint16
    clean = np.linspace(0.1, 0.8, width)[None, :, None] * np.linspace(1, 0.3, height)[:, None, None]
    clean = clean * np.linspace(0.6, 1.1, channels)
    noisy = clean + rng.normal(0, 0.06, (height, width, channels))
    return tuple(np.round(np.clip(x, 0, 1) * top).astype(dtype) for x in (noisy, clean))  # type: ignore[return-value]


def gaussian(distance: float) -> float:
    return math.exp(-(distance**2) / (2 * 1.5**2))


def brute_force_matlab3d(a: np.ndarray, b: np.ndarray, data_range: float) -> float:
    """From the definition: at each voxel the weighted moments of the 11x11x11 neighbourhood, indices clamped."""
    a, b = a.astype(float), b.astype(float)
    offsets = list(itertools.product(range(-5, 6), repeat=3))
    weights = np.array([gaussian(math.hypot(*offset)) for offset in offsets])
    weights /= weights.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for place in np.ndindex(a.shape):
        near = np.clip(np.add(place, offsets), 0, np.subtract(a.shape, 1))
        x, y = (picture[near[:, 0], near[:, 1], near[:, 2]] for picture in (a, b))
        mx, my = weights @ x, weights @ y
        vx, vy, cov = weights @ (x - mx) ** 2, weights @ (y - my) ** 2, weights @ ((x - mx) * (y - my))
        values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(values))


def valid_windows(a: np.ndarray, b: np.ndarray, window: np.ndarray, unbiased: float, top: float) -> float:
    """SSIM of each channel over the windows inside the picture, by plain 2-D convolution."""
    c1, c2 = (0.01 * top) ** 2, (0.03 * top) ** 2
    values = []
    for channel in range(a.shape[2]):
        x, y = (picture[..., channel].astype(float) for picture in (a, b))
        mx, my, xx, yy, xy = (convolve2d(p, window, "valid") for p in (x, y, x * x, y * y, x * y))
        vx, vy, cov = (unbiased * value for value in (xx - mx**2, yy - my**2, xy - mx * my))
        similarity = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
        values.append(similarity.mean())
    return float(np.mean(values))


@pytest.mark.parametrize("top", [255, 4095, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_matlab3d_is_the_three_dimensional_definition(channels: int, top: int) -> None:
    noisy, clean = pictures(channels=channels, top=top)
    assert ssim(noisy, clean, "matlab3d", top) == pytest.approx(
        brute_force_matlab3d(noisy, clean, top), abs=1e-9
    )


def test_matlab3d_mixes_channels_and_the_others_do_not() -> None:
    noisy, clean = pictures()
    alone = {
        name: np.mean([ssim(noisy[..., [c]], clean[..., [c]], name, 255) for c in range(3)])
        for name in SSIM_CONVENTIONS
    }
    for name in ("gauss2d", "skimage_default"):
        assert ssim(noisy, clean, name, 255) == pytest.approx(alone[name], abs=1e-12)
    assert abs(ssim(noisy, clean, "matlab3d", 255) - alone["matlab3d"]) > 0.01


@pytest.mark.parametrize("top", [255, 65535])
def test_the_two_dimensional_conventions_are_their_definitions(top: int) -> None:
    noisy, clean = pictures(30, 25, top=top)
    line = np.array([gaussian(offset) for offset in range(-5, 6)])
    window = np.outer(line, line) / line.sum() ** 2
    assert ssim(noisy, clean, "gauss2d", top) == pytest.approx(
        valid_windows(noisy, clean, window, 1, top), abs=1e-9
    )
    uniform = np.full((7, 7), 1 / 49)
    assert ssim(noisy, clean, "skimage_default", top) == pytest.approx(
        valid_windows(noisy, clean, uniform, 49 / 48, top), abs=1e-9
    )


@pytest.mark.parametrize("convention", SSIM_CONVENTIONS)
def test_constant_pictures_have_the_similarity_of_their_levels(convention: str) -> None:
    a, b = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 140, np.uint8)
    c1 = 2.55**2
    expected = (2 * 100 * 140 + c1) / (100**2 + 140**2 + c1)
    assert ssim(a, b, convention, 255) == pytest.approx(expected, abs=1e-9)
    assert ssim(a, a, convention, 255) == pytest.approx(1, abs=1e-12)


def test_psnr_of_a_constant_difference_is_known() -> None:
    a = np.full((4, 5, 3), 10, np.uint8)
    assert psnr(a, a + np.uint8(51), 255) == pytest.approx(20 * math.log10(5))
    assert psnr(a + np.uint8(51), a, 255) == pytest.approx(20 * math.log10(5))
    assert psnr(a, a, 255) == math.inf


@pytest.mark.parametrize("top", [255, 1023, 65535])
def test_psnr_is_that_of_scikit_image(top: int) -> None:
    noisy, clean = pictures(40, 31, top=top)
    assert psnr(noisy, clean, top) == pytest.approx(peak_signal_noise_ratio(clean, noisy, data_range=top))


def test_pictures_that_cannot_be_compared_are_refused() -> None:
    a = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="different shape"):
        psnr(a, a[:, :8], 255)
    with pytest.raises(ValueError, match="at least 11"):
        ssim(a[:10], a[:10], "gauss2d", 255)
    with pytest.raises(ValueError, match="there are: matlab3d, gauss2d, skimage_default"):
        ssim(a, a, "matlab", 255)
