"""How a photograph is cut into tiles."""

from __future__ import annotations

from dataclasses import dataclass

from noisegen.errors import InputError

__all__ = ["Tile", "tile_grid"]


@dataclass(frozen=True, order=True)
class Tile:
    """A square of `size` pixels whose upper left corner is at (y, x)."""

    y: int
    x: int
    size: int


def tile_grid(height: int, width: int, size: int) -> list[Tile]:
    """Cuts a photograph into tiles that together cover every pixel.

    Along each side tiles start at 0, size, 2 * size, ...; where the side is not a multiple of `size`, a last
    tile is shifted back to ``side - size``, so that it ends at the border. Each pixel so lies in at least one
    tile, none is padded or rescaled, and the overlap of the last two tiles shows the same pixels twice.

    Args:
        height, width: of the photograph, in pixels.
        size: side of a tile, in pixels.

    Returns:
        ceil(height / size) * ceil(width / size) tiles, row by row.

    Raises:
        InputError: ``smaller_than_tile``, when a side is shorter than `size`.
        ValueError: `size` is not positive.
    """
    if size < 1:
        raise ValueError(f"the tile size must be positive, not {size}")
    if min(height, width) < size:
        raise InputError(
            "smaller_than_tile",
            f"{width}x{height} pixels do not hold one tile of {size}x{size}; "
            f"use --tile-size {max(1, min(height, width))} or less, or leave this photograph out",
        )
    return [Tile(y, x, size) for y in _starts(height, size) for x in _starts(width, size)]


def _starts(side: int, size: int) -> list[int]:
    starts = list(range(0, side - size + 1, size))
    if side % size:
        starts.append(side - size)
    return starts
