"""What makes a network of 16-bit convolutions fast on CUDA: filled-up channels, and bias and ReLU in one kernel.

cuDNN has convolution, bias and ReLU in one kernel (``torch.cudnn_convolution_relu``), but PyTorch asks it for any
algorithm there, deterministic or not, and lets it read uninitialised memory as the summand that it multiplies by 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["add_bias_relu_", "convolve_relu", "has_fused_relu", "pad_inputs", "pad_outputs"]

# Elements that one program of the kernel takes
BLOCK = 2048


def pad_inputs(layer: nn.Conv2d, multiple: int) -> None:
    """Gives a convolution input channels of weight 0, up to a multiple of so many."""
    more = -layer.in_channels % multiple
    weight = F.pad(layer.weight, (0, 0, 0, 0, 0, more)).contiguous(memory_format=torch.channels_last)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.in_channels += more


def pad_outputs(layer: nn.Conv2d, multiple: int) -> None:
    """Gives a convolution output channels that are 0, up to a multiple of so many."""
    assert layer.bias is not None
    more = -layer.out_channels % multiple
    layer.weight = nn.Parameter(F.pad(layer.weight, (0, 0, 0, 0, 0, 0, 0, more)), requires_grad=False)
    layer.bias = nn.Parameter(F.pad(layer.bias, (0, more)), requires_grad=False)
    layer.out_channels += more


def has_fused_relu(layer: nn.Module, x: Tensor) -> bool:
    """Whether `convolve_relu` is the way to run a convolution of `x` and the ReLU after it."""
    wide = isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)
    return wide and x.device.type == "cuda" and x.dtype in (torch.float16, torch.bfloat16)


def convolve_relu(layer: nn.Module, x: Tensor) -> Tensor:
    """A convolution with padding and stride 1, and ReLU."""
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    return add_bias_relu_(F.conv2d(x, layer.weight, padding=layer.padding), layer.bias)


def add_bias_relu_(x: Tensor, bias: Tensor) -> Tensor:
    """relu(x + bias) in place, in one pass where Triton can be used; the bits are the same either way.

    Args:
        x: [B, C, H, W] on CUDA, of a 16-bit type.
        bias: [C], of the same type.
    """
    kernel = _kernel(x.device.index)
    if kernel is not None and x.is_contiguous(memory_format=torch.channels_last):
        kernel(x, bias)
        return x
    return _in_two_passes(x, bias)


def _in_two_passes(x: Tensor, bias: Tensor) -> Tensor:
    return F.relu_(x.add_(bias.view(1, -1, 1, 1)))


@cache
def _kernel(device: int) -> Callable[[Tensor, Tensor], None] | None:
    """The Triton kernel, tried out; None where it cannot be had (Triton or the C compiler that it needs is missing)."""
    try:
        from noisegen.models.nm_flowgan.triton_kernels import bias_relu_

        bias = torch.linspace(-1, 1, 24, device=f"cuda:{device}")
        picture = torch.linspace(-3, 3, 2 * 24 * 5 * 7, device=bias.device).view(2, 24, 5, 7)
        for dtype in (torch.float16, torch.bfloat16):
            x = picture.to(dtype).contiguous(memory_format=torch.channels_last)
            expected = _in_two_passes(x.clone(), bias.to(dtype))
            bias_relu_(x, bias.to(dtype), BLOCK)
            if not torch.equal(x, expected):
                raise RuntimeError("it gives other values than PyTorch")
    except Exception as error:  # whatever a compiler says, there is another way
        warnings.warn(f"slower without Triton's kernel on cuda:{device}: {error}", stacklevel=2)
        return None
    return lambda x, bias: bias_relu_(x, bias, BLOCK)
