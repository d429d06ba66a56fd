"""Linear correlation of latents: what demosaicing and denoising in a camera do to noise, to second order."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from noisegen.models.condition_codes import ConditionCode
from noisegen.models.linear_filters import filter_latent, unit_norm

__all__ = ["CorrelationFilter"]


class CorrelationFilter(nn.Module):
    """One linear filter over space and colour channels for each condition.

    White standard normal latents come out correlated, and still standard normal at every pixel: each filter is scaled
    to norm 1 per output, and the picture's sides are joined, so that a pixel at the border sees as many others as one
    in the middle. How strong the noise of a pixel is thus remains what the flow's likelihood made it.

    Pixels are taken in squares, each position in the square with a filter of its own: behind a Bayer mosaic noise is
    not the same at all pixels, but at every second one.

    `table` is not trained by gradients, it is fitted (`noisegen.models.nm_flowgan.correlation_fit`).

    Args:
        rows: number of (ISO, camera) pairs.
        channels: of the picture.
        size: side of the filters in squares, odd.
        period: side of a square in pixels.
    """

    table: Tensor

    def __init__(self, rows: int, channels: int, size: int, period: int) -> None:
        super().__init__()
        self.size, self.period = size, period
        squares = channels * period**2
        table = torch.zeros(rows, squares * squares, size, size)
        # the identity
        table[:, :: squares + 1, size // 2, size // 2] = 1.0
        self.register_buffer("table", table)

    def kernels(self, code: ConditionCode) -> Tensor:
        """The filters [B, out, in, size, size]; those between two ISO settings are blended."""
        squares = math.isqrt(self.table.shape[1])
        blended = code.blend(self.table[code.row].flatten(1))
        return unit_norm(blended.unflatten(1, (squares, squares, self.size, self.size)))

    def forward(self, latent: Tensor, code: ConditionCode) -> Tensor:
        """latent [B, C, H, W] -> the same shape."""
        return filter_latent(latent, self.kernels(code), self.period)
