"""Layers of wide networks in channels-last layout: convolutions 3x3 by Winograd's algorithm, 2x2 transposed, 1x1."""

from __future__ import annotations

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from noisegen.native import library
from noisegen.native.convolution import POINTS

__all__ = ["PANEL", "Projection", "Upsample2x2", "WinogradConv3x3", "interleave"]

# Output channels that the kernels take side by side, and the multiple that input channels must be.
PANEL = 32
INPUT_MULTIPLE = 16
# F(6x6, 3x3) multiplies less than F(4x4, 3x3), but has 64 weights for 36: up to so many channels it is the faster one.
SIX_UP_TO = 128
# Outputs whose products are made and transformed back at once, and the bytes of patches and products worked on at once:
# both stay in a core's L2 cache, while weights stream by. Wide layers' patches take a share of what the weights take.
GROUP = 64
WORKING_SET, SHARE_OF_WEIGHTS = 1_200_000, 0.25
# Patches are multiplied so many at once; fewer waste a part of the registers.
ROWS = 14
# Pixels that are upsampled at once: each panel of weights is read for all of them.
PIXELS_AT_ONCE = 128
# Kernel transforms G, by the side of the squares of results
_KERNELS = {
    4: POINTS,
    6: torch.tensor(
        [
            [1, 0, 0],
            [-2 / 9, -2 / 9, -2 / 9],
            [-2 / 9, 2 / 9, -2 / 9],
            [1 / 90, 1 / 45, 2 / 45],
            [1 / 90, -1 / 45, 2 / 45],
            [32 / 45, 16 / 45, 8 / 45],
            [32 / 45, -16 / 45, 8 / 45],
            [0, 0, 1],
        ],
        dtype=torch.float64,
    ),
}


class _Convolution(ctypes.Structure):
    """`Convolution` of src/winograd.h."""

    _fields_ = [
        *[
            (name, ctypes.c_int64)
            for name in ("m", "batch", "height", "width", "inputs", "skipped", "outputs", "patches", "group")
        ],
        *[(name, ctypes.c_void_p) for name in ("x", "skip", "weights", "bias", "out", "pooled", "scratch")],
    ]


class _Upsampling(ctypes.Structure):
    """`Upsampling` of src/upsampling.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("batch", "height", "width", "inputs", "outputs", "lines")],
        *[(name, ctypes.c_void_p) for name in ("x", "weights", "bias", "out", "scratch")],
    ]


class _Projection(ctypes.Structure):
    """`Projection` of src/planes.h."""

    _fields_ = [
        *[
            (name, ctypes.c_int64)
            for name in ("batch", "rows", "columns", "inputs", "channels", "height", "width")
        ],
        *[(name, ctypes.c_void_p) for name in ("x", "weights", "bias", "residual", "out", "scratch")],
    ]


class WinogradConv3x3:
    """A 3x3 convolution with one pixel of zero padding, followed by ReLU.

    Args:
        weight: float32 [out, in, 3, 3], out a multiple of 32. Input channels are filled up with zeros to a multiple of
            16 (`inputs`).
        bias: float32 [out].
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.outputs, channels = weight.shape[:2]
        if self.outputs % PANEL:
            raise ValueError(f"output channels must be a multiple of {PANEL}, not {self.outputs}")
        self.inputs = -(-channels // INPUT_MULTIPLE) * INPUT_MULTIPLE
        self.m = 6 if max(self.inputs, self.outputs) <= SIX_UP_TO else 4
        kernel = _KERNELS[self.m]
        places = torch.einsum("ip,ocpq,jq->ijco", kernel, weight.double(), kernel).flatten(0, 1)
        padded = torch.zeros(len(places), self.inputs, self.outputs)
        padded[:, :channels] = places
        self.group = min(self.outputs, GROUP)
        panels = padded.unflatten(2, (-1, self.group // PANEL, PANEL))  # [places, in, groups, panels, 32]
        self.weights = panels.permute(2, 0, 3, 1, 4).contiguous()
        self.bias = bias.float().contiguous()

    def __call__(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """float32 [B, inputs, H, W], channels-last, to [B, out, H, W]; `skip` has the last of the inputs."""
        return self._run(x, skip, None)

    def and_pooled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The result and the largest of each 2 x 2 of its pixels, [B, out, H // 2, W // 2]."""
        pooled = _empty(len(x), self.outputs, x.shape[2] // 2, x.shape[3] // 2)
        return self._run(x, None, pooled), pooled

    def _run(self, x: Tensor, skip: Tensor | None, pooled: Tensor | None) -> Tensor:
        batch, channels, height, width = x.shape
        skipped = 0 if skip is None else skip.shape[1]
        if channels + skipped != self.inputs or channels % INPUT_MULTIPLE:
            raise ValueError(f"the input must have {self.inputs} channels, not {channels} + {skipped}")
        if skip is not None and (len(skip), *skip.shape[2:]) != (batch, height, width):
            raise ValueError(f"pictures of {list(x.shape)} and {list(skip.shape)} do not fit together")
        out = _empty(batch, self.outputs, height, width)
        patches = self._at_once(batch * -(-height // self.m) * -(-width // self.m))
        call = _Convolution(
            *(self.m, batch, height, width, channels, skipped, self.outputs, patches, self.group),
            *(_pointer(x), None if skip is None else _pointer(skip)),
            *(self.weights.data_ptr(), self.bias.data_ptr(), out.data_ptr()),
            None if pooled is None else pooled.data_ptr(),
        )
        kernels = _kernels()
        scratch = torch.empty(kernels.noisegen_winograd_scratch(ctypes.byref(call)))
        call.scratch = scratch.data_ptr()
        kernels.noisegen_winograd(ctypes.byref(call))
        return out

    def _at_once(self, patches: int) -> int:
        """How many of so many patches to work on at once."""
        each = 4 * (self.m + 2) ** 2 * (self.inputs + self.group)
        budget = max(WORKING_SET, int(SHARE_OF_WEIGHTS * 4 * self.weights.numel()))
        return min(patches, max(ROWS, budget // each // ROWS * ROWS))


class Upsample2x2:
    """A transposed 2x2 convolution with stride 2.

    Args:
        weight: float32 [in, out, 2, 2], out a multiple of 32.
        bias: float32 [out].
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.inputs, self.outputs = weight.shape[:2]
        if self.outputs % PANEL:
            raise ValueError(f"output channels must be a multiple of {PANEL}, not {self.outputs}")
        corners = weight.float().permute(2, 3, 0, 1).unflatten(3, (-1, PANEL))
        self.weights = corners.transpose(2, 3).contiguous()
        self.bias = bias.float().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """float32 [B, in, H, W], channels-last, to [B, out, 2 H, 2 W]."""
        batch, channels, height, width = x.shape
        if channels != self.inputs:
            raise ValueError(f"the input must have {self.inputs} channels, not {channels}")
        out = _empty(batch, self.outputs, 2 * height, 2 * width)
        lines = min(height, max(1, PIXELS_AT_ONCE // width))
        scratch = torch.empty(lines, width, channels + 16)
        call = _Upsampling(
            *(batch, height, width, channels, self.outputs, lines),
            *(_pointer(x), self.weights.data_ptr(), self.bias.data_ptr()),
            *(out.data_ptr(), scratch.data_ptr()),
        )
        _kernels().noisegen_upsample(ctypes.byref(call))
        return out


class Projection:
    """A 1x1 convolution to a few planes, which are added to others.

    Args:
        weight: float32 [out, in, 1, 1], out at most 32.
        bias: float32 [out].
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.outputs, self.inputs = weight.shape[:2]
        lacking = PANEL - self.outputs
        self.weights = F.pad(weight[:, :, 0, 0].float().T, (0, lacking)).contiguous()
        self.bias = F.pad(bias.float(), (0, lacking)).contiguous()

    def __call__(self, x: Tensor, residual: Tensor) -> Tensor:
        """float32 [B, in, H + .., W + ..], channels-last, and planes [B, out, H, W] to the latter's shape."""
        batch, channels, height, width = residual.shape
        rows, columns = x.shape[2:]
        if (
            (len(x), x.shape[1], channels) != (batch, self.inputs, self.outputs)
            or rows < height
            or columns < width
        ):
            raise ValueError(f"pictures of {list(x.shape)} and {list(residual.shape)} do not fit together")
        residual = residual.contiguous()
        out, scratch = torch.empty_like(residual), torch.empty(width, PANEL)
        call = _Projection(
            *(batch, rows, columns, self.inputs, channels, height, width),
            *(_pointer(x), self.weights.data_ptr(), self.bias.data_ptr()),
            *(residual.data_ptr(), out.data_ptr(), scratch.data_ptr()),
        )
        _kernels().noisegen_project(ctypes.byref(call))
        return out


def interleave(planes: Tensor, channels: int) -> Tensor:
    """float32 [B, C, H, W] to channels-last [B, channels, H, W]; those beyond C are 0."""
    batch, given, height, width = planes.shape
    planes, out = planes.contiguous(), _empty(batch, channels, height, width)
    sizes = [ctypes.c_int64(size) for size in (batch, given, height * width, channels)]
    pointers = [ctypes.c_void_p(values.data_ptr()) for values in (planes, out)]
    _kernels().noisegen_interleave(*sizes, *pointers)
    return out


def _kernels() -> ctypes.CDLL:
    kernels = library()
    if kernels is None:
        raise RuntimeError("noisegen was installed without its compiled kernels")
    kernels.noisegen_winograd_scratch.restype = ctypes.c_int64
    return kernels


def _empty(batch: int, channels: int, height: int, width: int) -> Tensor:
    return torch.empty(batch, channels, height, width, memory_format=torch.channels_last)


def _pointer(x: Tensor) -> int:
    if x.dtype != torch.float32 or not x.is_contiguous(memory_format=torch.channels_last):
        raise ValueError("pictures must be float32 in channels-last layout")
    return x.data_ptr()
