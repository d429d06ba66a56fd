"""Heteroscedastic Gaussian noise with the correlation that is measured, over space and colour channels.

For a clean picture y and white standard normal numbers n of all its pixels and channels

    u_i(x) = sum over channels j and offsets d of h_ij(d) n_j(x + d),  sum over j and d of h_ij(d)^2 = 1,
    z_i(x) = clip(round(y_i(x) + strength * sigma_i(y_i(x)) * u_i(x)), 0, 2**bit_depth - 1),

with sigma_i^2 linear in y (`noisegen.models.classical.Heteroscedastic`) and a filter h for each camera and ISO setting.
u is standard normal at every pixel, so the level of the noise stays that of the line. h is the Hermitian square root of
the measured cross-spectral matrices, S(f) = H(f) H(f)^H, as by which a stationary Gaussian process of given spectra is
drawn (M. Shinozuka, C.-M. Jan, "Digital simulation of random processes and its applications", Journal of Sound and
Vibration 25(1), 1972).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from noisegen.conditions import Condition, ConditionMix, Vocabulary
from noisegen.errors import UsageError
from noisegen.models.classical import MAX_CLIPPED, Heteroscedastic, variance_line
from noisegen.models.learning import ModelSizes
from noisegen.models.linear_filters import filter_latent, filters_of_spectra, unit_norm
from noisegen.models.registry import ModelType
from noisegen.models.tone_bins import (
    MIN_PIXELS,
    MIN_VARIANCE,
    NoiseTable,
    Picture,
    ToneBins,
    noise_tables,
    stack,
)

__all__ = [
    "CORRELATED_GAUSSIAN",
    "CorrelatedGaussian",
    "CorrelatedGaussianSizes",
    "fit_correlated_gaussian",
]

# Side in pixels of the blocks that correlations are measured in: drift of brightness is slower, noise is not.
BLOCK = 64
# Weight of pixels that say little of the noise's correlation: where there are others they do not count.
LITTLE = 0.01


@dataclass(frozen=True)
class CorrelatedGaussianSizes(ModelSizes):
    """Architecture of `CorrelatedGaussian`.

    Attributes:
        reach: how many pixels the filter reaches to each side. A halo of as many leaves no seams between tiles.
    """

    reach: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.reach <= BLOCK // 4:
            raise UsageError(f"reach must be 0 to {BLOCK // 4}, not {self.reach}")


class CorrelatedGaussian(Heteroscedastic):
    """Heteroscedastic Gaussian noise that is correlated over space and channels.

    The sides of a picture are joined for the filter, so that the noise at its border is like that in its middle. A
    filter between two known ISO settings is the mean of theirs by the position in log ISO, scaled to norm 1.

    Attributes:
        kernels: float32 [conditions, C, C, k, k], output channels first, k = 2 reach + 1, norm 1 for each output.
    """

    sizes: CorrelatedGaussianSizes
    kernels: Tensor

    def __init__(self, sizes: CorrelatedGaussianSizes, vocabulary: Vocabulary) -> None:
        super().__init__(sizes, vocabulary)
        side = 2 * sizes.reach + 1
        kernels = torch.zeros(len(vocabulary.known), sizes.channels, sizes.channels, side, side)
        kernels[..., sizes.reach, sizes.reach] = torch.eye(sizes.channels)
        self.register_buffer("kernels", kernels)

    def latent(self, normal: Tensor, mix: ConditionMix) -> Tensor:
        kernels = self.kernels[self.row(mix.low)]
        if mix.low != mix.high:
            kernels = unit_norm(torch.lerp(kernels, self.kernels[self.row(mix.high)], mix.weight))
        return filter_latent(normal[None], kernels[None], 1)[0]


class _Covariance:
    """Sums of products of weighted noise at all lags, in blocks, as spectra: what several pictures add up to.

    Args:
        channels: of the pictures.
        lags: the largest lag that is asked for.
    """

    def __init__(self, channels: int, lags: int) -> None:
        self.lags = lags
        self.side = BLOCK + lags
        shape = (channels, channels, self.side, self.side // 2 + 1)
        self.products, self.weights = (torch.zeros(shape, dtype=torch.complex128) for _ in range(2))

    def add(self, tables: Sequence[NoiseTable]) -> None:
        """Adds one picture. Its noise is standardised in each bin of the clean value."""
        lookups = [_standardised(table) for table in tables]
        for top in range(0, len(tables[0].cell), BLOCK):
            cells = [table.cell[top : top + BLOCK] for table in tables]
            noise, weight = (
                _blocks(np.stack([lookup[part][cell] for lookup, cell in zip(lookups, cells, strict=True)]))
                for part in (0, 1)
            )
            mean = noise.sum(dim=(2, 3), keepdim=True) / weight.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
            self.products += self._cross(noise - mean * weight)
            self.weights += self._cross(weight)

    def _cross(self, blocks: Tensor) -> Tensor:
        spectra = torch.fft.rfft2(blocks, s=(self.side, self.side))
        return torch.einsum("bixy,bjxy->ijxy", spectra, spectra.conj())

    def correlation(self) -> Tensor:
        """Correlation of channel i at x + lag with channel j at x, float64 [C, C, side, side], lags as by FFT."""
        products, weights = (
            torch.fft.irfft2(sums, s=(self.side, self.side)) for sums in (self.products, self.weights)
        )
        covariance = torch.where(weights > 0.5 * LITTLE**2, products / weights, torch.zeros_like(products))
        level = covariance[..., 0, 0].diagonal().clamp(min=1e-12).sqrt()
        correlation = covariance / (level[:, None] * level)[..., None, None]
        # also where there is no noise at all
        correlation[..., 0, 0].fill_diagonal_(1.0)
        return correlation


def _standardised(table: NoiseTable) -> tuple[np.ndarray, np.ndarray]:
    """For each cell of the table, flat, float32: standardised noise times its weight, and the weight.

    Clipping binds noise to the edge of the range, and few pixels do not tell a variance, so such bins weigh little; an
    outlier weighs nothing.
    """
    bins = table.bins
    telling = (bins.clipped <= MAX_CLIPPED) & (bins.pixels >= MIN_PIXELS)
    weight = table.within() * np.where(telling, 1.0, LITTLE)[:, None]
    deviation = np.sqrt(np.maximum(bins.variance(), MIN_VARIANCE))
    noise = (table.noise - bins.mean()[:, None]) / deviation[:, None] * weight
    return noise.astype(np.float32).ravel(), weight.astype(np.float32).ravel()


def _blocks(strip: np.ndarray) -> Tensor:
    """A strip [C, h, W] cut into blocks [n, C, BLOCK, BLOCK], filled up with zeros."""
    _, height, width = strip.shape
    padded = F.pad(torch.from_numpy(strip), (0, -width % BLOCK, 0, BLOCK - height))
    return padded.unflatten(2, (-1, BLOCK)).permute(2, 0, 1, 3)


def fit_correlated_gaussian(
    pictures: Iterable[Picture], bit_depth: int, reach: int = CorrelatedGaussianSizes.reach
) -> CorrelatedGaussian:
    """Fits `CorrelatedGaussian`: the line as `fit_heteroscedastic` does, the filters by measured correlations.

    The noise of each pair is standardised in bins of its clean value, and its correlation measured over all lags that
    the filter can make, within blocks of 64 pixels from which the mean is taken, so that a drift in brightness is not
    taken for noise. Outliers are left out; bins with more than 2.5 % clipped values count a ten-thousandth, which is
    nothing where there are others.

    Args:
        pictures: pairs of one number of channels, read once.
        bit_depth: of their values, which are below 2**bit_depth.
        reach: see `CorrelatedGaussianSizes`.

    Raises:
        UsageError: there are no pairs.
    """
    bins: dict[Condition, list[Sequence[ToneBins]]] = {}
    covariances: dict[Condition, _Covariance] = {}
    channels = 0
    for condition, tables in noise_tables(pictures, bit_depth):
        channels = len(tables)
        bins.setdefault(condition, []).append([table.bins for table in tables])
        covariances.setdefault(condition, _Covariance(channels, 2 * reach)).add(tables)
    lines = {condition: variance_line(stack(found), bit_depth) for condition, found in bins.items()}
    tables_by_name: dict[str, Mapping[Condition, Sequence[float] | Tensor]] = {
        "dark": {condition: line[0] for condition, line in lines.items()},
        "bright": {condition: line[1] for condition, line in lines.items()},
        "kernels": {
            condition: _kernels(covariance.correlation(), reach)
            for condition, covariance in covariances.items()
        },
    }
    return CorrelatedGaussian.of(CorrelatedGaussianSizes(channels, bit_depth, reach), **tables_by_name)


def _kernels(correlation: Tensor, reach: int) -> Tensor:
    """The filters [C, C, k, k] whose output has nearly these correlations, as `_Covariance.correlation` gives them."""
    lag = torch.fft.fftfreq(correlation.shape[-1], 1 / correlation.shape[-1], dtype=torch.float64).abs()
    # no filter makes correlations beyond twice its reach; a hard end would ring
    taper = torch.cos(math.pi / 2 * ((lag - reach) / (reach + 1)).clamp(0, 1)).square()
    spectra = torch.fft.fft2(correlation * torch.outer(taper, taper)).permute(2, 3, 0, 1)
    return filters_of_spectra(spectra, 2 * reach + 1)


CORRELATED_GAUSSIAN = ModelType(
    "correlated-gaussian",
    "Heteroscedastic Gaussian noise with the measured correlation",
    CorrelatedGaussianSizes,
    CorrelatedGaussian,
    fit=fit_correlated_gaussian,
)
