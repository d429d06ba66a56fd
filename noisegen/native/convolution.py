"""Weights of convolutions in the order and form in which the C kernels take them, and what runs on them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_float, c_int32, c_int64, c_void_p

import torch
import torch.nn.functional as F
from torch import Tensor

from noisegen.native.arrays import check_memory, floats

__all__ = ["LARGEST_KERNEL", "Convolution", "Layer", "Network", "NetworkStruct", "filter_squares"]

# as in src/convolution.h
GROUP = 6  # outputs that are summed at once
LARGEST_KERNEL = 17  # whose half is half a MARGIN

# Winograd's F(4, 3): three taps to what six products need.
POINTS = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)


class Layer(ctypes.Structure):
    _fields_ = (
        ("in_", c_int32),
        ("out", c_int32),
        ("side", c_int32),
        ("slope", c_float),
        ("weights", c_void_p),
        ("bias", c_void_p),
    )


class _Squares(ctypes.Structure):
    _fields_ = (("channels", c_int64), ("height", c_int64), ("width", c_int64), ("side", c_int64))


class NetworkStruct(ctypes.Structure):
    _fields_ = (
        ("side", c_int64),
        ("layers", c_int64),
        ("layer", POINTER(Layer)),
        ("outputs", c_int64),
        ("factor", c_void_p),
    )


class Convolution:
    """A convolution and its activation, x where that is positive and slope * x elsewhere.

    Args:
        weight: floating point [out, in, side, side], an odd side of up to 17.
        bias: [out], or None.
        slope: at most 1.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, slope: float = 1.0) -> None:
        self.outputs, self.inputs, self.side, width = weight.shape
        if self.side != width or width % 2 == 0 or width > LARGEST_KERNEL:
            raise ValueError(
                f"a kernel must be square with an odd side of up to {LARGEST_KERNEL}, not {tuple(weight.shape)}"
            )
        lacking = -self.outputs % GROUP
        sets = _cut(weight.double())
        bias = weight.new_zeros(self.outputs) if bias is None else bias
        if lacking:
            sets, bias = F.pad(sets, (0, 0, 0, 0, 0, 0, 0, lacking)), F.pad(bias, (0, lacking))
        self.weights = sets.unflatten(0, (-1, GROUP)).movedim(1, -1).float().contiguous()
        self.bias = bias.float().contiguous()
        self.struct = Layer(
            self.inputs,
            self.outputs + lacking,
            self.side,
            slope,
            self.weights.data_ptr(),
            self.bias.data_ptr(),
        )

    def fits(self, channels: int, height: int, width: int, side: int) -> bool:
        """Whether such a picture has whole squares, and so many that no two taps fall on the same one."""
        squares = channels * side**2
        return (
            (self.inputs, self.outputs) == (squares, squares)
            and height % side == width % side == 0
            and self.side <= min(height, width) // side
        )


def _cut(weight: Tensor) -> Tensor:
    """The kernels' rows [out, in, side, side] in threes, transformed, and what remains: [out, sets, in, side]."""
    threes = weight.shape[2] // 3 * 3
    ones = weight[:, :, threes:].transpose(1, 2)
    if not threes:
        return ones
    transformed = torch.einsum("pk,oigkx->ogpix", POINTS, weight[:, :, :threes].unflatten(2, (-1, 3)))
    return torch.cat([transformed.flatten(1, 2), ones], dim=1)


class Network:
    """Convolutions over squares of a clean picture's pixels, tanh behind the last one, and a factor.

    Args:
        layers: the first one takes channels * side**2 values, the last one gives outputs * side**2.
        factor: [outputs * side**2].
        side: of the squares in pixels.
    """

    def __init__(self, layers: Sequence[Convolution], factor: Tensor, side: int) -> None:
        sizes = [layers[0].inputs, *(layer.outputs for layer in layers)]
        joined = [layer.inputs for layer in layers] == sizes[:-1] and sizes[-1] == len(factor)
        if not joined or sizes[0] % side**2 or sizes[-1] % side**2:
            raise ValueError(f"layers of {sizes} channels do not fit squares of {side} pixels")
        self.channels, self.outputs, self.side = sizes[0] // side**2, sizes[-1] // side**2, side
        self.layers = tuple(layers)
        self.factor = factor.float().contiguous()
        self.array = (Layer * len(layers))(*(layer.struct for layer in layers))
        self.struct = NetworkStruct(side, len(layers), self.array, self.outputs, self.factor.data_ptr())


def filter_squares(kernels: ctypes.CDLL, filter: Convolution, picture: Tensor, side: int) -> Tensor:
    """One convolution over squares of pixels, with the picture's sides joined.

    Args:
        kernels: the library.
        filter: from and to channels * side**2 values.
        picture: float32 [channels, H, W] that the filter `fits`.
        side: of the squares in pixels.
    """
    channels, height, width = picture.shape
    if not filter.fits(channels, height, width, side):
        raise ValueError(
            f"a filter of side {filter.side} over squares of {side} pixels fits no picture {tuple(picture.shape)}"
        )
    out = torch.empty_like(picture)
    status = kernels.noisegen_filter(
        ctypes.byref(filter.struct),
        ctypes.byref(_Squares(channels, height, width, side)),
        floats(picture, channels, height, width),
        floats(out, channels, height, width),
    )
    check_memory(status)
    return out
