"""Kernels in Triton, which comes with PyTorch's CUDA builds for Linux; import it where its absence is caught."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

__all__ = ["bias_relu_"]


@triton.jit
def _bias_relu(x_pointer, bias_pointer, count, channels, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = offsets < count
    x = tl.load(x_pointer + offsets, mask=there, other=0.0)
    bias = tl.load(bias_pointer + offsets % channels, mask=there, other=0.0)
    total = x.to(tl.float32) + bias.to(tl.float32)
    # a comparison rather than a maximum, so that what is no number stays so
    result = tl.where(total < 0.0, 0.0, total)
    tl.store(x_pointer + offsets, result.to(x_pointer.dtype.element_ty), mask=there)


def bias_relu_(x: Tensor, bias: Tensor, block: int) -> None:
    """relu(x + bias) in place.

    Args:
        x: [B, C, H, W] in channels-last layout.
        bias: [C].
        block: elements that one program takes, a power of two.
    """
    programs = triton.cdiv(x.numel(), block)
    _bias_relu[(programs,)](x, bias, x.numel(), x.shape[1], BLOCK=block)
