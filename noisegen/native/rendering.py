"""From latents to noisy values in C: what the compact flow does at each pixel alone."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int64, c_void_p

import torch
from torch import Tensor

from noisegen.native.arrays import floats

__all__ = ["Rendering"]


class _Rendering(ctypes.Structure):
    _fields_ = (
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("common", c_void_p),
        ("knots", c_int64),
        ("knots_per_value", c_float),
        ("start", c_void_p),
        ("slope", c_void_p),
        ("tail_inverse", c_void_p),
        ("gamma_inverse", c_float),
        ("toe", c_float),
    )


class Rendering:
    """The constants of one condition.

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
        self.lines = None if curve is None else torch.stack(curve).float().contiguous()
        self.tail_inverse = None if tail_inverse is None else tail_inverse.float().contiguous()
        knots = 0 if self.lines is None else self.lines.shape[1]
        self.constants = (
            floats(self.common, self.channels, 2, 2),
            knots,
            knots_per_value,
            None if self.lines is None else floats(self.lines[0], knots),
            None if self.lines is None else floats(self.lines[1], knots),
            None if self.tail_inverse is None else floats(self.tail_inverse, self.channels),
            *((0.0, 0.0) if tone is None else tone),
        )

    def __call__(
        self, kernels: ctypes.CDLL, latent: Tensor, clean: Tensor, uniform: Tensor, log_scale: Tensor | None
    ) -> Tensor:
        """Noisy values, neither rounded nor clipped; all are float32 [channels, H, W]."""
        _, height, width = clean.shape
        shape = self.channels, height, width
        noisy = torch.empty(shape)
        kernels.noisegen_render(
            ctypes.byref(_Rendering(*shape, *self.constants)),
            *(floats(values, *shape) for values in (latent, clean, uniform)),
            None if log_scale is None else floats(log_scale, *shape),
            floats(noisy, *shape),
        )
        return noisy
