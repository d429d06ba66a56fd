"""How near the structure of synthetic noise is to that of real noise: neighbours, frequencies and channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ACF_LAGS",
    "CHANNEL_PAIRS",
    "DIRECTIONS",
    "acf_error",
    "autocorrelation",
    "autocorrelation_map",
    "channel_correlation",
    "directional_autocorrelation",
    "radial_spectrum",
    "spectrum_error_db",
    "spectrum_frequencies",
]

Floats = NDArray[np.float64]

ACF_LAGS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (0, 3), (3, 0), (0, 4), (4, 0))
LONGEST_LAG = 4
# Steps (y, x) along which `directional_autocorrelation` goes.
DIRECTIONS = {"x": (0, 1), "y": (1, 0), "diagonal": (1, 1)}
MAP_RADIUS = 8
SPECTRUM_BINS = 32
CHANNEL_PAIRS = {"R-G": (0, 1), "G-B": (1, 2), "R-B": (0, 2)}
# Far below the power of rounding to whole levels (1/12), and keeps the logarithm of no noise finite.
MIN_POWER = 1e-3


def autocorrelation(noise: np.ndarray, lags: Sequence[tuple[int, int]] = ACF_LAGS) -> Floats:
    """Autocorrelation of the noise field, mean removed over the region, normalised by the variance.

    Args:
        noise: [H, W, C], larger than every lag; the protocol asks for at least 256x256.
        lags: non-negative (y, x) offsets in pixels.

    Returns:
        float64 [len(lags)], each averaged over channels. A channel of constant noise counts as uncorrelated.

    Raises:
        ValueError: the region is not larger than a lag.
    """
    height, width = noise.shape[:2]
    centred = noise - noise.mean(axis=(0, 1), dtype=np.float64)
    variance = np.mean(centred**2, axis=(0, 1))
    values = np.zeros(len(lags))
    for index, (y, x) in enumerate(lags):
        if y >= height or x >= width:
            raise ValueError(f"a region of {width}x{height} has no lag of ({y}, {x})")
        covariance = np.mean(centred[: height - y, : width - x] * centred[y:, x:], axis=(0, 1))
        defined = variance > 0
        values[index] = np.where(defined, covariance / np.where(defined, variance, 1.0), 0.0).mean()
    return values


def acf_error(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Mean absolute difference of two autocorrelations, each averaged over a condition's pictures."""
    return float(np.mean(np.abs(np.asarray(real) - np.asarray(synthetic))))


def autocorrelation_map(noise: np.ndarray, radius: int = MAP_RADIUS) -> Floats:
    """`autocorrelation` at all lags up to ``radius`` in y and x, both signs, for each channel.

    Args:
        noise: [H, W, C]. Lags that a smaller region does not have are 0.
        radius: in pixels.

    Returns:
        float64 [2 * radius + 1, 2 * radius + 1, C]; the middle is lag (0, 0), which is 1, or 0 for constant noise.
    """
    height, width, channels = noise.shape
    centred = noise - noise.mean(axis=(0, 1), dtype=np.float64)
    # zeros behind the region keep the lags from wrapping around
    shape = (height + radius, width + radius)
    lags = np.arange(-radius, radius + 1)
    overlaps = np.maximum(height - np.abs(lags), 0)[:, None] * np.maximum(width - np.abs(lags), 0)[None, :]
    result = np.zeros((2 * radius + 1, 2 * radius + 1, channels))
    for channel in range(channels):
        variance = np.mean(centred[..., channel] ** 2)
        if variance > 0:
            power = np.abs(np.fft.rfft2(centred[..., channel], shape)) ** 2
            sums = np.fft.irfft2(power, shape)[np.ix_(lags % shape[0], lags % shape[1])]
            result[..., channel] = np.where(overlaps > 0, sums / np.maximum(overlaps, 1) / variance, 0.0)
    return result


def directional_autocorrelation(correlation: np.ndarray) -> Floats:
    """The values of an `autocorrelation_map` at lags 0 to 4 along each of `DIRECTIONS`.

    Args:
        correlation: [2r + 1, 2r + 1, C] with r of 4 or more.

    Returns:
        float64 [3, 5, C].
    """
    middle = correlation.shape[0] // 2
    lags = np.arange(LONGEST_LAG + 1)
    return np.stack([correlation[middle + y * lags, middle + x * lags] for y, x in DIRECTIONS.values()])


def spectrum_frequencies() -> Floats:
    """Middles of the 32 bins of `radial_spectrum`, cycles per pixel."""
    return (np.arange(SPECTRUM_BINS) + 0.5) / (2 * SPECTRUM_BINS)


def radial_spectrum(noise: np.ndarray) -> Floats:
    """Power of the noise by spatial frequency, mean over directions and channels, in squared grey levels.

    The mean is taken off each channel and a Hann window put over the region, so that what does not repeat at its
    borders leaks little; the scale is such that white noise has its variance at every frequency.

    Args:
        noise: [H, W, C], each side 3 pixels or more.

    Returns:
        float64 [32]: bins of equal width from 0 to 0.5 cycles per pixel, see `spectrum_frequencies`. The corners
        beyond 0.5 are left out. Bins that a small region has no frequency in are interpolated.
    """
    height, width = noise.shape[:2]
    # without the zeros that a Hann window of numpy has at both ends
    rows, columns = np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]
    window = rows[:, None] * columns[None, :]
    centred = (noise - noise.mean(axis=(0, 1), dtype=np.float64)) * window[..., None]
    power = np.mean(np.abs(np.fft.fft2(centred, axes=(0, 1))) ** 2, axis=2) / np.sum(window**2)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    index = np.floor(radius * 2 * SPECTRUM_BINS).astype(np.int64)
    inside = (index < SPECTRUM_BINS) & (radius > 0)
    count = np.bincount(index[inside], minlength=SPECTRUM_BINS)
    total = np.bincount(index[inside], power[inside], SPECTRUM_BINS)
    found = count > 0
    middles = spectrum_frequencies()
    return np.interp(middles, middles[found], total[found] / count[found])


def spectrum_error_db(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Mean absolute difference of two radial spectra in decibels: level and shape both count.

    Noise a tenth too strong in std everywhere is .83 dB off.
    """
    ratio = np.maximum(synthetic, MIN_POWER) / np.maximum(real, MIN_POWER)
    return float(np.mean(np.abs(10 * np.log10(ratio))))


def channel_correlation(noise: np.ndarray) -> Floats:
    """Pearson correlation of the noise in two channels of one pixel, for each of `CHANNEL_PAIRS`.

    Args:
        noise: [H, W, 3] or [H, W, 1].

    Returns:
        float64 [3], or [0] of grey noise. A channel of constant noise counts as uncorrelated.
    """
    if noise.shape[2] == 1:
        return np.zeros(0)
    centred = noise - noise.mean(axis=(0, 1), dtype=np.float64)
    covariance = np.einsum("hwi,hwj->ij", centred, centred) / centred[..., 0].size
    spread = np.sqrt(np.diagonal(covariance))
    scale = np.outer(spread, spread)
    correlation = np.where(scale > 0, covariance / np.where(scale > 0, scale, 1.0), 0.0)
    return np.array([correlation[pair] for pair in CHANNEL_PAIRS.values()])
