"""How a photograph is cut: tiles that cover it, and what a noise model is given around a tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisegen.errors import InputError

__all__ = ["Region", "Tile", "cut_region", "tile_grid"]


@dataclass(frozen=True, order=True)
class Tile:
    """A square of `size` pixels whose upper left corner is at (y, x)."""

    y: int
    x: int
    size: int


def tile_grid(height: int, width: int, size: int, overlap: int = 0) -> list[Tile]:
    """Cuts a photograph into tiles that together cover every pixel.

    Along each side tiles start at 0, step, 2 * step, ... with ``step = size - overlap``; where the last of them
    does not end at the border, one more is put at ``side - size``, so that it does. Each pixel so lies in at
    least one tile, and none is padded or rescaled.

    Args:
        height, width: of the photograph, in pixels.
        size: side of a tile, in pixels.
        overlap: pixels that neighbouring tiles share, 0 to ``size - 1``.

    Returns:
        ceil((height - overlap) / step) * ceil((width - overlap) / step) tiles, row by row.

    Raises:
        InputError: ``smaller_than_tile``, when a side is shorter than `size`.
        ValueError: `size` is not positive, or `overlap` is not smaller.
    """
    if size < 1:
        raise ValueError(f"the tile size must be positive, not {size}")
    if not 0 <= overlap < size:
        raise ValueError(f"the overlap must lie between 0 and {size - 1}, not {overlap}")
    if min(height, width) < size:
        raise InputError(
            "smaller_than_tile",
            f"{width}x{height} pixels do not hold one tile of {size}x{size}; "
            f"use --tile-size {max(1, min(height, width))} or less, or leave this photograph out",
        )
    columns = _starts(width, size, size - overlap)
    return [Tile(y, x, size) for y in _starts(height, size, size - overlap) for x in columns]


def _starts(side: int, size: int, step: int) -> list[int]:
    starts = list(range(0, side - size + 1, step))
    if starts[-1] + size < side:
        starts.append(side - size)
    return starts


@dataclass(frozen=True)
class Region:
    """A rectangle of a photograph with a halo of its neighbours.

    Attributes:
        clean: [h, w, C], the photograph's pixels, mirrored beyond its border.
        y, x: the first row and column in the photograph; negative beyond its border.
        inner: where the rectangle lies in `clean`.
    """

    clean: np.ndarray
    y: int
    x: int
    inner: tuple[slice, slice]


def cut_region(
    picture: np.ndarray, y: int, x: int, height: int, width: int, *, halo: int = 0, alignment: int = 1
) -> Region:
    """Cuts a rectangle out of a photograph [H, W, C], with at least `halo` pixels around it.

    Without a halo it is the rectangle itself, wherever it starts. With one, it starts at a multiple of
    `alignment`, and its size depends on that of the rectangle alone. At the photograph's border the halo is the
    photograph mirrored there, without its last row or column, so that even rows stay even.
    """
    top, rows = _span(y, height, halo, alignment)
    left, columns = _span(x, width, halo, alignment)
    inner = slice(y - top, y - top + height), slice(x - left, x - left + width)
    if min(top, left) >= 0 and top + rows <= picture.shape[0] and left + columns <= picture.shape[1]:
        return Region(picture[top : top + rows, left : left + columns], top, left, inner)
    lines = _mirrored(top, rows, picture.shape[0])
    return Region(picture[lines[:, None], _mirrored(left, columns, picture.shape[1])], top, left, inner)


def _span(start: int, length: int, halo: int, alignment: int) -> tuple[int, int]:
    if halo == 0:
        return start, length
    first = (start - halo) // alignment * alignment
    return first, -(-(length + 2 * halo + alignment - 1) // alignment) * alignment


def _mirrored(first: int, length: int, side: int) -> np.ndarray:
    period = max(1, 2 * (side - 1))
    places = np.abs(np.arange(first, first + length)) % period
    return np.minimum(places, period - places)
