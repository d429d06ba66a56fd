"""From latents to noisy values in C: what the compact flow does with a picture, in one call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_float, c_int64, c_void_p

import torch
import torch.nn.functional as F
from torch import Tensor

from noisegen.native.arrays import check_memory, floats
from noisegen.native.convolution import Convolution, Layer, Network, NetworkStruct

__all__ = ["Flow", "Rendering"]

FEW = 32  # values of a curve's table, at least, of which only the first may be meant; as in src/vector.h


class _Rendering(ctypes.Structure):
    _fields_ = (
        ("common", c_void_p),
        ("knots", c_int64),
        ("knots_per_value", c_float),
        ("start", c_void_p),
        ("slope", c_void_p),
        ("tail_inverse", c_void_p),
        ("gamma_inverse", c_float),
        ("toe", c_float),
    )


class _Flow(ctypes.Structure):
    _fields_ = (
        ("rendering", _Rendering),
        ("filter", POINTER(Layer)),
        ("period", c_int64),
        ("networks", c_int64),
        ("network", POINTER(NetworkStruct)),
    )


class Rendering:
    """What happens at each pixel alone.

    Args:
        common: floating point [channels, period, period], period 1 or 2: the log-scale of each pixel's noise.
        curve: None, or starts and slopes [knots] of lines that are added to it at value * `knots_per_value`.
        knots_per_value: of the curve.
        tail_inverse: [channels], or None without tails.
        tone: the inverse of gamma, and the toe in pixel values; None without a tone curve.
    """

    def __init__(
        self,
        common: Tensor,
        curve: tuple[Tensor, Tensor] | None,
        knots_per_value: float,
        tail_inverse: Tensor | None,
        tone: tuple[float, float] | None,
    ) -> None:
        self.channels = len(common)
        period = common.shape[-1]
        if period not in (1, 2):
            raise ValueError(f"the period must be 1 or 2 pixels, not {period}")
        self.common = common.float().repeat(1, 2 // period, 2 // period).contiguous()
        knots = 0 if curve is None else len(curve[0])
        self.lines = None
        if curve is not None:
            self.lines = F.pad(torch.stack(curve), (0, max(0, FEW - knots))).float().contiguous()
        self.tail_inverse = None if tail_inverse is None else tail_inverse.float().contiguous()
        self.struct = _Rendering(
            floats(self.common, self.channels, 2, 2),
            knots,
            knots_per_value,
            *((None, None) if self.lines is None else (floats(line, len(line)) for line in self.lines)),
            None if self.tail_inverse is None else floats(self.tail_inverse, self.channels),
            *((0.0, 0.0) if tone is None else tone),
        )


class Flow:
    """Filter, networks and what happens at each pixel alone, for one condition.

    Args:
        networks: whose outputs are added to the log-scale of the noise.
        rendering: the rest.
        filter: of the latents over squares of `period` pixels, or None.
        period: side of its squares.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        rendering: Rendering,
        filter: Convolution | None = None,
        period: int = 1,
    ) -> None:
        if any({network.channels, network.outputs} != {rendering.channels} for network in networks):
            raise ValueError("networks and rendering are of different numbers of channels")
        # ctypes keeps no objects alive to which a structure holds addresses
        self.parts = tuple(networks), rendering, filter
        self.channels, self.filter, self.period = rendering.channels, filter, period
        self.struct = _Flow(
            rendering.struct,
            None if filter is None else ctypes.pointer(filter.struct),
            period,
            len(networks),
            (NetworkStruct * len(networks))(*(network.struct for network in networks)),
        )

    def __call__(self, kernels: ctypes.CDLL, latent: Tensor, clean: Tensor, uniform: Tensor) -> Tensor:
        """Noisy values, neither rounded nor clipped; all are float32 [channels, H, W]."""
        _, height, width = clean.shape
        shape = self.channels, height, width
        if self.filter is not None and not self.filter.fits(*shape, self.period):
            raise ValueError(f"a filter of side {self.filter.side} does not fit pictures {shape}")
        noisy = torch.empty(shape)
        status = kernels.noisegen_flow(
            ctypes.byref(self.struct),
            *map(c_int64, shape),
            *(floats(values, *shape) for values in (latent, clean, uniform, noisy)),
        )
        check_memory(status)
        return noisy
