"""A tile to be made noisy, as the engines take it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisegen.conditions import Condition
from noisegen.errors import NoisegenError

__all__ = ["TileJob", "no_numbers"]


@dataclass(frozen=True)
class TileJob:
    """A clean tile and all that its noise is a function of.

    Attributes:
        clean: uint8 or uint16 [h, w, C], what the model sees: the tile, maybe with a halo.
        condition: camera and ISO.
        key: see `noisegen.synthesis.randomness.tile_key`.
        y, x: first row and column of ``clean`` in the photograph.
        inner: where the tile lies in ``clean``.
    """

    clean: np.ndarray
    condition: Condition
    key: int
    y: int
    x: int
    inner: tuple[slice, slice] = (slice(None), slice(None))

    @property
    def tile(self) -> np.ndarray:
        """The clean tile itself."""
        return self.clean[self.inner]


def no_numbers() -> NoisegenError:
    """The error of a tile in which some value is no number."""
    return NoisegenError(
        "the noise model gave values that are no numbers; where float16 is too small for it use --precision bfloat16 "
        "or float32, else train it anew"
    )
