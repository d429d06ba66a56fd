"""A clean picture made in code, for looking at noise where no photograph is given: tones, colours, edges and lines."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["CHART_SIDE", "rendered_chart"]

CHART_SIDE = 320
# In shares of full scale: skin, foliage, sky, red, green, blue, yellow, magenta, cyan, and dark and light versions.
COLOURS = (
    (0.76, 0.57, 0.48),
    (0.34, 0.42, 0.24),
    (0.40, 0.54, 0.72),
    (0.68, 0.18, 0.20),
    (0.26, 0.55, 0.28),
    (0.18, 0.24, 0.58),
    (0.88, 0.74, 0.18),
    (0.64, 0.30, 0.54),
    (0.20, 0.50, 0.62),
    (0.36, 0.24, 0.18),
)
BACKGROUND = 0.55


def rendered_chart(channels: int = 3, bit_depth: int = 8) -> np.ndarray:
    """A picture of `CHART_SIDE` x `CHART_SIDE` pixels.

    From top to bottom: two smooth ramps from black to white, ten colours, eight greys, and beside each other stripes
    and rings that become finer, and lines on black and on white.

    Args:
        channels: 1 (grey) or 3 (RGB).
        bit_depth: 8 to 16; values lie in 0 .. 2**bit_depth - 1.

    Returns:
        uint8 or uint16 [CHART_SIDE, CHART_SIDE, channels].
    """
    chart = np.full((CHART_SIDE, CHART_SIDE, 3), BACKGROUND)
    ramp = np.linspace(0, 1, CHART_SIDE)[None, :, None]
    chart[:48] = ramp
    chart[48:80] = ramp[:, ::-1] * np.array([1.0, 0.8, 0.6])
    side = CHART_SIDE // len(COLOURS)
    for column, colour in enumerate(COLOURS):
        chart[88:136, column * side : (column + 1) * side] = colour
    for column in range(8):
        chart[144:184, column * 40 : (column + 1) * 40] = (column + 0.5) / 8
    chart[192:] = _details(chart[192:])
    values = np.round(chart * (2**bit_depth - 1))
    if channels == 1:
        values = np.round(values.mean(axis=2, keepdims=True))
    return values.astype(np.uint8 if bit_depth == 8 else np.uint16)


def _details(background: np.ndarray) -> np.ndarray:
    """The lower part, [H, CHART_SIDE, 3], its borders soft as a lens makes them."""
    picture = background.copy()
    height = picture.shape[0]
    # half a period goes from 10 pixels to 1 1/2
    phase = np.cumsum(0.5 / np.linspace(10, 1.5, 100))
    picture[:, :100] = np.where(phase % 1 < 0.5, 0.2, 0.85)[None, :, None]
    y, x = np.mgrid[:height, :height] - height / 2
    rings = 0.5 + 0.4 * np.cos(np.pi * 0.35 * (y**2 + x**2) / height)
    picture[:, 106 : 106 + height] = rings[..., None]
    for top, ground, ink in ((0, 0.06, 0.6), (height // 2, 0.95, 0.4)):
        square = picture[top : top + height // 2, 240:]
        square[...] = ground
        rows, columns = np.mgrid[: square.shape[0], : square.shape[1]]
        square[np.abs(rows - 0.8 * columns) < 0.8] = ink
        square[np.abs(rows - 20 - 0.3 * columns) < 2.5] = ink
    return cv2.GaussianBlur(picture, (0, 0), 0.5)
