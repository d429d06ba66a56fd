"""What pairs say about the level of noise: its moments in bins of the clean value, without outliers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from noisegen.conditions import Condition
from noisegen.errors import UsageError

__all__ = [
    "BINS",
    "MIN_PIXELS",
    "MIN_VARIANCE",
    "NoiseTable",
    "Picture",
    "ToneBins",
    "measure",
    "noise_tables",
    "stack",
]

BINS = 32
# A bin with fewer pixels says little about a variance; often they are edges that moved between the shots.
MIN_PIXELS = 64
# The least variance that is divided by: that of rounding to whole levels.
MIN_VARIANCE = 1 / 12

# The core of the noise lies within so many standard deviations, ...
CORE = 3.0
# ... which cuts a normal distribution's variance down to this part.
CORE_VARIANCE = 0.97334
CORE_ROUNDS = 5
# What lies further out is no noise. Of Laplacian noise it would be 1 % of the variance, of normal noise nothing.
LIMIT = 6.0
LIMIT_ROUNDS = 3

Picture = tuple[Condition, np.ndarray, np.ndarray]
"""(condition, noisy, clean), both uint8 or uint16 [H, W, C]."""


@dataclass(frozen=True)
class ToneBins:
    """Noise (noisy - clean) in `BINS` bins of the clean value; each field float64 [..., BINS], in pixel values.

    Attributes:
        pixels, clean: number of pixels and the sum of their clean values.
        kept, noise, squares: number of pixels that are no outliers, sums of their noise and of its square. An outlier
            lies further than 6 standard deviations from the mean: such are edges that moved between the two shots,
            while heavy tails are noise. The standard deviation starts as the core's and is widened in three rounds.
        core: variance of the noise's core, what lies within 3 standard deviations; found in five rounds and scaled
            up by what a normal distribution loses by that.
        clipped: part of the pixels that are in the core, and black or white in the noisy picture.
    """

    pixels: NDArray[np.float64]
    clean: NDArray[np.float64]
    kept: NDArray[np.float64]
    noise: NDArray[np.float64]
    squares: NDArray[np.float64]
    core: NDArray[np.float64]
    clipped: NDArray[np.float64]

    def mean(self) -> NDArray[np.float64]:
        """Mean of the noise that is kept."""
        return self.noise / np.maximum(self.kept, 1)

    def variance(self) -> NDArray[np.float64]:
        """Variance of the noise that is kept, around its own mean."""
        return np.maximum(self.squares / np.maximum(self.kept, 1) - self.mean() ** 2, 0.0)


class NoiseTable:
    """How often each noise occurs at each tone, in one channel of one pair.

    Args:
        noisy, clean: uint8 or uint16 [H, W], values below 2**bit_depth.

    Attributes:
        noise: float64 [N], each noise there can be, from -(2**bit_depth - 1) to 2**bit_depth - 1.
        cell: int64 [H, W], for each pixel the index of its bin and noise in a table [BINS, N], flat.
        bins: fields [BINS].
    """

    def __init__(self, noisy: np.ndarray, clean: np.ndarray, bit_depth: int) -> None:
        largest = 2**bit_depth - 1
        self.noise = np.arange(-largest, largest + 1, dtype=np.float64)
        noisy, clean = np.ascontiguousarray(noisy), np.ascontiguousarray(clean)
        bins = clean >> (bit_depth - BINS.bit_length() + 1)
        self.cell = np.multiply(bins, len(self.noise), dtype=np.int64)
        self.cell += noisy
        self.cell -= clean
        self.cell += largest
        counts = self._count(self.cell)
        clipped = self._count(self.cell[(noisy == 0) | (noisy == largest)])
        sum_of_clean = np.bincount(bins.ravel(), clean.ravel(), BINS).astype(np.float64)
        self.bins = _tone_bins(counts, clipped, sum_of_clean, self.noise)

    def _count(self, cells: NDArray[np.int64]) -> NDArray[np.float64]:
        size = BINS * len(self.noise)
        return np.bincount(cells.ravel(), minlength=size).reshape(BINS, -1).astype(np.float64)

    def within(self) -> NDArray[np.bool_]:
        """Which noise of each bin is no outlier, [BINS, N]."""
        return _within(self.noise, self.bins.mean(), self.bins.variance(), LIMIT)


def _tone_bins(
    counts: NDArray[np.float64],
    clipped: NDArray[np.float64],
    clean: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> ToneBins:
    """From the counts [BINS, N] of all pixels and of the clipped ones."""
    seen = counts.any(axis=0)  # of 16 bits a small part
    counts, clipped, noise = counts[:, seen], clipped[:, seen], noise[seen]
    powers = np.stack([np.ones_like(noise), noise, noise**2], axis=1)

    def moments(keep: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
        count, total, squares = ((counts * keep) @ powers).T
        mean = total / np.maximum(count, 1)
        return count, total, squares, mean, np.maximum(squares / np.maximum(count, 1) - mean**2, 0.0)

    everything = np.ones(counts.shape, bool)
    *_, mean, core = moments(everything)
    for _ in range(CORE_ROUNDS):
        inside = _within(noise, mean, core, CORE)
        *_, mean, core = moments(inside)
        core /= CORE_VARIANCE
    inside = _within(noise, mean, core, CORE)
    variance = np.maximum(core, MIN_VARIANCE)
    for _ in range(LIMIT_ROUNDS):
        kept, total, squares, mean, variance = moments(_within(noise, mean, variance, LIMIT))
    pixels = counts.sum(axis=1)
    # what an edge that moved has set to white is an outlier; what is clipped lies within the noise's spread
    share = (clipped * inside).sum(axis=1) / np.maximum(pixels, 1)
    return ToneBins(pixels, clean, kept, total, squares, core, share)


def _within(
    noise: NDArray[np.float64], mean: NDArray[np.float64], variance: NDArray[np.float64], limit: float
) -> NDArray[np.bool_]:
    return np.abs(noise - mean[:, None]) <= limit * np.sqrt(variance)[:, None]


def noise_tables(
    pictures: Iterable[Picture], bit_depth: int
) -> Iterator[tuple[Condition, tuple[NoiseTable, ...]]]:
    """The noise of each pair, a table for each channel.

    Raises:
        UsageError: there are no pairs.
    """
    condition = None
    for condition, noisy, clean in pictures:
        channels = range(clean.shape[2])
        yield condition, tuple(NoiseTable(noisy[..., k], clean[..., k], bit_depth) for k in channels)
    if condition is None:
        raise UsageError("there are no pairs to fit a noise model on")


def measure(pictures: Iterable[Picture], bit_depth: int) -> dict[Condition, ToneBins]:
    """The noise of all pairs of each condition, fields [pairs, C, BINS].

    Raises:
        UsageError: there are no pairs.
    """
    found: dict[Condition, list[tuple[ToneBins, ...]]] = {}
    for condition, tables in noise_tables(pictures, bit_depth):
        found.setdefault(condition, []).append(tuple(table.bins for table in tables))
    return {condition: stack(pairs) for condition, pairs in found.items()}


def stack(pairs: Sequence[Sequence[ToneBins]]) -> ToneBins:
    """Bins [BINS] of each channel of each pair as one, fields [pairs, C, BINS]."""
    return ToneBins(
        *(
            np.stack([np.stack([getattr(channel, field.name) for channel in pair]) for pair in pairs])
            for field in fields(ToneBins)
        )
    )
