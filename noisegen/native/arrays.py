"""Tensors as the pointers that C functions take."""

from __future__ import annotations

from ctypes import c_void_p

import torch
from torch import Tensor

__all__ = ["check_memory", "floats"]


def floats(values: Tensor, *shape: int) -> c_void_p:
    """A pointer to contiguous float32 values of this shape in the CPU's memory; the tensor must outlive its use.

    Raises:
        ValueError: they are something else.
    """
    kind = values.dtype, values.device.type, tuple(values.shape), values.is_contiguous()
    if kind != (torch.float32, "cpu", shape, True):
        raise ValueError(f"a kernel needs contiguous float32 {shape} on the CPU, not {kind}")
    return c_void_p(values.data_ptr())


def check_memory(status: int) -> None:
    """Looks at what a kernel returned that takes memory of its own.

    Raises:
        MemoryError: there was none.
    """
    if status:
        raise MemoryError("no memory for rows of the picture")
