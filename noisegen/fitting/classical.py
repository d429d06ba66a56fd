"""Fits the classical noise models, the baselines of every comparison, on real pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from noisegen.conditions import Condition, Vocabulary
from noisegen.datasets.pairs import Pair, load_pair
from noisegen.errors import InputError, UsageError
from noisegen.models.classical import Awgn, Heteroscedastic, PoissonGaussian
from noisegen.models.protocol import NoiseModel

__all__ = ["BASELINES", "fit_awgn", "fit_baselines", "fit_heteroscedastic", "fit_poisson_gaussian"]

BINS = 32
# A bin with fewer pixels says little about a variance; often they are edges that moved between the shots.
MIN_PIXELS_PER_BIN = 64

# Of a bin's noisy values, the part that may lie at the ends of the range: clipping so many costs a normal
# distribution 4 % of its variance.
MAX_CLIPPED = 0.025
OUTLIER = 3.0
# Variance of a normal distribution cut off at 3 standard deviations on both sides.
KEPT_VARIANCE = 0.97334
ROUNDS = 5
# Spread of rounding to whole levels, the least variance that a weight is taken of.
ROUNDING_VARIANCE = 1 / 12


@dataclass
class _Statistics:
    """What the fits need of the pairs.

    Attributes:
        channels, bit_depth: of all of them.
        moments: per condition [C, BINS, 4]: pixels, sums of clean, noise and squared noise.
        robust: per condition and picture [C, BINS, 4]: pixels, mean clean value, robust variance, clipped part.
    """

    channels: int
    bit_depth: int
    moments: dict[Condition, NDArray[np.float64]] = field(default_factory=dict)
    robust: dict[Condition, list[NDArray[np.float64]]] = field(default_factory=dict)


def fit_awgn(pairs: Sequence[Pair]) -> Awgn:
    """Fits `Awgn`: the standard deviation of noisy - clean over all pixels of a condition.

    Args:
        pairs: read one at a time; all of one number of channels and bit depth.

    Raises:
        UsageError: no pairs, unlike pairs, or one that cannot be decoded.
    """
    return _awgn(_statistics(pairs))


def _awgn(statistics: _Statistics) -> Awgn:
    std = {}
    for condition, table in statistics.moments.items():
        count, _, total, squares = table.sum(axis=1).T
        std[condition] = tuple(np.sqrt(squares / count - (total / count) ** 2).tolist())
    return Awgn(Vocabulary.of(std), statistics.channels, statistics.bit_depth, std)


def fit_heteroscedastic(pairs: Sequence[Pair]) -> Heteroscedastic:
    """Fits `Heteroscedastic`: least squares of the noise variance in 32 bins of the clean value.

    A bin weighs as much as it has pixels, and nothing below 64; its variance is taken around its own mean, so
    a shift in brightness between the two pictures is not taken for noise.

    Args:
        pairs: read one at a time; all of one number of channels and bit depth.

    Raises:
        UsageError: no pairs, unlike pairs, or one that cannot be decoded.
    """
    return _heteroscedastic(_statistics(pairs))


def _heteroscedastic(statistics: _Statistics) -> Heteroscedastic:
    dark, bright = {}, {}
    for condition, table in statistics.moments.items():
        ends = [_variance_at_ends(channel, 2**statistics.bit_depth - 1) for channel in table]
        dark[condition] = tuple(end[0] for end in ends)
        bright[condition] = tuple(end[1] for end in ends)
    return Heteroscedastic(Vocabulary.of(dark), statistics.channels, statistics.bit_depth, dark, bright)


def fit_poisson_gaussian(pairs: Sequence[Pair]) -> PoissonGaussian:
    """Fits `PoissonGaussian`: variance = gain * clean + offset, both at least 0, as it was before clipping.

    It differs from `fit_heteroscedastic` in four ways. Variances are robust: in each of 32 bins of the clean value,
    picture by picture, values further than 3 standard deviations from the mean are left out, five times
    over, and the variance is scaled up by what a normal distribution loses by that; so misaligned edges and heavy
    tails count little, and a shift in brightness of one picture not at all. Bins of which more than 2.5 % of the
    noisy values are at black or white, and no outliers, are left out, because clipping cuts their variance short
    (where fewer than two bins remain, all are used). A bin weighs by the precision of its variance, pixels /
    variance^2, not by its pixels alone, so dark tones with little noise are fitted as well as bright ones. And the
    line must rise.

    Args:
        pairs: read one at a time; all of one number of channels and bit depth.

    Raises:
        UsageError: no pairs, unlike pairs, or one that cannot be decoded.
    """
    return _poisson_gaussian(_statistics(pairs, robust=True))


def _poisson_gaussian(statistics: _Statistics) -> PoissonGaussian:
    gain, offset = {}, {}
    for condition, pictures in statistics.robust.items():
        # the bins of all pictures side by side: [C, pictures * BINS, 4]
        lines = [_rising_line(channel) for channel in np.concatenate(pictures, axis=1)]
        gain[condition] = tuple(line[0] for line in lines)
        offset[condition] = tuple(line[1] for line in lines)
    return PoissonGaussian(Vocabulary.of(gain), statistics.channels, statistics.bit_depth, gain, offset)


_FITS: dict[str, Callable[[_Statistics], NoiseModel]] = {
    "awgn": _awgn,
    "poisson-gaussian": _poisson_gaussian,
    "heteroscedastic": _heteroscedastic,
}
BASELINES = tuple(_FITS)


def fit_baselines(names: Sequence[str], pairs: Sequence[Pair]) -> dict[str, NoiseModel]:
    """Fits the models of the given names, each one of `BASELINES`, in this order and in one pass over the pairs.

    Raises:
        UsageError: as the fits, or an unknown name.
    """
    unknown = [name for name in names if name not in _FITS]
    if unknown:
        raise UsageError(f"unknown baseline {', '.join(unknown)}; there are: {', '.join(_FITS)}")
    statistics = _statistics(pairs, robust="poisson-gaussian" in names)
    return {name: _FITS[name](statistics) for name in names}


def _statistics(pairs: Iterable[Pair], *, robust: bool = False) -> _Statistics:
    statistics: _Statistics | None = None
    for condition, noisy, clean in _pictures(pairs):
        channels, bit_depth = clean.shape[2], 8 * clean.dtype.itemsize
        if statistics is None:
            statistics = _Statistics(channels, bit_depth)
        table = statistics.moments.setdefault(condition, np.zeros((channels, BINS, 4)))
        robust_table = np.zeros((channels, BINS, 4))
        for channel in range(channels):
            value = clean[..., channel].ravel()
            seen = noisy[..., channel].ravel()
            noise = seen - value.astype(np.float64)
            index = value.astype(np.int64) * BINS >> bit_depth
            for column, weights in enumerate((None, value, noise, noise**2)):
                table[channel, :, column] += np.bincount(index, weights, BINS)
            if robust:
                clipped = (seen == 0) | (seen == 2**bit_depth - 1)
                robust_table[channel] = _robust_bins(index, value, noise, clipped)
        if robust:
            statistics.robust.setdefault(condition, []).append(robust_table)
    if statistics is None:
        raise UsageError("there are no pairs to fit a noise model on")
    return statistics


def _pictures(pairs: Iterable[Pair]) -> Iterator[tuple[Condition, np.ndarray, np.ndarray]]:
    """(condition, noisy, clean) of each pair, which must be of one kind."""
    kind: tuple[int, int] | None = None
    for pair in pairs:
        try:
            noisy, clean = load_pair(pair)
        except InputError as error:
            raise UsageError(f"a pair to fit on cannot be read; remove it from the table: {error}") from error
        found = clean.shape[2], 8 * clean.dtype.itemsize
        if kind not in (None, found):
            raise UsageError(
                f"{pair.clean_path} has {found[0]} channel(s) of {found[1]} bits, unlike the pairs before; "
                "a noise model is fitted on pairs of one kind"
            )
        kind = found
        yield pair.condition, noisy, clean


def _robust_bins(
    index: NDArray[np.int64], value: np.ndarray, noise: NDArray[np.float64], clipped: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Pixels, mean clean value, robust variance and clipped part of each bin, [BINS, 4], of flat arrays."""
    pixels = np.bincount(index, minlength=BINS)
    safe = np.maximum(pixels, 1)
    keep = np.ones(len(index), bool)
    for round_ in range(ROUNDS + 1):
        kept, values = index[keep], noise[keep]
        count = np.maximum(np.bincount(kept, minlength=BINS), 1)
        mean = np.bincount(kept, values, BINS) / count
        variance = np.maximum(np.bincount(kept, values**2, BINS) / count - mean**2, 0.0)
        if round_ > 0:
            variance /= KEPT_VARIANCE
        keep = np.abs(noise - mean[index]) <= OUTLIER * np.sqrt(variance)[index]
    # what an edge that moved has set to white is an outlier; what is clipped lies within the noise's spread
    kept_clipped = np.bincount(index[keep], clipped[keep], BINS) / safe
    return np.stack([pixels, np.bincount(index, value, BINS) / safe, variance, kept_clipped], axis=1)


def _variance_at_ends(moments: NDArray[np.float64], largest: int) -> tuple[float, float]:
    """Variance at clean 0 and `largest` by weighted non-negative least squares; moments [BINS, 4]."""
    enough = moments[:, 0] >= min(MIN_PIXELS_PER_BIN, moments[:, 0].max())
    count, value, total, squares = moments[enough].T
    variance = squares / count - (total / count) ** 2
    position = value / count / largest
    return _non_negative(np.stack([1 - position, position], axis=1), variance, count)


def _rising_line(bins: NDArray[np.float64]) -> tuple[float, float]:
    """Gain and offset of the variance by weighted non-negative least squares; bins [n, 4] of `_robust_bins`."""
    bins = bins[bins[:, 0] >= min(MIN_PIXELS_PER_BIN, bins[:, 0].max())]
    whole = bins[:, 3] <= MAX_CLIPPED
    # a line needs two points
    count, value, variance, _ = bins[whole if whole.sum() > 1 else slice(None)].T
    columns = np.stack([value, np.ones_like(value)], axis=1)
    expected = variance
    # a variance is known to its own square over the pixels; that of the fit is steadier than the bin's own
    for _ in range(ROUNDS):
        weights = count / np.maximum(expected, ROUNDING_VARIANCE) ** 2
        gain, offset = _non_negative(columns, variance, weights)
        expected = gain * value + offset
    return gain, offset


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
