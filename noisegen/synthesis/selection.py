"""Which tiles are worth keeping, judged by their clean pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from noisegen.tiles import Tile

__all__ = ["TileSelection", "flat_share", "saturated_share", "sharpness"]

FLAT_BLOCK = 8
FLAT_STD = 1.0


@dataclass(frozen=True)
class TileSelection:
    """Limits that a clean tile has to keep; None for no limit.

    Attributes:
        min_sharpness: of `sharpness`; else the tile is "blurred".
        max_flat: of `flat_share`; else it is "flat".
        max_saturated: of `saturated_share`; else it is "saturated".
    """

    min_sharpness: float | None = None
    max_flat: float | None = None
    max_saturated: float | None = None

    def choose(
        self, picture: np.ndarray, tiles: Sequence[Tile], bit_depth: int
    ) -> tuple[list[Tile], dict[str, int]]:
        """The tiles of a photograph [H, W, C] that are kept, and how many are left out by the limit they break.

        A tile that breaks several counts for the first of them, in the order of the attributes.
        """
        kept: list[Tile] = []
        left_out: Counter[str] = Counter()
        for tile in tiles:
            clean = picture[tile.y : tile.y + tile.size, tile.x : tile.x + tile.size]
            if broken := self._broken(clean, bit_depth):
                left_out[broken] += 1
            else:
                kept.append(tile)
        return kept, dict(left_out)

    def _broken(self, clean: np.ndarray, bit_depth: int) -> str:
        if self.min_sharpness is not None and sharpness(clean, bit_depth) < self.min_sharpness:
            return "blurred"
        if self.max_flat is not None and flat_share(clean, bit_depth) > self.max_flat:
            return "flat"
        if self.max_saturated is not None and saturated_share(clean, bit_depth) > self.max_saturated:
            return "saturated"
        return ""


def sharpness(clean: np.ndarray, bit_depth: int) -> float:
    """Standard deviation of the Laplacian of luma, in 8-bit grey levels whatever the depth.

    The Laplacian is four neighbours minus four times the pixel, at the tile's inner pixels; 0 for a tile without any.
    """
    luma = _luma(clean, bit_depth)
    inner = luma[1:-1, 1:-1]
    if inner.size == 0:
        return 0.0
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float(np.std(around - 4 * inner, dtype=np.float64))


def flat_share(clean: np.ndarray, bit_depth: int) -> float:
    """Share of the tile's 8 x 8 blocks in which luma has a standard deviation below 1 (in 8-bit grey levels).

    Blocks start at the tile's upper left; what lacks to whole blocks is not looked at. A tile smaller than a block
    is one block.
    """
    luma = _luma(clean, bit_depth)
    rows, columns = (min(FLAT_BLOCK, side) for side in luma.shape)
    down, across = luma.shape[0] // rows, luma.shape[1] // columns
    blocks = luma[: down * rows, : across * columns].reshape(down, rows, across, columns)
    return float(np.mean(blocks.std(axis=(1, 3)) < FLAT_STD))


def saturated_share(clean: np.ndarray, bit_depth: int) -> float:
    """Share of the pixels with a channel at the highest value, ``2**bit_depth - 1``."""
    full = clean == (1 << bit_depth) - 1
    # faster than any() along so short an axis
    return float(np.mean(np.logical_or.reduce([full[..., c] for c in range(full.shape[2])])))


def _luma(clean: np.ndarray, bit_depth: int) -> np.ndarray:
    """Luma [H, W] by BT.601, or the grey values, float32 in 8-bit grey levels."""
    weights = (1.0,) if clean.shape[2] == 1 else (0.299, 0.587, 0.114)
    luma = np.zeros(clean.shape[:2], np.float32)
    for channel, weight in enumerate(weights):
        luma += clean[..., channel] * np.float32(weight / 2.0 ** (bit_depth - 8))
    return luma
