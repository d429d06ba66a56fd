"""Metrics of synthetic noise against real noise: histogram divergence, autocorrelation, spread and bias.

All functions are pure and take noise = noisy - clean as real-valued [H, W, C] arrays in 8-bit grey levels;
noise of deeper pictures is scaled first (`grey_level_noise`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ACF_LAGS",
    "acf_error",
    "autocorrelation",
    "grey_level_noise",
    "kld_nm",
    "mean_patch_kld",
    "noise_bias",
    "noise_histogram",
    "noise_std",
]

Floats = NDArray[np.float64]

PATCH = 96
FIRST_EDGE, LAST_EDGE, BIN_WIDTH = -260, 260, 4
BINS = (LAST_EDGE - FIRST_EDGE) // BIN_WIDTH
ACF_LAGS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (0, 3), (3, 0), (0, 4), (4, 0))


def grey_level_noise(
    noisy: NDArray[np.unsignedinteger], clean: NDArray[np.unsignedinteger], bit_depth: int
) -> Floats:
    """noisy - clean in 8-bit grey levels.

    Args:
        noisy, clean: [H, W, C] uint8 or uint16 with values in 0 .. 2**bit_depth - 1.
        bit_depth: 8 to 16.

    Returns:
        float64 [H, W, C] between -256 and 256, exact.
    """
    return (noisy.astype(np.float64) - clean) / 2.0 ** (bit_depth - 8)


def noise_histogram(noise: np.ndarray) -> NDArray[np.int64]:
    """Counts of all channels together in 130 bins with edges -260, -256, .. 260, left edge included.

    Args:
        noise: any shape, within -260 <= value < 260.

    Returns:
        int64 [130].
    """
    return np.bincount(_bin_index(noise).ravel(), minlength=BINS)


def kld_nm(real: np.ndarray, synthetic: np.ndarray) -> float:
    """KL(real || synthetic) of one patch, NM-FlowGAN protocol: +1 on every count, natural logarithm.

    Args:
        real, synthetic: noise of the same patch, all channels; any equal shape.
    """
    return float(_kl_of_counts(noise_histogram(real), noise_histogram(synthetic)))


def mean_patch_kld(real: np.ndarray, synthetic: np.ndarray) -> float:
    """`kld_nm` of a picture: the mean over non-overlapping 96x96 patches from the top-left corner.

    A partial rest at the right and the bottom is left out; a side shorter than 96 is taken whole. The floor
    of the protocol, two draws of one distribution, is about .0006.

    Args:
        real, synthetic: [H, W, C] noise of the same picture.
    """
    height, width = real.shape[:2]
    rows, columns = max(height // PATCH, 1), max(width // PATCH, 1)
    counts = []
    patch_index = (
        np.minimum(np.arange(height) // PATCH, rows)[:, None, None] * (columns + 1)
        + np.minimum(np.arange(width) // PATCH, columns)[None, :, None]
    )
    for noise in (real, synthetic):
        flat = (patch_index * BINS + _bin_index(noise)).ravel()
        table = np.bincount(flat, minlength=(rows + 1) * (columns + 1) * BINS)
        # the extra row and column gather the partial rest
        counts.append(table.reshape(rows + 1, columns + 1, BINS)[:rows, :columns])
    return float(_kl_of_counts(*counts).mean())


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


def noise_std(noise: np.ndarray) -> Floats:
    """Standard deviation per channel, float64 [C], of noise [H, W, C]."""
    return noise.std(axis=(0, 1), dtype=np.float64)


def noise_bias(noise: np.ndarray) -> Floats:
    """Mean per channel, float64 [C], of noise [H, W, C]."""
    return noise.mean(axis=(0, 1), dtype=np.float64)


def _bin_index(noise: np.ndarray) -> NDArray[np.int64]:
    return np.floor((noise - FIRST_EDGE) / BIN_WIDTH).astype(np.int64)


def _kl_of_counts(real: np.ndarray, synthetic: np.ndarray) -> Floats:
    """KL over the last axis of two tables of counts, +1 on each."""
    p, q = real + 1.0, synthetic + 1.0
    p /= p.sum(axis=-1, keepdims=True)
    q /= q.sum(axis=-1, keepdims=True)
    return np.sum(p * np.log(p / q), axis=-1)
