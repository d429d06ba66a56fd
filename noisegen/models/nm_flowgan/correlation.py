"""Linear correlation of latents: what demosaicing and denoising in a camera do to noise, to second order."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.models.condition_codes import ConditionCode
from noisegen.models.nm_flowgan.layers import pixel_shuffle, pixel_unshuffle

__all__ = ["CorrelationFilter", "convolve_squares", "filter_latent"]


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


def unit_norm(kernels: Tensor) -> Tensor:
    """Kernels [..., in, k, k] scaled to norm 1."""
    return kernels / kernels.square().sum(dim=(-3, -2, -1), keepdim=True).sqrt()


def filter_latent(
    latent: Tensor,
    kernels: Tensor,
    period: int,
    convolve: Callable[[Tensor, Tensor, int], Tensor] | None = None,
) -> Tensor:
    """Filters each picture [B, C, H, W] by its kernels [B, out, in, k, k] over squares of `period` pixels.

    A picture too small for the filters is filtered by their middles. `convolve` does so instead of `convolve_squares`.
    """
    convolve = convolve or convolve_squares
    height, width = latent.shape[2:]
    kernels = _at_most(kernels, -(-height // period), -(-width // period))
    bottom, right = -height % period, -width % period
    if not bottom and not right:
        return convolve(latent, kernels, period)
    # What lacks to whole squares is 0, and the rest is scaled up for it.
    there = F.pad(torch.ones_like(latent), (0, right, 0, bottom))
    out = convolve(F.pad(latent, (0, right, 0, bottom)), kernels, period)
    norm = convolve(there, kernels.square(), period).sqrt()
    return out[:, :, :height, :width] / norm[:, :, :height, :width]


def _at_most(kernels: Tensor, rows: int, columns: int) -> Tensor:
    """Kernels of which no two taps fall on the same square of a picture of `rows` x `columns` of them."""
    size = kernels.shape[-1]
    down, across = max(0, size // 2 - (rows - 1) // 2), max(0, size // 2 - (columns - 1) // 2)
    if not down and not across:
        return kernels
    return unit_norm(kernels[..., down : size - down, across : size - across])


def convolve_squares(latent: Tensor, kernels: Tensor, period: int) -> Tensor:
    """`filter_latent` for pictures of whole squares that the kernels fit into."""
    batch, rows, columns = len(latent), kernels.shape[3] // 2, kernels.shape[4] // 2
    squares = pixel_unshuffle(latent, period)
    squares = F.pad(squares, (columns, columns, rows, rows), mode="circular")
    # On a CPU the channels of one picture are convolved faster side by side.
    layout = torch.channels_last if batch == 1 else torch.contiguous_format
    together = squares.reshape(1, -1, *squares.shape[2:]).contiguous(memory_format=layout)
    weights = kernels.flatten(0, 1).contiguous(memory_format=layout)
    out = F.conv2d(together, weights, groups=batch).unflatten(1, (batch, -1))[0]
    return pixel_shuffle(out, period)
