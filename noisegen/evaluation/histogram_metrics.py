"""How near the values of synthetic noise are to those of real noise: divergences of histograms and local variances.

None of them sees correlation between pixels: white and blurred noise of one histogram score alike. See
`structure_metrics` for that. Numbers of different protocols are never comparable.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "akld",
    "kld_naflow",
    "kld_nm",
    "local_variance",
    "mean_patch_kld",
    "noise_histogram",
    "patch_histograms",
    "unit_histogram",
]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

PATCH = 96
FIRST_EDGE, LAST_EDGE, BIN_WIDTH = -260, 260, 4
BINS = (LAST_EDGE - FIRST_EDGE) // BIN_WIDTH
NAFLOW_BINS = 256
# The widest noise in grey levels, as bins of width 1.
UNIT_LIMIT = 256
AKLD_WINDOW = 7
MIN_LOCAL_VARIANCE = 1e-10 * 255**2
MIN_RATIO, MAX_RATIO = 0.1, 10.0


def noise_histogram(noise: np.ndarray) -> Counts:
    """Counts of all channels together in 130 bins with edges -260, -256, .. 260, left edge included.

    Noise that drift was taken off can lie beyond them, where a model's noise is wild; it counts in the outermost bins.

    Args:
        noise: any shape, finite.

    Returns:
        int64 [130].
    """
    return np.bincount(_bin_index(noise).ravel(), minlength=BINS)


def unit_histogram(noise: np.ndarray) -> Counts:
    """Counts of all channels together in bins one grey level wide, for looking at.

    Args:
        noise: any shape, within -256 <= value <= 256.

    Returns:
        int64 [513]; bin k holds k - 256.5 <= noise < k - 255.5, so that a whole level is the middle of its bin.
    """
    return np.bincount(
        (np.floor(noise + 0.5).astype(np.int64) + UNIT_LIMIT).ravel(), minlength=2 * UNIT_LIMIT + 1
    )


def kld_nm(real: np.ndarray, synthetic: np.ndarray) -> float:
    """KL(real || synthetic) of one patch, NM-FlowGAN protocol: +1 on every count, natural logarithm.

    Args:
        real, synthetic: noise of the same patch, all channels; any equal shape.
    """
    return float(_kl_of_counts(noise_histogram(real), noise_histogram(synthetic)))


def patch_histograms(noise: np.ndarray) -> Counts:
    """`noise_histogram` of each non-overlapping 96x96 patch, from the top-left corner.

    A partial rest at the right and the bottom is left out; a side shorter than 96 is taken whole.

    Args:
        noise: [H, W, C].

    Returns:
        int64 [rows, columns, 130].
    """
    height, width = noise.shape[:2]
    rows, columns = max(height // PATCH, 1), max(width // PATCH, 1)
    patch_index = (
        np.minimum(np.arange(height) // PATCH, rows)[:, None, None] * (columns + 1)
        + np.minimum(np.arange(width) // PATCH, columns)[None, :, None]
    )
    flat = (patch_index * BINS + _bin_index(noise)).ravel()
    table = np.bincount(flat, minlength=(rows + 1) * (columns + 1) * BINS)
    # the extra row and column gather the partial rest
    return table.reshape(rows + 1, columns + 1, BINS)[:rows, :columns]


def mean_patch_kld(real: np.ndarray, synthetic: np.ndarray) -> float:
    """`kld_nm` of a picture: the mean over its `patch_histograms`.

    The floor of the protocol, two draws of one distribution, is about .0006.

    Args:
        real, synthetic: [H, W, C] noise of the same picture.
    """
    return float(_kl_of_counts(patch_histograms(real), patch_histograms(synthetic)).mean())


def kld_naflow(real: np.ndarray, synthetic: np.ndarray) -> float:
    """KL(real || synthetic) of a picture, NAFlow protocol.

    256 bins over [-1, 1] of noise / 255, all channels together, frequencies of all pixels; bins that are empty
    in either histogram are dropped without renormalising, so two noises that nowhere overlap score 0.

    Args:
        real, synthetic: noise of the same picture; any equal shape.
    """
    p, q = (
        np.histogram(noise / 255.0, NAFLOW_BINS, (-1.0, 1.0))[0] / noise.size for noise in (real, synthetic)
    )
    both = (p > 0) & (q > 0)
    return float(np.sum(p[both] * np.log(p[both] / q[both])))


def local_variance(noise: np.ndarray) -> NDArray[np.float32]:
    """Squared noise under OpenCV's 7x7 Gaussian window, borders reflected without repeating the edge.

    Args:
        noise: [H, W, C], each side 4 pixels or more.

    Returns:
        float32 [H, W, C], at least 1e-10 of the squared range, as AKLD asks for.
    """
    squares = np.square(noise, dtype=np.float32)
    blurred = cv2.GaussianBlur(squares, (AKLD_WINDOW, AKLD_WINDOW), 0, borderType=cv2.BORDER_REFLECT_101)
    return np.maximum(blurred.reshape(noise.shape), np.float32(MIN_LOCAL_VARIANCE))


def akld(real_variance: np.ndarray, synthetic_variance: np.ndarray) -> float:
    """Average KL of Yue et al. (2020) between zero-mean Gaussians of two `local_variance` maps.

    The ratio synthetic / real is clamped to [0.1, 10]. Even two draws of one distribution are far from 0, since
    a 7x7 window holds few independent values: about .04 for white noise, more for correlated.

    Args:
        real_variance, synthetic_variance: of one shape.
    """
    ratio = np.clip(synthetic_variance / real_variance, MIN_RATIO, MAX_RATIO)
    return float(0.5 * np.mean(ratio - 1 - np.log(ratio), dtype=np.float64))


def _bin_index(noise: np.ndarray) -> Counts:
    return np.clip(np.floor((noise - FIRST_EDGE) / BIN_WIDTH), 0, BINS - 1).astype(np.int64)


def _kl_of_counts(real: np.ndarray, synthetic: np.ndarray) -> Floats:
    """KL over the last axis of two tables of counts, +1 on each."""
    p, q = real + 1.0, synthetic + 1.0
    p /= p.sum(axis=-1, keepdims=True)
    q /= q.sum(axis=-1, keepdims=True)
    return np.sum(p * np.log(p / q), axis=-1)
