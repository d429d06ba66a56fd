"""Differentiable distances between the statistics of generated and real noise."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["normality_distance", "quantile_distance", "statistics_distance"]


# Added to variances, in grey levels squared: clipped regions have none, and ratios of nothing mean nothing.
FLOOR = 0.25


def statistics_distance(fake: Tensor, real: Tensor, *, reach: int = 4, variance: bool = True) -> Tensor:
    """Distance of variance, autocorrelation and channel correlation, each measured per patch, averaged over patches.

    Variances are compared by twice the Kullback-Leibler divergence of Gaussians, KL(real || fake), and correlations by
    squared differences: both are least where the generated value is the mean of the real ones, given the clean
    content that the two patches share.

    Args:
        fake, real: noise [B, C, H, W] in 8-bit grey levels.
        reach: autocorrelation is compared at all lags up to so many pixels in x and y.
        variance: whether to compare the variance.
    """
    fake_variance, fake_lags, fake_channels = _second_moments(fake, reach)
    real_variance, real_lags, real_channels = _second_moments(real, reach)
    lag_term = (fake_lags - real_lags).square().sum(dim=(2, 3)).mean()
    channel_term = (fake_channels - real_channels).square().sum(dim=(1, 2)).mean()
    if not variance:
        return lag_term + channel_term
    ratio = real_variance / fake_variance
    return (ratio - 1 - ratio.log()).mean() + lag_term + channel_term


def _second_moments(noise: Tensor, reach: int) -> tuple[Tensor, Tensor, Tensor]:
    """Variance [B, C], autocorrelation [B, C, 2 reach + 1, reach + 1] and channel correlation [B, C, C]."""
    centered = noise - noise.mean(dim=(2, 3), keepdim=True)
    variance = centered.square().mean(dim=(2, 3)) + FLOOR
    scaled = centered / variance.sqrt()[:, :, None, None]
    spectrum = torch.fft.rfft2(scaled).abs().square()
    correlation = torch.fft.irfft2(spectrum, s=noise.shape[2:]) / noise[0, 0].numel()
    lags = torch.roll(correlation, (reach, reach), dims=(2, 3))
    flat = scaled.flatten(2)
    channels = flat @ flat.transpose(1, 2) / flat.shape[2]
    return variance, lags[:, :, : 2 * reach + 1, reach : 2 * reach + 1], channels


def quantile_distance(fake: Tensor, real: Tensor, *, block: int = 48) -> Tensor:
    """Mean absolute difference of sorted values per block and channel, over the real block's deviation (1-Wasserstein).

    Blocks are small enough to hold one kind of content, so the distance is of conditional histograms.

    Args:
        fake, real: noise [B, C, H, W] in 8-bit grey levels.
        block: side of the square blocks; a rest at the right and bottom is left out.
    """
    sorted_real = _sorted_blocks(real, block)
    deviation = sorted_real.std(dim=-1) + 0.5
    return ((_sorted_blocks(fake, block) - sorted_real).abs().mean(dim=-1) / deviation).mean()


def normality_distance(latent: Tensor, *, block: int = 48) -> Tensor:
    """Mean absolute difference of sorted latents per block and channel and the quantiles of a standard normal.

    Args:
        latent: [B, C, H, W].
        block: side of the square blocks; a rest at the right and bottom is left out.
    """
    values = _sorted_blocks(latent, block)
    count = values.shape[-1]
    positions = (torch.arange(count, device=latent.device, dtype=latent.dtype) + 0.5) / count
    return (values - torch.special.ndtri(positions)).abs().mean()


def _sorted_blocks(noise: Tensor, block: int) -> Tensor:
    """[B, C, rows, columns, block * block], sorted along the last axis."""
    height, width = noise.shape[2:]
    block = min(block, height, width)
    cut = noise[:, :, : height // block * block, : width // block * block]
    return cut.unfold(2, block, block).unfold(3, block, block).flatten(4).sort(dim=-1).values
