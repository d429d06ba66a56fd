"""The picture data of PNG files, at the speed of a few instructions a byte."""

from __future__ import annotations

import ctypes

import numpy as np

from noisegen.native import library

__all__ = ["png_data"]


def png_data(rows: np.ndarray, step: int) -> np.ndarray:
    """Filters the rows of a picture (average of left and above) and codes them: the content of an IDAT chunk.

    Where `noisegen.native.library` is there, its bytes are the same on every kind of processor.

    Args:
        rows: uint8 [H, N], contiguous: the samples' bytes as PNG has them.
        step: bytes of a pixel.

    Returns:
        uint8 [n], a zlib stream.
    """
    kernels = library()
    assert kernels is not None and rows.flags.c_contiguous and rows.dtype == np.uint8
    height, length = rows.shape
    filtered = np.empty(height * (length + 1), np.uint8)
    coded = np.empty(2 * filtered.size + 1024, np.uint8)
    write = kernels.noisegen_png_data
    write.restype = ctypes.c_size_t
    size = write(
        ctypes.c_void_p(rows.ctypes.data),
        ctypes.c_size_t(height),
        ctypes.c_size_t(length),
        ctypes.c_size_t(step),
        ctypes.c_void_p(filtered.ctypes.data),
        ctypes.c_void_p(coded.ctypes.data),
    )
    return coded[:size]
