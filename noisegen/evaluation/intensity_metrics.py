"""Noise as a function of the clean value: spread (the paper's Figure 8) and bias, and their errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "INTENSITY_BINS",
    "intensity_bias",
    "intensity_bias_error",
    "intensity_centres",
    "intensity_std",
    "intensity_std_error",
    "intensity_sums",
]

Floats = NDArray[np.float64]

INTENSITY_BINS = 32
# A bin with fewer pixels says little about a variance; often they are edges that moved between the shots.
MIN_PIXELS = 64
# Spread of rounding to whole levels; where real noise is less (clipped tones), errors are relative to this.
ROUNDING_STD = 12**-0.5


def intensity_sums(noise: np.ndarray, clean: np.ndarray, bit_depth: int) -> Floats:
    """Pixels, noise and squared noise summed in 32 equal bins of the clean value. Sums of pictures add up.

    Args:
        noise: [H, W, C] in 8-bit grey levels.
        clean: [H, W, C] uint8 or uint16, values in 0 .. 2**bit_depth - 1.
        bit_depth: 8 to 16.

    Returns:
        float64 [C, 32, 3].
    """
    sums = np.zeros((clean.shape[2], INTENSITY_BINS, 3))
    for channel in range(clean.shape[2]):
        index = (clean[..., channel].astype(np.int64) * INTENSITY_BINS >> bit_depth).ravel()
        values = noise[..., channel].ravel()
        for column, weights in enumerate((None, values, values**2)):
            sums[channel, :, column] = np.bincount(index, weights, INTENSITY_BINS)
    return sums


def intensity_centres() -> Floats:
    """Middles of the bins in 8-bit grey levels, float64 [32]."""
    return (np.arange(INTENSITY_BINS) + 0.5) * 256 / INTENSITY_BINS


def intensity_std(sums: np.ndarray) -> Floats:
    """Standard deviation around the bin's own mean, NaN in bins of fewer than 64 pixels; [C, 32]."""
    count, total, squares = np.moveaxis(sums, -1, 0)
    known = count >= MIN_PIXELS
    safe = np.where(known, count, 1.0)
    variance = np.maximum(squares / safe - (total / safe) ** 2, 0.0)
    return np.where(known, np.sqrt(variance), np.nan)


def intensity_bias(sums: np.ndarray) -> Floats:
    """Mean noise, NaN in bins of fewer than 64 pixels; [C, 32]."""
    count, total, _ = np.moveaxis(sums, -1, 0)
    known = count >= MIN_PIXELS
    return np.where(known, total / np.where(known, count, 1.0), np.nan)


def intensity_std_error(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Mean of |std synthetic - std real| / std real over channels and bins, weighted by the real pixels.

    Args:
        real, synthetic: `intensity_sums`, over the same clean pictures.
    """
    truth = intensity_std(real)
    return _weighted(np.abs(intensity_std(synthetic) - truth) / np.maximum(truth, ROUNDING_STD), real)


def intensity_bias_error(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Mean of |bias synthetic - bias real| over channels and bins, weighted by the real pixels; grey levels.

    Args:
        real, synthetic: `intensity_sums`, over the same clean pictures.
    """
    return _weighted(np.abs(intensity_bias(synthetic) - intensity_bias(real)), real)


def _weighted(error: np.ndarray, real: np.ndarray) -> float:
    """NaN where no bin has enough pixels."""
    known = np.isfinite(error)
    weights = real[..., 0][known]
    return float(np.sum(error[known] * weights) / weights.sum()) if known.any() else float("nan")
