"""Sub-pixel shift between a noisy picture and a clean one of the same scene."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Shift", "measure_shift"]

Floats = NDArray[np.float32]

LARGEST_SIDE = 2048
SMALLEST_SIDE = 32
SMOOTHING, BACKGROUND = 1.5, 6.0  # Gaussian deviations of the band that is compared, in pixels of the scale
SCALES = (4, 2, 1)
STEPS = 4
BLOCKS = 8
WARP_GRID = 32  # cv2.warpAffine places pixels on 1/32 of a pixel
UNKNOWN = float("nan")
CERTAINTY = 3.0
LARGEST_ERROR = 0.5  # pixels; beyond it the least squares have nothing to hold on to


@dataclass(frozen=True)
class Shift:
    """Where the noisy picture's content lies relative to the clean one's, in pixels; nan: not measurable.

    Attributes:
        y, x: noisy(row, column) shows what clean(row - y, column - x) shows.
        error: standard error, the larger of the two directions'.
        agreement: how much of the difference that such a move makes along the edges is there: 1 for a true
            shift. Far less where edges differ in another way, by a tone curve for one, and all point one way.
    """

    y: float
    x: float
    error: float
    agreement: float

    @property
    def length(self) -> float:
        """Of the shift, in pixels."""
        return float(np.hypot(self.y, self.x))


def measure_shift(noisy: np.ndarray, clean: np.ndarray) -> Shift:
    """Measures one shift for the whole picture by least squares on gradients, from coarse to fine.

    The difference of the two, in a band of about 4 to 20 pixels, is explained by the gradients of the clean
    picture (Lucas and Kanade 1981) and by a gain, which takes up tone curves and clipping. Gradients come
    from the clean side alone, so noise adds an error but no bias. The standard error comes from the scatter
    of the normal equations over 8x8 blocks, so it holds for correlated noise and for texture in one corner.
    It is found within about 8 pixels; of sides above 2048 the central 2048 are used.

    Args:
        noisy, clean: real-valued or integer [H, W, C].

    Returns:
        The shift; all nan where it cannot be told to half a pixel (a flat picture, or noise far above its
        texture) or a side is below 32 pixels.
    """
    grey_noisy, grey_clean = (_grey(image) for image in (noisy, clean))
    if min(grey_clean.shape) < SMALLEST_SIDE:
        return Shift(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    start, shift, error = np.zeros(2), np.zeros(2), UNKNOWN
    for scale in SCALES:
        if min(grey_clean.shape) // scale < SMALLEST_SIDE:
            continue
        small_noisy, small_clean = (_reduced(image, scale) for image in (grey_noisy, grey_clean))
        shift, error = _refined(small_noisy, small_clean, start / scale)
        shift, error = shift * scale, error * scale
        # a coarse scale may have lost the texture: it moves the start only where it is sure
        if np.hypot(*(shift - start)) > CERTAINTY * error:
            start = shift
    if not error < LARGEST_ERROR:
        return Shift(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    return Shift(float(shift[0]), float(shift[1]), error, _agreement(grey_noisy, grey_clean, shift))


def _grey(image: np.ndarray) -> Floats:
    top, left = (max(side - LARGEST_SIDE, 0) // 2 for side in image.shape[:2])
    return image[top : top + LARGEST_SIDE, left : left + LARGEST_SIDE].mean(axis=2, dtype=np.float32)


def _reduced(image: Floats, scale: int) -> Floats:
    size = (image.shape[1] // scale, image.shape[0] // scale)
    cropped = image[: size[1] * scale, : size[0] * scale]
    return np.asarray(cv2.resize(cropped, size, interpolation=cv2.INTER_AREA), np.float32)


def _band(image: Floats) -> Floats:
    near, far = (cv2.GaussianBlur(image, (0, 0), deviation) for deviation in (SMOOTHING, BACKGROUND))
    return np.asarray(near - far, np.float32)


def _refined(noisy: Floats, clean: Floats, shift: np.ndarray) -> tuple[np.ndarray, float]:
    """The shift (y, x) near the one given, and its standard error, nan where there is none."""
    error = UNKNOWN
    for _ in range(STEPS):
        step, error = _step(noisy, clean, shift)
        shift = shift + step
        if np.abs(step).max() < 0.5 / WARP_GRID:
            break
    return shift, error


def _step(noisy: Floats, clean: Floats, shift: np.ndarray) -> tuple[np.ndarray, float]:
    """What is still missing in `shift` (y, x), and its standard error; nan where nothing can be compared."""
    on_grid = np.round(shift * WARP_GRID) / WARP_GRID
    model = _band(_moved(clean, on_grid))
    columns = (-_slope(model, axis=0), -_slope(model, axis=1), model)
    margin = int(np.ceil(np.abs(on_grid).max())) + 4
    margin = min(margin, min(clean.shape) // 4)
    inside = [image[margin:-margin, margin:-margin] for image in (*columns, _band(noisy) - model)]
    products = np.array(
        [[[np.vdot(a, b) for b in block] for a in block[:3]] for block in _blocks(inside)], np.float64
    )  # [blocks, 3, 4]
    normal, right = products[:, :, :3].sum(axis=0), products[:, :, 3].sum(axis=0)
    if np.linalg.matrix_rank(normal) < 3:
        return np.zeros(2), UNKNOWN
    inverse = np.linalg.inv(normal)
    solution = inverse @ right
    scatter = products[:, :, 3] - products[:, :, :3] @ solution
    covariance = inverse @ (scatter.T @ scatter) @ inverse
    error = float(np.sqrt(covariance.diagonal()[:2].max()))
    # the equations are linear only within about the smoothing's width
    return np.clip(solution[:2], -2, 2) + on_grid - shift, error


def _agreement(noisy: Floats, clean: Floats, shift: np.ndarray) -> float:
    """See `Shift.agreement`; edges weigh by their squared gradient, before and after the move."""
    moved = _moved(clean, shift)
    margin = min(int(np.ceil(np.abs(shift).max())) + 4, min(clean.shape) // 4)
    inside = slice(margin, -margin), slice(margin, -margin)
    weight = np.zeros_like(clean)
    for image in (clean, moved):
        smooth = np.asarray(cv2.GaussianBlur(image, (0, 0), SMOOTHING), np.float32)
        weight += _slope(smooth, 0) ** 2 + _slope(smooth, 1) ** 2
    found, expected = (
        (image - cv2.GaussianBlur(image, (0, 0), BACKGROUND))[inside]
        for image in (noisy - clean, moved - clean)
    )
    weighted = expected * weight[inside]
    power = float(np.vdot(weighted, expected))
    return float(np.vdot(weighted, found)) / power if power > 0 else 0.0


def _moved(image: Floats, shift: np.ndarray) -> Floats:
    matrix = np.array([[1, 0, shift[1]], [0, 1, shift[0]]])
    size = image.shape[::-1]
    moved = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.float32)


def _slope(image: Floats, axis: int) -> Floats:
    return np.asarray(np.gradient(image, axis=axis), np.float32)


def _blocks(images: list[Floats]) -> list[list[Floats]]:
    height, width = images[0].shape
    rows = np.linspace(0, height, BLOCKS + 1).astype(int)
    columns = np.linspace(0, width, BLOCKS + 1).astype(int)
    return [
        [image[rows[i] : rows[i + 1], columns[j] : columns[j + 1]] for image in images]
        for i in range(BLOCKS)
        for j in range(BLOCKS)
    ]
