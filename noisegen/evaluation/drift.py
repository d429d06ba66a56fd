"""Separates slow drift in brightness between the two shots of a pair from noise.

The sun moves, lamps flicker and exposure wanders while hundreds of shots are averaged into a clean picture. The
difference noisy - clean then holds a part that changes over hundreds of pixels. It is no noise of the sensor, and
a noise model that knows only the clean picture cannot, and should not, reproduce it. It is told from noise by its
scale: noise is correlated over a few pixels, drift over many tens.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["DRIFT_SIGMA", "drift_std", "slow_part"]

DRIFT_SIGMA = 32.0
# The blur is taken of means over squares of this side: the same result to a hundredth at a thirtieth of the time.
REDUCTION = 8


def slow_part(noise: np.ndarray, sigma: float = DRIFT_SIGMA) -> NDArray[np.float64]:
    """The noise under a wide Gaussian window: drift, the mean, and what little of the noise is as slow.

    Beyond its border the region counts as unknown: the window is cut off there and what is left of it weighs in full
    (normalised convolution), so that a constant stays that constant everywhere.

    Args:
        noise: [H, W, C].
        sigma: of the window, in pixels.

    Returns:
        float64 [H, W, C]. White noise of std s leaves s / (2 sqrt(pi) sigma), under a hundredth of it at the
        default sigma.
    """
    height, width, channels = noise.shape
    rows, columns = (-(-side // REDUCTION) for side in (height, width))
    padded = np.zeros((rows * REDUCTION, columns * REDUCTION, channels + 1))
    padded[:height, :width, :channels] = noise
    padded[:height, :width, channels] = 1.0
    sums = padded.reshape(rows, REDUCTION, columns, REDUCTION, channels + 1).sum(axis=(1, 3))
    # the window itself reaches 4 sigma; the rest of it is 6e-5
    reach = int(np.ceil(4 * sigma / REDUCTION))
    kernel = (2 * reach + 1, 2 * reach + 1)
    blurred = cv2.GaussianBlur(sums, kernel, sigma / REDUCTION, borderType=cv2.BORDER_CONSTANT)
    coarse = blurred[..., :channels] / blurred[..., channels:]
    large = cv2.resize(coarse, (columns * REDUCTION, rows * REDUCTION), interpolation=cv2.INTER_LINEAR)
    return large.reshape(rows * REDUCTION, columns * REDUCTION, channels)[:height, :width]


def drift_std(slow: np.ndarray) -> float:
    """How strong a `slow_part` is: its standard deviation over the region, root mean square over channels.

    A difference in brightness that is the same everywhere is no part of it; `noise_bias` tells that.
    """
    return float(np.sqrt(np.mean(np.var(slow, axis=(0, 1)))))
