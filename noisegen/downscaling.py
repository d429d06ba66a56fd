"""Making a photograph smaller, which averages away its own noise and the traces of its compression."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["downscale", "downscaled_size"]


def downscaled_size(height: int, width: int, factor: float) -> tuple[int, int]:
    """(height, width) in pixels of what `downscale` returns; a side may be 0."""
    # whole results must not be lost to the rounding of the division
    return int(height / factor + 1e-9), int(width / factor + 1e-9)


def downscale(picture: np.ndarray, factor: float) -> np.ndarray:
    """Averages the values of squares of `factor` x `factor` pixels, those cut by an edge in proportion.

    Means are of the stored values (as they are, not of linear light), rounded to whole levels. What lacks to a
    whole square at the right and lower border is left out.

    Args:
        picture: uint8 or uint16 [H, W, C].
        factor: 1 or more; the result is the picture itself at 1.

    Returns:
        The same type, of the size that `downscaled_size` says, which must not be empty.
    """
    if factor == 1:
        return picture
    height, width = downscaled_size(picture.shape[0], picture.shape[1], factor)
    whole = picture[: round(height * factor), : round(width * factor)]
    smaller = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    return smaller.reshape(height, width, picture.shape[2])
