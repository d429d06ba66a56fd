"""Which parts of a photograph to look at closely: a flat one, a detailed one and a dark one."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from noisegen.errors import UsageError

__all__ = ["Place", "asked_place", "choose_places", "crop_size"]

CELL = 16  # side of the squares, in pixels, whose means decide
SHEET_WIDTH = 1280
NARROWEST, WIDEST = 192, 320
SHARE = 0.5  # of a side: in a small photograph a larger crop would be flat, detailed and dark at once
SMALLEST = 128  # width of a crop
BLACK = 0.02  # of the shown range: where most is darker, half of the noise is cut off
LEAST = 0.01  # of the shown range: what differs less is the same everywhere
MIDDLE = (0.2, 0.85)  # of the shown range: a flat place shows most where nothing is cut off

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """A rectangle of a photograph.

    Attributes:
        y, x, height, width: in pixels.
        what: why it is shown, for example ``"darkest"``; empty for one that was asked for.
    """

    y: int
    x: int
    height: int
    width: int
    what: str = ""

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


def crop_size(columns: int) -> tuple[int, int]:
    """Height and width of crops, in pixels, with which a sheet of so many columns is about as wide as a screen."""
    width = min(max(SHEET_WIDTH // columns // CELL * CELL, NARROWEST), WIDEST)
    return width * 3 // 4, width


def asked_place(picture: np.ndarray, x: int, y: int, height: int, width: int) -> Place:
    """The place whose upper left corner is asked for, cut off at the photograph's border.

    Raises:
        UsageError: the corner is outside of the photograph.
    """
    rows, columns = picture.shape[:2]
    if x >= columns or y >= rows:
        raise UsageError(
            f"--crop {x},{y} begins outside of the photograph of {columns} x {rows} pixels; "
            f"give x up to {columns - 1} and y up to {rows - 1}"
        )
    return Place(y, x, min(height, rows - y), min(width, columns - x))


def choose_places(picture: np.ndarray, height: int, width: int, shown: tuple[int, int]) -> tuple[Place, ...]:
    """The flattest, the most detailed and the darkest place, which do not overlap.

    Args:
        picture: uint8 or uint16 [H, W, C].
        height, width: of a place, in pixels; less in a small photograph.
        shown: the levels between black and white, see `noisegen.preview.columns.Preview`.

    Returns:
        Three places, fewer where there is no room, and the whole picture alone where it is no larger than one.
    """
    rows, columns = picture.shape[:2]
    if height >= rows and width >= columns:
        return (Place(0, 0, rows, columns, "whole picture"),)
    room = max(min(int(SHARE * columns), int(SHARE * rows) * 4 // 3) // CELL * CELL, SMALLEST)
    width, height = min(width, room, columns), min(height, room * 3 // 4, rows)
    cell = min(CELL, rows, columns)
    low, high = shown
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if picture.shape[2] == 3 else picture[..., 0]
    levels = (_cell_means(grey, cell) - low) / np.float32(high - low)
    edges = _cell_means(_gradient(grey), cell) / np.float32(high - low)
    size, reach = (height // cell, width // cell), (-(-height // cell), -(-width // cell))
    level, detail = _window_means(levels, size), _window_means(edges, size)
    unevenness = np.sqrt(np.maximum(_window_means(levels**2, size) - level**2, 0)) + detail
    black = _window_means((levels < BLACK).astype(np.float32), size)
    extreme = (level < MIDDLE[0]) | (level > MIDDLE[1])

    free = np.ones(level.shape, bool)
    found = []
    for what, badness, differs in (
        ("flattest", unevenness + 2 * extreme, True),
        ("most detailed", -detail, detail.max() > LEAST),
        ("darkest", level + 2 * (black > 0.5), np.ptp(level) > LEAST),
    ):
        if not differs or not free.any():
            continue
        row, column = (
            int(i) for i in np.unravel_index(np.where(free, badness, np.inf).argmin(), level.shape)
        )
        found.append(Place(row * cell, column * cell, height, width, what))
        free[
            max(row - reach[0] + 1, 0) : row + reach[0], max(column - reach[1] + 1, 0) : column + reach[1]
        ] = 0
    return tuple(found)


def _gradient(grey: np.ndarray) -> np.ndarray:
    """Differences to the neighbours below and to the right, added; the type of the picture."""
    right = np.concatenate([grey[:, 1:], grey[:, -1:]], axis=1)
    below = np.concatenate([grey[1:], grey[-1:]])
    return cv2.add(cv2.absdiff(grey, right), cv2.absdiff(grey, below)).reshape(grey.shape)


def _cell_means(values: np.ndarray, cell: int) -> Floats:
    """[H, W] -> means of squares; what is left over at the right and the bottom is not used."""
    rows, columns = (side // cell for side in values.shape)
    used = values[: rows * cell, : columns * cell]
    return used.reshape(rows, cell, columns, cell).mean(axis=(1, 3), dtype=np.float32)


def _window_means(values: Floats, size: tuple[int, int]) -> Floats:
    """Means over all windows of a size in cells, by the window's first row and column."""
    sums = cv2.integral(values, sdepth=cv2.CV_64F)
    (rows, columns) = size
    total = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    return (total / (rows * columns)).astype(np.float32)
