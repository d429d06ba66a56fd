"""The parts of the published flow that the compact model has not: instance norms, and biases."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_float, c_int64, c_void_p
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from noisegen.native.arrays import check_memory, floats
from noisegen.native.convolution import Convolution, Layer, Network

__all__ = ["AffineLayer", "Norm", "Signal", "pixel_noise", "structure"]


class _Signal(ctypes.Structure):
    _fields_ = (
        ("channels", c_int64),
        ("layers", c_int64),
        ("layer", POINTER(Layer)),
        ("gain", POINTER(c_void_p)),
        ("offset", POINTER(c_void_p)),
        ("slope", c_float),
        ("epsilon", c_float),
    )


class _Affine(ctypes.Structure):
    _fields_ = (("planes", c_void_p), ("table", c_void_p))


class _Published(ctypes.Structure):
    _fields_ = (
        *((name, c_int64) for name in ("channels", "pixels", "layers")),
        ("layer", POINTER(_Affine)),
        ("levels", c_float),
        ("unit", c_float),
        *((name, c_void_p) for name in ("clean", "uniform", "normal", "noise", "base")),
    )


@dataclass(frozen=True)
class Norm:
    """Gain and offset [C] of an instance norm."""

    gain: Tensor
    offset: Tensor


class Signal:
    """Pointwise convolutions of a clean picture, some with an instance norm, leaky ReLU between them, tanh at the end.

    Args:
        layers: of side 1 and slope 1.
        norms: of each layer's outputs; None for none, as for the last.
        slope: of the leaky ReLU.
        epsilon: added to the norms' variances.
    """

    def __init__(
        self, layers: Sequence[Convolution], norms: Sequence[Norm | None], *, slope: float, epsilon: float
    ) -> None:
        if any(layer.side != 1 or layer.struct.slope != 1 for layer in layers) or norms[-1] is not None:
            raise ValueError("layers must be pointwise and without activations, the last one without a norm")
        self.layers = tuple(layers)
        self.outputs = layers[-1].outputs
        # Kernels compute a few outputs more than there are; theirs are 0.
        self.tables = [
            [
                F.pad(values.float(), (0, layer.struct.out - layer.outputs)).contiguous()
                for values in (n.gain, n.offset)
            ]
            if n
            else None
            for layer, n in zip(layers, norms, strict=True)
        ]
        gains, offsets = (
            (c_void_p * len(layers))(
                *(None if table is None else table[i].data_ptr() for table in self.tables)
            )
            for i in (0, 1)
        )
        self.arrays = (Layer * len(layers))(*(layer.struct for layer in layers)), gains, offsets
        self.struct = _Signal(layers[0].inputs, len(layers), *self.arrays, slope, epsilon)

    def __call__(self, kernels: ctypes.CDLL, clean: Tensor, uniform: Tensor) -> Tensor:
        """The output [outputs, H, W] for clean + uniform, each float32 [C, H, W]."""
        _, height, width = shape = tuple(clean.shape)
        out = torch.empty(self.outputs, height, width)
        status = kernels.noisegen_signal(
            ctypes.byref(self.struct),
            *map(c_int64, (height, width, self.outputs)),
            floats(clean, *shape),
            floats(uniform, *shape),
            floats(out, *out.shape),
        )
        check_memory(status)
        return out


def structure(kernels: ctypes.CDLL, network: Network, clean: Tensor, uniform: Tensor) -> Tensor:
    """A network's output [outputs, H, W] for clean + uniform, each float32 [C, H, W].

    Squares at the right and at the bottom that lack pixels have the last one's value there.
    """
    _, height, width = clean.shape
    shape = network.channels, height, width
    out = torch.empty(network.outputs, height, width)
    status = kernels.noisegen_structure(
        ctypes.byref(network.struct),
        *map(c_int64, shape),
        *(floats(values, *shape) for values in (clean, uniform)),
        floats(out, *out.shape),
    )
    check_memory(status)
    return out


@dataclass(frozen=True)
class AffineLayer:
    """A layer of the flow, latent = exp(log-scale) * noise + bias.

    Attributes:
        planes: float32 [2C, H, W], log-scales and then biases; or None.
        table: [2C], exp(-log-scale) and bias where all pixels have the same; or None.
    """

    planes: Tensor | None = None
    table: Tensor | None = None


def pixel_noise(
    kernels: ctypes.CDLL,
    layers: Sequence[AffineLayer],
    clean: Tensor,
    uniform: Tensor,
    normal: Tensor,
    *,
    levels: float,
    unit: float,
) -> tuple[Tensor, Tensor]:
    """The published sampler up to the generator.

    Args:
        layers: in the direction noise -> latent.
        clean, uniform, normal: float32 [C, H, W]; clean in pixel values.
        levels: number of grey levels.
        unit: pixel values that make 1 for the generator.

    Returns:
        What the generator gets, and the clean picture in whole levels, [C, H, W].
    """
    shape = tuple(clean.shape)
    noise, base = torch.empty(shape), torch.empty(shape)
    structs = (_Affine * len(layers))()
    for struct, layer in zip(structs, layers, strict=True):
        if layer.planes is not None:
            struct.planes = floats(layer.planes, 2 * shape[0], *shape[1:])
        else:
            assert layer.table is not None
            struct.table = floats(layer.table, 2 * shape[0])
    call = _Published(
        *(shape[0], shape[1] * shape[2], len(layers), structs, levels, unit),
        *(floats(values, *shape) for values in (clean, uniform, normal, noise, base)),
    )
    kernels.noisegen_published(ctypes.byref(call))
    return noise, base
