"""Linear filters over space and channels, and those that give white noise wanted spectra."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from noisegen.models.nm_flowgan.layers import pixel_shuffle, pixel_unshuffle

__all__ = ["convolve_squares", "filter_latent", "filters_of_spectra", "spectral_root", "unit_norm"]

# Share of the mean power that is added at every frequency, so that no ratio is of two nothings.
REGULAR = 1e-3


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


def spectral_root(spectra: Tensor, power: float) -> Tensor:
    """Hermitian matrices [..., K, K] to a power, slightly regularised."""
    values, vectors = torch.linalg.eigh(spectra)
    values = values.clamp(min=0)
    values = values + REGULAR * values.mean()
    return (vectors * values[..., None, :] ** power) @ vectors.mH


def filters_of_spectra(spectra: Tensor, size: int) -> Tensor:
    """The filters [K, K, size, size] of norm 1 whose output has nearly these spectra, up to scale."""
    response = torch.fft.fftshift(torch.fft.ifft2(spectral_root(spectra, 0.5), dim=(0, 1)).real, dim=(0, 1))
    middle, reach = response.shape[0] // 2, size // 2
    part = response[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    # conv2d correlates: its kernel is the mirrored response
    return unit_norm(part.flip(0, 1).permute(2, 3, 0, 1))
