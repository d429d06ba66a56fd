"""The noise of a pair in 8-bit grey levels, its spread and bias, and the halves that noise floors compare.

All metrics of this folder are pure functions of noise = noisy - clean as real-valued [H, W, C] arrays in 8-bit grey
levels; noise of deeper pictures is scaled first (`grey_level_noise`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "diagonal_quadrants",
    "grey_level_noise",
    "interleaved_halves",
    "noise_bias",
    "noise_std",
    "std_error",
]

Floats = NDArray[np.float64]

# As wide as noise is correlated, and narrower than most of a picture's content.
STRIP = 4


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


def noise_std(noise: np.ndarray) -> Floats:
    """Standard deviation per channel, float64 [C], of noise [H, W, C]."""
    return noise.std(axis=(0, 1), dtype=np.float64)


def noise_bias(noise: np.ndarray) -> Floats:
    """Mean per channel, float64 [C], of noise [H, W, C]."""
    return noise.mean(axis=(0, 1), dtype=np.float64)


def std_error(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Relative error of the spread, |synthetic / real - 1|, of the root mean square over channels.

    Args:
        real, synthetic: standard deviations per channel, [C]. Where the real noise is all zero, the error is
            0 if the synthetic is too and 1 otherwise.
    """
    spread, other = (float(np.sqrt(np.mean(np.square(std)))) for std in (real, synthetic))
    if spread == 0:
        return float(other > 0)
    return abs(other / spread - 1)


def interleaved_halves(picture: np.ndarray, strip: int = STRIP) -> tuple[np.ndarray, np.ndarray]:
    """Two halves with the same content, for floors of what does not depend on the neighbourhood.

    The picture is cut into upright strips; the even ones, side by side, are the first half, the odd ones the
    second. Narrow strips would share the noise of correlated neighbours, wide ones differ in content.

    Args:
        picture: [H, W, ...]; a rest narrower than two strips at the right is left out, unless there is nothing
            else: then the columns are dealt out one by one.
        strip: width in pixels.
    """
    width = picture.shape[1] // (2 * strip) * 2 * strip
    if width == 0:
        return interleaved_halves(picture, 1)
    first = np.arange(width) // strip % 2 == 0
    return picture[:, :width][:, first], picture[:, :width][:, ~first]


def diagonal_quadrants(
    picture: np.ndarray,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Two halves of unbroken regions, for floors of what does depend on the neighbourhood.

    The first half are the quadrants top-left and bottom-right, the second the other two, so that content that
    changes evenly across the picture does not set the halves apart. A middle row or column of an odd side
    is left out.
    """
    y, x = picture.shape[0] // 2, picture.shape[1] // 2
    top, bottom = slice(None, y), slice(picture.shape[0] - y, None)
    left, right = slice(None, x), slice(picture.shape[1] - x, None)
    return (picture[top, left], picture[bottom, right]), (picture[top, right], picture[bottom, left])
