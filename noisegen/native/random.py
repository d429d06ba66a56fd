"""Philox blocks and Box-Muller pairs in C, see `noisegen.synthesis.randomness`."""

from __future__ import annotations

import ctypes
from ctypes import c_int64, c_uint32

from torch import Tensor

from noisegen.native.arrays import floats

__all__ = ["fill_randomness"]

MASK = 0xFFFFFFFF


def fill_randomness(kernels: ctypes.CDLL, key: int, y: int, x: int, normal: Tensor, uniform: Tensor) -> None:
    """Fills both, float32 [C, H, W] with C of 1 or 3, with the numbers of the rectangle that begins at (y, x)."""
    channels, height, width = normal.shape
    kernels.noisegen_randomness(
        c_uint32(key & MASK),
        c_uint32(key >> 32),
        *map(c_int64, (y, x, height, width, channels)),
        floats(normal, channels, height, width),
        floats(uniform, channels, height, width),
    )
