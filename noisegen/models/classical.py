"""The classical models, independent from pixel to pixel: Gaussian and two signal-dependent Gaussian noises.

All of them draw, for a clean value y and a standard normal number n,

    z = clip(round(y + strength * sigma(y) * n), 0, 2**bit_depth - 1),

with sigma^2(y) for each camera, ISO setting and channel. They are fitted, not trained: see `fit_awgn`,
`fit_heteroscedastic` and `fit_poisson_gaussian`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisegen.conditions import Condition, ConditionMix, Vocabulary
from noisegen.models.learning import LearnedModel, ModelSizes
from noisegen.models.protocol import Randomness
from noisegen.models.registry import ModelType
from noisegen.models.tone_bins import MIN_PIXELS, MIN_VARIANCE, Picture, ToneBins, measure

__all__ = [
    "AWGN",
    "HETEROSCEDASTIC",
    "POISSON_GAUSSIAN",
    "Awgn",
    "GaussianModel",
    "Heteroscedastic",
    "PoissonGaussian",
    "fit_awgn",
    "fit_heteroscedastic",
    "fit_poisson_gaussian",
    "variance_line",
]

# In squared pixel values: far below rounding, and keeps the logarithm finite.
LEAST_VARIANCE = 1e-6

# Of a bin's noisy values, the part that may lie at the ends of the range: clipping so many costs a normal
# distribution 4 % of its variance.
MAX_CLIPPED = 0.025
LINE_ROUNDS = 5


class GaussianModel(LearnedModel):
    """Gaussian noise with a variance for each clean value, condition and channel.

    Attributes:
        parameters_of: the names of its tables. Each is a buffer, float32 [conditions, C, ...], with a row for each
            condition of ``vocabulary.known``.
    """

    parameters_of: ClassVar[tuple[str, ...]]

    def __init__(self, sizes: ModelSizes, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.sizes, self.vocabulary = sizes, vocabulary
        for name in self.parameters_of:
            self.register_buffer(name, torch.zeros(len(vocabulary.known), sizes.channels))

    @classmethod
    def of(cls, sizes: ModelSizes, **tables: Mapping[Condition, Sequence[float] | Tensor]) -> Self:
        """The model with these tables: by name, for each condition, one value a channel."""
        vocabulary = Vocabulary.of(next(iter(tables.values())))
        model = cls(sizes, vocabulary)
        for name, table in tables.items():
            rows = [torch.as_tensor(table[condition]) for condition in vocabulary.known]
            model.get_buffer(name).copy_(torch.stack(rows))
        return model.eval()

    @abstractmethod
    def variance(self, clean: Tensor, row: int) -> Tensor:
        """Variance for clean [C, H, W] by the tables' row, broadcastable to it, in squared pixel values."""

    def latent(self, normal: Tensor, mix: ConditionMix) -> Tensor:
        """White standard normal numbers [C, H, W] as the standard normal numbers that the noise is made of."""
        return normal

    def row(self, condition: Condition) -> int:
        """The tables' row of a known condition."""
        return self.vocabulary.known.index(condition)

    def sample(
        self, clean: Tensor, condition: Sequence[Condition], *, noise: Randomness, strength: float = 1.0
    ) -> Tensor:
        """See `NoiseModel.sample`. Between two ISO settings the log variance is linear in log ISO."""
        noisy = torch.empty_like(clean)
        # picture by picture, so that the last bits cannot depend on the others of the batch
        for index, wanted in enumerate(condition):
            mix = self.vocabulary.resolve(wanted)
            spread = self.variance(clean[index], self.row(mix.low)).clamp(min=LEAST_VARIANCE)
            if mix.low != mix.high:
                high = self.variance(clean[index], self.row(mix.high)).clamp(min=LEAST_VARIANCE)
                spread = torch.exp(torch.lerp(spread.log(), high.log(), mix.weight))
            noisy[index] = clean[index] + spread.sqrt().mul_(strength) * self.latent(noise.normal[index], mix)
        return noisy.round_().clamp_(0, 2**self.bit_depth - 1)


class Awgn(GaussianModel):
    """White Gaussian noise, sigma(y) = std for each condition and channel.

    Attributes:
        std: in pixel values.
    """

    parameters_of = ("std",)
    std: Tensor

    def variance(self, clean: Tensor, row: int) -> Tensor:
        return self.std[row].square().view(-1, 1, 1)


class Heteroscedastic(GaussianModel):
    """Gaussian noise whose variance is linear in the clean value, for each condition and channel.

        sigma^2(y) = a y + b = dark + (bright - dark) y / (2**bit_depth - 1)

    (A. Foi, "Clipped noisy images: heteroskedastic modeling and practical denoising", Signal Processing 89(12), 2009,
    equations 1 and 2.) There a y + b is the variance before clipping, here it is the one that is seen, which is what
    papers on sRGB noise compare with; `PoissonGaussian` has the other. The line is kept as its two ends, both at least
    0, so that it is a variance everywhere between them, whether it rises or falls.

    Attributes:
        dark, bright: variance at 0 and at 2**bit_depth - 1, in squared pixel values.
    """

    parameters_of = ("dark", "bright")
    dark: Tensor
    bright: Tensor

    def variance(self, clean: Tensor, row: int) -> Tensor:
        dark, bright = self.dark[row].view(-1, 1, 1), self.bright[row].view(-1, 1, 1)
        return dark + (bright - dark) * (clean / (2**self.bit_depth - 1))


class PoissonGaussian(GaussianModel):
    """Clipped Poisson-Gaussian noise, for each condition and channel.

        z = y + eta_p(y) + eta_g,  (y + eta_p(y)) / gain ~ Poisson(y / gain),  eta_g ~ N(0, offset)
        sigma^2(y) = gain * y + offset

    (A. Foi, M. Trimeche, V. Katkovnik, K. Egiazarian, "Practical Poissonian-Gaussian noise modeling and fitting for
    single-image raw-data", IEEE Transactions on Image Processing 17(10), 2008, sections II and III.) As in that paper
    the Poisson part is drawn from the normal distribution of its variance, and what leaves the range is clipped.
    Where `Heteroscedastic` describes the variance that is seen, here gain and offset are those before clipping.

    Attributes:
        gain: at least 0, in pixel values.
        offset: at least 0, in squared pixel values.
    """

    parameters_of = ("gain", "offset")
    gain: Tensor
    offset: Tensor

    def variance(self, clean: Tensor, row: int) -> Tensor:
        return self.gain[row].view(-1, 1, 1) * clean + self.offset[row].view(-1, 1, 1)


def fit_awgn(pictures: Iterable[Picture], bit_depth: int) -> Awgn:
    """Fits `Awgn`: the standard deviation of noisy - clean over all pixels of a condition but outliers (`ToneBins`).

    Args:
        pictures: pairs of one number of channels, read once.
        bit_depth: of their values, which are below 2**bit_depth.

    Raises:
        UsageError: there are no pairs.
    """
    found = measure(pictures, bit_depth)
    std = {}
    for condition, bins in found.items():
        count, total, squares = (part.sum(axis=(0, 2)) for part in (bins.kept, bins.noise, bins.squares))
        std[condition] = np.sqrt(squares / count - (total / count) ** 2).tolist()
    return Awgn.of(_sizes(std, bit_depth), std=std)


def fit_heteroscedastic(pictures: Iterable[Picture], bit_depth: int) -> Heteroscedastic:
    """Fits `Heteroscedastic`: see `variance_line`.

    Args:
        pictures: pairs of one number of channels, read once.
        bit_depth: of their values, which are below 2**bit_depth.

    Raises:
        UsageError: there are no pairs.
    """
    lines = {
        condition: variance_line(bins, bit_depth) for condition, bins in measure(pictures, bit_depth).items()
    }
    dark, bright = ({condition: line[end] for condition, line in lines.items()} for end in (0, 1))
    return Heteroscedastic.of(_sizes(dark, bit_depth), dark=dark, bright=bright)


def variance_line(bins: ToneBins, bit_depth: int) -> tuple[list[float], list[float]]:
    """Variance at clean 0 and 2**bit_depth - 1, for each channel, by least squares, neither below 0.

    A bin of the pairs together weighs as much as it has pixels that are no outliers, and nothing below 64 of them; its
    variance is taken around its own mean, so a shift in brightness between the two pictures is not taken for noise.

    Args:
        bins: fields [pairs, C, BINS].
    """
    dark, bright = [], []
    for channel in range(bins.pixels.shape[1]):
        together = np.stack([bins.pixels, bins.clean, bins.kept, bins.noise, bins.squares])[:, :, channel]
        together = together.sum(axis=1)
        pixels, clean, kept, total, squares = together[:, _enough(together[2])]
        position = clean / pixels / (2**bit_depth - 1)
        columns = np.stack([1 - position, position], axis=1)
        ends = _non_negative(columns, squares / kept - (total / kept) ** 2, kept)
        dark.append(ends[0])
        bright.append(ends[1])
    return dark, bright


def fit_poisson_gaussian(pictures: Iterable[Picture], bit_depth: int) -> PoissonGaussian:
    """Fits `PoissonGaussian`: variance = gain * clean + offset, both at least 0, as it was before clipping.

    It differs from `fit_heteroscedastic` in four ways. The variance of a bin is that of the noise's core, picture by
    picture, so heavy tails count little, and a shift in brightness of one picture not at all. Bins of which more than
    2.5 % of the noisy values are at black or white, and in the core, are left out, because clipping cuts their variance
    short (where fewer than two bins remain, all are used). A bin weighs by the precision of its variance, pixels /
    variance^2, not by its pixels alone, so dark tones with little noise are fitted as well as bright ones. And the
    line must rise.

    Args:
        pictures: pairs of one number of channels, read once.
        bit_depth: of their values, which are below 2**bit_depth.

    Raises:
        UsageError: there are no pairs.
    """
    gain: dict[Condition, list[float]] = {}
    offset: dict[Condition, list[float]] = {}
    for condition, bins in measure(pictures, bit_depth).items():
        # the bins of all pictures side by side: [4, C, pictures * BINS]
        parts = np.stack([bins.pixels, bins.clean, bins.core, bins.clipped]).swapaxes(1, 2)
        lines = [_rising_line(*parts[:, channel].reshape(4, -1)) for channel in range(parts.shape[1])]
        gain[condition], offset[condition] = [line[0] for line in lines], [line[1] for line in lines]
    return PoissonGaussian.of(_sizes(gain, bit_depth), gain=gain, offset=offset)


def _sizes(table: Mapping[Condition, Sequence[float]], bit_depth: int) -> ModelSizes:
    return ModelSizes(len(next(iter(table.values()))), bit_depth)


def _enough(pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The bins that say something about a variance; the largest ones where none has many pixels."""
    return pixels >= min(MIN_PIXELS, pixels.max())


def _rising_line(
    pixels: NDArray[np.float64],
    clean: NDArray[np.float64],
    variance: NDArray[np.float64],
    clipped: NDArray[np.float64],
) -> tuple[float, float]:
    """Gain and offset of the variance by weighted non-negative least squares over the bins."""
    enough = _enough(pixels)
    whole = enough & (clipped <= MAX_CLIPPED)
    # a line needs two points
    used = whole if whole.sum() > 1 else enough
    pixels, clean, variance = pixels[used], clean[used], variance[used]
    columns = np.stack([clean / pixels, np.ones_like(pixels)], axis=1)
    expected = variance
    # a variance is known to its own square over the pixels; that of the fit is steadier than the bin's own
    for _ in range(LINE_ROUNDS):
        weights = pixels / np.maximum(expected, MIN_VARIANCE) ** 2
        line = _non_negative(columns, variance, weights)
        expected = columns @ line
    return line


def _non_negative(
    columns: NDArray[np.float64], target: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """The two coefficients, none below 0, with the least weighted sum of squares."""
    root = np.sqrt(weights)
    columns, target = columns * root[:, None], target * root
    # least squares of smallest norm: a single bin leaves the slope open
    both = np.linalg.lstsq(columns, target, rcond=None)[0]
    if (both >= 0).all():
        return float(both[0]), float(both[1])
    # with two unknowns the optimum otherwise lies where one of them is 0
    alone = np.maximum(columns.T @ target / np.maximum((columns**2).sum(axis=0), 1e-300), 0)
    errors = [np.sum((columns[:, k] * alone[k] - target) ** 2) for k in (0, 1)]
    best = int(np.argmin(errors))
    return (float(alone[0]), 0.0) if best == 0 else (0.0, float(alone[1]))


AWGN = ModelType("awgn", "White Gaussian noise", ModelSizes, Awgn, fit=fit_awgn)
HETEROSCEDASTIC = ModelType(
    "heteroscedastic",
    "Gaussian noise of linear variance (Foi, Signal Processing 2009)",
    ModelSizes,
    Heteroscedastic,
    fit=fit_heteroscedastic,
)
POISSON_GAUSSIAN = ModelType(
    "poisson-gaussian",
    "Clipped Poisson-Gaussian noise (Foi et al., IEEE TIP 2008)",
    ModelSizes,
    PoissonGaussian,
    fit=fit_poisson_gaussian,
)
