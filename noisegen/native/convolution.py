"""Weights of convolutions in the order and form in which the C kernels take them, and what runs on them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_float, c_int32, c_int64, c_void_p

import torch
import torch.nn.functional as F
from torch import Tensor

from noisegen.native.arrays import floats

__all__ = ["Convolution", "Network", "filter_squares"]

GROUP = 6  # outputs that are summed at once
REACH = 16  # of half a kernel, at most

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


class LayerStruct(ctypes.Structure):
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


class _Network(ctypes.Structure):
    _fields_ = (
        ("layers", c_int64),
        ("layer", POINTER(LayerStruct)),
        ("outputs", c_int64),
        ("factor", c_void_p),
    )


class Convolution:
    """A convolution and its activation, x where that is positive and slope * x elsewhere.

    Args:
        weight: floating point [out, in, side, side], an odd side of up to 33.
        bias: [out], or None.
        slope: at most 1.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, slope: float = 1.0) -> None:
        self.outputs, self.inputs, self.side, width = weight.shape
        if self.side != width or width % 2 == 0 or width // 2 > REACH:
            raise ValueError(
                f"a kernel must be square with an odd side of up to 33, not {tuple(weight.shape)}"
            )
        lacking = -self.outputs % GROUP
        self.weights = F.pad(_cut(weight.double()), (0, 0, 0, 0, 0, 0, 0, lacking))
        self.weights = self.weights.unflatten(0, (-1, GROUP)).movedim(1, -1).float().contiguous()
        bias = weight.new_zeros(self.outputs) if bias is None else bias
        self.bias = F.pad(bias, (0, lacking)).float().contiguous()
        self.struct = LayerStruct(
            self.inputs,
            self.outputs + lacking,
            self.side,
            slope,
            self.weights.data_ptr(),
            self.bias.data_ptr(),
        )


def _cut(weight: Tensor) -> Tensor:
    """The kernels' rows [out, in, side, side] in threes, transformed, and what remains: [out, sets, in, side]."""
    threes = weight.shape[2] // 3 * 3
    groups = (
        weight[:, :, :threes].unflatten(2, (-1, 3))
        if threes
        else weight.new_zeros(*weight.shape[:2], 0, 3, 1)
    )
    transformed = torch.einsum("pk,oigkx->ogpix", POINTS, groups).flatten(1, 2)
    return (
        torch.cat([transformed, weight[:, :, threes:].transpose(1, 2)], dim=1)
        if threes
        else weight.transpose(1, 2)
    )


class Network:
    """Convolutions over squares of a clean picture's pixels, tanh behind the last one, and a factor.

    Args:
        layers: the first one takes channels * side**2 values, the last one gives some number of channels likewise.
        factor: of the last one's outputs.
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
        self.array = (LayerStruct * len(layers))(*(layer.struct for layer in layers))
        self.struct = _Network(len(layers), self.array, self.outputs, self.factor.data_ptr())

    def add_to(
        self, kernels: ctypes.CDLL, clean: Tensor, uniform: Tensor, log_scale: Tensor, *, first: bool
    ) -> None:
        """Adds the network's output for clean + uniform to `log_scale`, or sets it if it is the first.

        Clean and uniform are float32 [channels, H, W], the output [outputs, H, W]. Squares at the right and at the
        bottom that lack pixels have the last one's value there.
        """
        _, height, width = clean.shape
        shape = self.channels, height, width
        status = kernels.noisegen_network(
            ctypes.byref(self.struct),
            ctypes.byref(_Squares(*shape, self.side)),
            floats(clean, *shape),
            floats(uniform, *shape),
            floats(log_scale, self.outputs, height, width),
            int(not first),
        )
        _check(status)


def filter_squares(kernels: ctypes.CDLL, filter: Convolution, picture: Tensor, side: int) -> Tensor:
    """One convolution over squares of pixels, with the picture's sides joined.

    Args:
        kernels: the library.
        filter: from and to channels * side**2 values.
        picture: float32 [channels, H, W] with sides that are multiples of `side` and hold the filter.
        side: of the squares in pixels.
    """
    channels, height, width = picture.shape
    squares = channels * side**2
    if (filter.inputs, filter.outputs) != (squares, squares) or height % side or width % side:
        raise ValueError(
            f"a picture {tuple(picture.shape)} has no whole squares of {side} pixels for the filter"
        )
    if filter.side // 2 >= min(height, width) // side:
        raise ValueError(f"a filter of side {filter.side} goes around a picture {tuple(picture.shape)}")
    out = torch.empty_like(picture)
    status = kernels.noisegen_filter(
        ctypes.byref(filter.struct),
        ctypes.byref(_Squares(channels, height, width, side)),
        floats(picture, channels, height, width),
        floats(out, channels, height, width),
    )
    _check(status)
    return out


def _check(status: int) -> None:
    if status:
        raise MemoryError("no memory for rows of the picture")
