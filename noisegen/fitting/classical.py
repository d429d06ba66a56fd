"""Fits the two classical noise models, the baselines of every comparison, on real pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from noisegen.conditions import Condition, Vocabulary
from noisegen.datasets.pairs import Pair, load_pair
from noisegen.errors import InputError, UsageError
from noisegen.models.classical import Awgn, Heteroscedastic
from noisegen.models.protocol import NoiseModel

__all__ = ["fit_awgn", "fit_baselines", "fit_heteroscedastic"]

BINS = 32
# A bin with fewer pixels says little about a variance; often they are edges that moved between the shots.
MIN_PIXELS_PER_BIN = 64


# (channels, bit depth, per condition [C, BINS, 4]: pixels, sums of clean, noise and squared noise)
_Statistics = tuple[int, int, dict[Condition, NDArray[np.float64]]]


def fit_awgn(pairs: Sequence[Pair]) -> Awgn:
    """Fits `Awgn`: the standard deviation of noisy - clean over all pixels of a condition.

    Args:
        pairs: read one at a time; all of one number of channels and bit depth.

    Raises:
        UsageError: no pairs, unlike pairs, or one that cannot be decoded.
    """
    return _awgn(_statistics(pairs))


def _awgn(statistics: _Statistics) -> Awgn:
    channels, bit_depth, tables = statistics
    std = {}
    for condition, table in tables.items():
        count, _, total, squares = table.sum(axis=1).T
        std[condition] = tuple(np.sqrt(squares / count - (total / count) ** 2).tolist())
    return Awgn(Vocabulary.of(tables), channels, bit_depth, std)


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
    channels, bit_depth, tables = statistics
    dark, bright = {}, {}
    for condition, table in tables.items():
        ends = [_fit_line(channel, 2**bit_depth - 1) for channel in table]
        dark[condition] = tuple(end[0] for end in ends)
        bright[condition] = tuple(end[1] for end in ends)
    return Heteroscedastic(Vocabulary.of(tables), channels, bit_depth, dark, bright)


def fit_baselines(names: Sequence[str], pairs: Sequence[Pair]) -> dict[str, NoiseModel]:
    """Fits the models of the given names, ``"awgn"`` or ``"heteroscedastic"``, in this order.

    Raises:
        UsageError: as the fits, or an unknown name.
    """
    fits: dict[str, Callable[[_Statistics], NoiseModel]] = {
        "awgn": _awgn,
        "heteroscedastic": _heteroscedastic,
    }
    unknown = [name for name in names if name not in fits]
    if unknown:
        raise UsageError(f"unknown baseline {', '.join(unknown)}; there are: {', '.join(fits)}")
    statistics = _statistics(pairs)
    return {name: fits[name](statistics) for name in names}


def _statistics(pairs: Iterable[Pair]) -> _Statistics:
    kind: tuple[int, int] | None = None
    tables: dict[Condition, NDArray[np.float64]] = {}
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
        table = tables.setdefault(pair.condition, np.zeros((found[0], BINS, 4)))
        for channel in range(found[0]):
            value = clean[..., channel].ravel()
            noise = noisy[..., channel].ravel() - value.astype(np.float64)
            index = value.astype(np.int64) * BINS >> found[1]
            for column, weights in enumerate((None, value, noise, noise**2)):
                table[channel, :, column] += np.bincount(index, weights, BINS)
    if kind is None:
        raise UsageError("there are no pairs to fit a noise model on")
    return *kind, tables


def _fit_line(statistics: NDArray[np.float64], largest: int) -> tuple[float, float]:
    """Variance at clean 0 and `largest` by weighted non-negative least squares; statistics [BINS, 4]."""
    enough = statistics[:, 0] >= min(MIN_PIXELS_PER_BIN, statistics[:, 0].max())
    count, value, total, squares = statistics[enough].T
    variance = squares / count - (total / count) ** 2
    position = value / count / largest
    columns = np.stack([1 - position, position], axis=1) * np.sqrt(count)[:, None]
    target = variance * np.sqrt(count)
    # least squares of smallest norm: a single bin leaves the slope open
    both = np.linalg.lstsq(columns, target, rcond=None)[0]
    if (both >= 0).all():
        return float(both[0]), float(both[1])
    # with two unknowns the optimum otherwise lies where one of them is 0
    alone = np.maximum(columns.T @ target / np.maximum((columns**2).sum(axis=0), 1e-300), 0)
    errors = [np.sum((columns[:, k] * alone[k] - target) ** 2) for k in (0, 1)]
    best = int(np.argmin(errors))
    return (float(alone[0]), 0.0) if best == 0 else (0.0, float(alone[1]))
