"""A picture to begin with, made here: an evening with hills, water and a chart, so dark, bright, smooth and rough."""

from __future__ import annotations

import numpy as np

__all__ = ["example_picture"]

HEIGHT, WIDTH = 500, 840
HORIZON = 310
# distance, height and waviness of each ridge, the farthest first
RIDGES = ((0.75, 96.0, 1.0), (0.5, 62.0, 1.7), (0.2, 34.0, 2.9))
PATCHES = 12
TINTS = (
    (0.72, 0.16, 0.16),
    (0.85, 0.60, 0.12),
    (0.20, 0.55, 0.24),
    (0.15, 0.50, 0.60),
    (0.14, 0.22, 0.62),
    (0.55, 0.20, 0.55),
)


def example_picture(channels: int, bits: int) -> np.ndarray:
    """The picture for a model of these channels and bits, uint8 or uint16 [500, 840, C]; always the same.

    Args:
        channels: 1 (grey) or 3 (RGB).
        bits: 8, or up to 16, which its values fill.
    """
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    sky = _sky(np.where(y < HORIZON, y, 2 * HORIZON - y), x)
    colour = _with_ridges(sky, y, x)
    mirrored = _with_ridges(sky, 2 * HORIZON - y, x)
    water = y >= HORIZON
    ripples = 0.06 * np.sin(y * 0.9 + 3 * np.sin(x / 37) + np.sin(x / 11)) * np.sin(x / 53 + y / 7)
    colour[water] = (0.55 * mirrored + ripples[..., None])[water]
    _draw_chart(colour)
    if channels == 1:
        colour = colour @ np.array([[0.299], [0.587], [0.114]])
    values = np.clip(colour, 0.01, 0.99) * ((1 << bits) - 1)
    return np.rint(values).astype(np.uint8 if bits == 8 else np.uint16)


def _sky(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Blue above, orange at the horizon, and a sun with its glow."""
    up = (1 - y / HORIZON)[..., None]
    sky = (1 - up) * np.array([0.93, 0.62, 0.40]) + up * np.array([0.13, 0.24, 0.45])
    distance = np.hypot(x - 0.64 * WIDTH, y - 0.62 * HORIZON)[..., None]
    sun = 1 / (1 + np.exp((distance - 30) / 1.5))
    glow = 0.35 * np.exp(-distance / 120)
    return sky + glow * np.array([1.0, 0.75, 0.45]) + sun * np.array([0.5, 0.5, 0.45])


def _with_ridges(sky: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Hills before the sky, the nearer the darker and the rougher."""
    colour = sky.copy()
    for distance, height, waves in RIDGES:
        line = 0.55 + 0.25 * np.sin(waves * x / 90 + 5 * distance) + 0.12 * np.sin(waves * x / 31 + 1)
        line += (1 - distance) * 0.05 * np.sin(x / 5.3) * np.sin(x / 2.1)
        top = HORIZON - height * line
        cover = np.clip(y - top, 0, 1)[..., None]
        rough = 0.035 * (1 - distance) * np.sin(x * 1.3 + y * 0.7) * np.sin(y * 1.1 - x / 3)
        ridge = distance * np.array([0.62, 0.45, 0.42]) + (1 - distance) * np.array([0.06, 0.10, 0.11])
        colour = (1 - cover) * colour + cover * (ridge + rough[..., None])
    return colour


def _draw_chart(colour: np.ndarray) -> None:
    """Grey patches from black to white and six colours, as on the charts that cameras are tested with."""
    size, gap = 34, 6
    left = 24
    top = HEIGHT - 2 * (size + gap) - 18
    colour[top - gap : top + 2 * (size + gap), left - gap : left + PATCHES * (size + gap)] = 0.05
    for index in range(PATCHES):
        x = left + index * (size + gap)
        colour[top : top + size, x : x + size] = 0.02 + 0.94 * index / (PATCHES - 1)
        tint = np.array(TINTS[index // 2]) * (1.0 if index % 2 == 0 else 0.45)
        colour[top + size + gap : top + 2 * size + gap, x : x + size] = tint
