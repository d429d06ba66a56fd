"""Differentiable distances between the statistics of generated and real noise."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["quantile_distance", "statistics_distance"]


def statistics_distance(fake: Tensor, real: Tensor, *, reach: int = 4) -> Tensor:
    """Squared differences of log variance, autocorrelation and channel correlation, averaged over patches.

    Each is measured per patch, so that it is conditional on the clean content the two patches share, and the squared
    distance of per-patch values is least where the generated value is the conditional mean of the real one.

    Args:
        fake, real: noise [B, C, H, W], any common unit.
        reach: autocorrelation is compared at all lags up to so many pixels in x and y.
    """
    terms = []
    spectra = []
    for noise in (fake, real):
        centered = noise - noise.mean(dim=(2, 3), keepdim=True)
        variance = centered.square().mean(dim=(2, 3)) + 1e-4
        spectrum = torch.fft.rfft2(centered / variance.sqrt()[:, :, None, None])
        correlation = torch.fft.irfft2(spectrum.abs().square(), s=noise.shape[2:]) / noise[0, 0].numel()
        rolled = torch.roll(correlation, (reach, reach), dims=(2, 3))[
            :, :, : 2 * reach + 1, reach : 2 * reach + 1
        ]
        spectra.append(rolled)
        flat = (centered / variance.sqrt()[:, :, None, None]).flatten(2)
        terms.append((variance.log(), flat @ flat.transpose(1, 2) / flat.shape[2]))
    variance_term = (terms[0][0] - terms[1][0]).square().mean()
    lag_term = (spectra[0] - spectra[1]).square().sum(dim=(2, 3)).mean()
    channel_term = (terms[0][1] - terms[1][1]).square().sum(dim=(1, 2)).mean()
    return 0.5 * variance_term + lag_term + channel_term


def quantile_distance(fake: Tensor, real: Tensor, *, block: int = 48) -> Tensor:
    """Mean absolute difference of sorted values per block and channel, over the real block's deviation (1-Wasserstein).

    Blocks are small enough to hold one kind of content, so the distance is of conditional histograms.

    Args:
        fake, real: noise [B, C, H, W], any common unit.
        block: side of the square blocks; a rest at the right and bottom is left out.
    """
    sizes = fake.shape[2:]
    block = min(block, *sizes)

    def blocks(noise: Tensor) -> Tensor:
        cut = noise[:, :, : sizes[0] // block * block, : sizes[1] // block * block]
        parts = cut.unfold(2, block, block).unfold(3, block, block)
        return parts.flatten(4).sort(dim=-1).values

    sorted_real = blocks(real)
    deviation = sorted_real.std(dim=-1) + 0.5
    return ((blocks(fake) - sorted_real).abs().mean(dim=-1) / deviation).mean()
