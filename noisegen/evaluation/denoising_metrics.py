"""PSNR, and SSIM in the three conventions that published numbers use."""

from __future__ import annotations

import math

import cv2
import numpy as np
from skimage.metrics import structural_similarity

__all__ = ["SMALLEST_SIDE", "SSIM_CONVENTIONS", "psnr", "ssim"]

# name -> what it is, for tables and help
SSIM_CONVENTIONS = {
    "matlab3d": "MATLAB's ssim on [H, W, 3]: 11x11x11 Gaussian, sigma 1.5, replicated borders, channels as depth",
    "gauss2d": "each channel by itself, 11x11 Gaussian, sigma 1.5, only windows inside the picture",
    "skimage_default": "each channel by itself, uniform 7x7, sample covariance, only windows inside the picture",
}
SIGMA = 1.5
RADIUS = 5
SMALLEST_SIDE = 2 * RADIUS + 1


def psnr(a: np.ndarray, b: np.ndarray, data_range: float) -> float:
    """Peak signal-to-noise ratio over all pixels and channels, in dB.

    Args:
        a, b: [H, W, C] of the same shape, any real type.
        data_range: the largest possible value, 255 for 8 bits.

    Returns:
        10 log10(data_range^2 / mean squared difference); infinite where the pictures are identical.

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(a, b)
    error = float(np.mean(np.square(a.astype(np.float64) - b)))
    return 10 * math.log10(data_range**2 / error) if error else math.inf


def ssim(a: np.ndarray, b: np.ndarray, convention: str, data_range: float) -> float:
    """Structural similarity (Wang et al. 2004) with K1 = .01, K2 = .03, in float64.

    Args:
        a, b: [H, W, C] of the same shape with sides of at least 11 pixels, any real type.
        convention: a key of `SSIM_CONVENTIONS`; on one picture they differ by up to 0.1.
        data_range: the largest possible value, 255 for 8 bits.

    Returns:
        The mean of the similarity map: 1 for identical pictures.

    Raises:
        ValueError: unknown convention, shapes that differ or are too small.
    """
    _check_shapes(a, b)
    if a.ndim != 3 or min(a.shape[:2]) < SMALLEST_SIDE:
        raise ValueError(f"SSIM needs [H, W, C] with sides of at least {SMALLEST_SIDE}, not {list(a.shape)}")
    a, b = a.astype(np.float64), b.astype(np.float64)
    if convention == "matlab3d":
        return _ssim_matlab3d(a, b, data_range)
    if convention == "gauss2d":
        # with the default truncation of 3.5 sigma its window is 11 wide
        options = {"gaussian_weights": True, "sigma": SIGMA, "use_sample_covariance": False}
    elif convention == "skimage_default":
        options = {}
    else:
        raise ValueError(f"unknown SSIM convention {convention!r}; there are: {', '.join(SSIM_CONVENTIONS)}")
    return float(structural_similarity(a, b, channel_axis=2, data_range=data_range, **options))


def _ssim_matlab3d(a: np.ndarray, b: np.ndarray, data_range: float) -> float:
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_a, mean_b = _blur3d(a), _blur3d(b)
    product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance = _blur3d(a * b) - product
    variances = _blur3d(a**2 + b**2) - squares
    similarity = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return float(similarity.mean())


def _blur3d(volume: np.ndarray) -> np.ndarray:
    """The 11x11x11 Gaussian on [H, W, C], separably, every border replicated."""
    weights = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    weights /= weights.sum()
    # along the few channels, clamped neighbours make a small matrix: row c says what goes into channel c
    channels = volume.shape[2]
    mixing = np.zeros((channels, channels))
    for channel in range(channels):
        for offset, weight in zip(range(-RADIUS, RADIUS + 1), weights, strict=True):
            mixing[channel, min(max(channel + offset, 0), channels - 1)] += weight
    blurred = cv2.sepFilter2D(volume, -1, weights, weights, borderType=cv2.BORDER_REPLICATE)
    return blurred.reshape(volume.shape) @ mixing.T


def _check_shapes(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"pictures of different shape: {list(a.shape)} and {list(b.shape)}")
