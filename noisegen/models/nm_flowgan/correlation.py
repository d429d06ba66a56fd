"""Linear correlation of latents: what demosaicing and denoising in a camera do to noise, to second order."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.models.nm_flowgan.layers import ConditionCode, pixel_shuffle, pixel_unshuffle

__all__ = ["CorrelationFilter", "filter_latent"]


class CorrelationFilter(nn.Module):
    """One linear filter over space and colour channels for each condition.

    White standard normal latents come out correlated, and still standard normal at every pixel: each filter is scaled
    to norm 1 per output, and the picture's sides are joined, so that a pixel at the border sees as many others as one
    in the middle. How strong the noise of a pixel is thus remains what the flow's likelihood made it.

    Pixels are taken in squares, each position in the square with a filter of its own: behind a Bayer mosaic noise is
    not the same at all pixels, but at every second one.

    `table` is not trained by gradients, it is fitted (`noisegen.fitting.correlation`).

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
        table[:, :, size // 2, size // 2] = torch.eye(squares).flatten()
        self.register_buffer("table", table)

    def kernels(self, code: ConditionCode) -> Tensor:
        """The filters [B, out, in, size, size]; those between two ISO settings are blended."""
        squares = math.isqrt(self.table.shape[1])
        blended = code.blend(self.table[code.row].flatten(1))
        return unit_norm(blended.unflatten(1, (squares, squares, self.size, self.size)))

    def forward(self, latent: Tensor, code: ConditionCode) -> Tensor:
        """latent [B, C, H, W] -> the same shape."""
        return filter_latent(latent, self.kernels(code), self.period)


def unit_norm(kernels: Tensor) -> Tensor:
    """Kernels [..., in, k, k] scaled to norm 1."""
    return kernels / kernels.square().sum(dim=(-3, -2, -1), keepdim=True).sqrt()


def filter_latent(latent: Tensor, kernels: Tensor, period: int) -> Tensor:
    """Filters each picture [B, C, H, W] by its kernels [B, out, in, k, k] over squares of `period` pixels."""
    batch, _, height, width = latent.shape
    squares = _wrap(pixel_unshuffle(latent, period), kernels.shape[-1] // 2)
    together = squares.reshape(1, -1, *squares.shape[2:]).contiguous()
    out = F.conv2d(together, kernels.flatten(0, 1), groups=batch).unflatten(1, (batch, -1))[0]
    return pixel_shuffle(out, period)[:, :, :height, :width]


def _wrap(picture: Tensor, margin: int) -> Tensor:
    """A picture [B, C, H, W] with `margin` pixels of its opposite side around it."""
    for axis in (2, 3):
        side = picture.shape[axis]
        index = torch.arange(-margin, side + margin, device=picture.device) % side
        picture = picture.index_select(axis, index)
    return picture
