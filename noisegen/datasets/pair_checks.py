"""Finds pairs whose difference is more than noise: misaligned, drifting in brightness, saturated, unreadable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisegen.datasets.pairs import Pair, PairRow, load_pair
from noisegen.datasets.registration import measure_shift
from noisegen.errors import InputError

__all__ = [
    "CheckLimits",
    "PairCheck",
    "PairMeasures",
    "PairProblem",
    "check_pair",
    "check_pairs",
    "measure_drift",
    "measure_saturation",
]

# A shift is told from a smaller one by this many standard errors.
CERTAINTY = 3.0
AGREEMENT = 0.75  # a shift has 1; dark seams along the edges of two phone blocks had 0.2 and 0.67
DRIFT_CELLS = 8
SMALLEST_CELL = 32
# A tone curve x ** (1 / g) moves the mean of noise by (1 - g) / 2 * variance / clean, -0.6 of it for g = 2.2;
# the S-shaped curves of phones bend more.
CURVE_BIAS = 1.0
UNKNOWN = float("nan")


@dataclass(frozen=True)
class CheckLimits:
    """Above these a pair is bad.

    Attributes:
        shift: pixels.
        drift: 8-bit grey levels.
        saturated: fraction of the clean values.
    """

    shift: float = 0.5
    drift: float = 1.0
    saturated: float = 0.1


@dataclass(frozen=True)
class PairProblem:
    """One reason against a pair.

    Attributes:
        reason: ``misaligned``, ``drifting`` or ``saturated``, or of a row that is no pair: ``unreadable``,
            ``size_mismatch``, ``format_mismatch`` (channels or bit depth) or ``bad_row``.
        value, limit: what was measured and what is allowed; nan for a row that is no pair.
        message: the same in words.
    """

    reason: str
    value: float
    limit: float
    message: str


@dataclass(frozen=True)
class PairMeasures:
    """What was measured; nan where it cannot be told.

    Attributes:
        shift_y, shift_x, shift_error: pixels, see `registration.Shift`.
        drift, drift_error: 8-bit grey levels, see `measure_drift`.
        saturated: fraction, see `measure_saturation`.
    """

    shift_y: float
    shift_x: float
    shift_error: float
    drift: float
    drift_error: float
    saturated: float


@dataclass(frozen=True)
class PairCheck:
    """A row of a table of pairs with what was found.

    Attributes:
        row: the row as read, its number and text.
        pair: None where the row is no pair.
        measures: None where the pictures cannot be compared.
        problems: empty for a good pair.
    """

    row: PairRow
    pair: Pair | None
    measures: PairMeasures | None
    problems: tuple[PairProblem, ...]


def check_pairs(
    rows: Iterable[PairRow],
    *,
    limits: CheckLimits | None = None,
    bit_depth: int | None = None,
    advance: Callable[[], object] = lambda: None,
) -> list[PairCheck]:
    """Checks the rows of a table of pairs, see `pairs.read_rows`; a bad row never stops the others.

    Args:
        rows: read and checked one at a time.
        limits: what is allowed.
        bit_depth: of 16-bit files that hold fewer bits; default: of the files.
        advance: called after each row.
    """
    checks = []
    for row in rows:
        checks.append(_check_row(row, limits or CheckLimits(), bit_depth))
        advance()
    return checks


def check_pair(
    noisy: np.ndarray, clean: np.ndarray, bit_depth: int, limits: CheckLimits | None = None
) -> tuple[PairMeasures, tuple[PairProblem, ...]]:
    """Measures a pair and holds it against the limits.

    A pair is misaligned where its shift exceeds the limit by more than three standard errors and the
    difference along the edges is the one that a shift makes. It is drifting where the drift is above its
    limit and above its own sampling error. So a flat or very noisy picture that does not tell is not held to
    be bad.

    Args:
        noisy, clean: [H, W, C] uint8 or uint16 of one size.
        bit_depth: bits of their values, 8 to 16.
        limits: what is allowed.
    """
    limits = limits or CheckLimits()
    levels = 2.0 ** (bit_depth - 8)
    noisy_levels, clean_levels = (image.astype(np.float32) / np.float32(levels) for image in (noisy, clean))
    shift = measure_shift(noisy_levels, clean_levels)
    drift, error = measure_drift(noisy_levels, clean_levels)
    saturated = measure_saturation(clean, bit_depth)
    problems = []
    if shift.length - CERTAINTY * shift.error > limits.shift and shift.agreement > AGREEMENT:
        problems.append(
            PairProblem(
                "misaligned",
                shift.length,
                limits.shift,
                f"shifted by ({shift.y:+.2f}, {shift.x:+.2f}) pixels, +- {shift.error:.2f}; "
                f"{limits.shift:g} are allowed",
            )
        )
    if drift > max(limits.drift, error):
        problems.append(
            PairProblem(
                "drifting",
                drift,
                limits.drift,
                f"brightness differs by {drift:.2f} grey levels over large areas, which noise does not "
                f"explain (+- {error:.2f}); {limits.drift:g} are allowed",
            )
        )
    if saturated > limits.saturated:
        problems.append(
            PairProblem(
                "saturated",
                saturated,
                limits.saturated,
                f"{saturated:.1%} of the clean values are black or white, where noise is cut off; "
                f"{limits.saturated:.1%} are allowed",
            )
        )
    return PairMeasures(shift.y, shift.x, shift.error, drift, error, saturated), tuple(problems)


def measure_drift(noisy: np.ndarray, clean: np.ndarray) -> tuple[float, float]:
    """Slow brightness difference that noise does not explain, in the units of the pictures.

    The mean of noisy - clean is taken in square cells, about 8 along the shorter side and never smaller than
    32 pixels. Not counted of it is

    - what a tone curve does to the noise's mean: curved as 1/gamma it moves the mean by about
      -0.6 * variance / clean for gamma 2.2, and clipping at 0 or the maximum moves it as well. In each cell a
      mean of up to variance / clean, or the noise's deviation where clean lies within two of them of an
      end, is therefore taken for noise;
    - what sampling leaves: noise averages out over a cell only so far. Its error is taken from the scatter
      of sixteen parts of the cell, so correlated noise is accounted for.

    What is left, as a root mean square over the cells, is the drift. So a constant offset counts, too:
    it is a change of exposure or light between the shots. In dark or very noisy pictures the allowance is
    large and a drift below it stays unseen; noise that is correlated over more than a quarter of a cell,
    banding for one, is taken for drift.

    Args:
        noisy, clean: float [H, W, C] in 8-bit grey levels.

    Returns:
        (drift, its sampling error), of the worst channel; nan for a side below 32 pixels.
    """
    height, width = clean.shape[:2]
    side = max(min(height, width) // DRIFT_CELLS, SMALLEST_CELL) // 4 * 4
    if side > min(height, width):
        return UNKNOWN, UNKNOWN
    rows, columns = height // side, width // side
    noise = noisy - clean
    parts = _cell_means(noise, side // 4, 4 * rows, 4 * columns)
    parts = parts.reshape(rows, 4, columns, 4, -1)
    mean = parts.mean(axis=(1, 3))
    squared_error = parts.var(axis=(1, 3), ddof=1) / 16
    variance = _cell_means(noise**2, side, rows, columns) - mean**2
    level = _cell_means(clean, side, rows, columns)
    deviation = np.sqrt(np.maximum(variance, 0))
    allowance = CURVE_BIAS * variance / np.maximum(level, 1)
    near_an_end = np.minimum(level, 255 - level) < 2 * deviation
    allowance = np.where(near_an_end, np.maximum(allowance, deviation), allowance)
    unexplained = np.maximum(np.abs(mean) - allowance, 0)
    sampling = squared_error.mean(axis=(0, 1))
    power = (unexplained**2).mean(axis=(0, 1)) - sampling
    worst = int(np.argmax(power))
    return math.sqrt(max(float(power[worst]), 0.0)), math.sqrt(float(sampling[worst]))


def measure_saturation(clean: np.ndarray, bit_depth: int) -> float:
    """Fraction of the clean values, all channels together, that are 0 or the maximum."""
    return float(np.mean((clean == 0) | (clean >= 2**bit_depth - 1)))


def _cell_means(values: np.ndarray, side: int, rows: int, columns: int) -> NDArray[np.float64]:
    """[H, W, C] -> [rows, columns, C]; what is left over at the right and the bottom is not used."""
    used = values[: rows * side, : columns * side]
    return used.reshape(rows, side, columns, side, -1).mean(axis=(1, 3), dtype=np.float64)


def _check_row(row: PairRow, limits: CheckLimits, bit_depth: int | None) -> PairCheck:
    if row.pair is None:
        problems = tuple(
            PairProblem(problem.reason, UNKNOWN, UNKNOWN, problem.message) for problem in row.problems
        )
        return PairCheck(row, None, None, problems)
    try:
        noisy, clean = load_pair(row.pair)
    except InputError as error:
        return PairCheck(row, None, None, (PairProblem("unreadable", UNKNOWN, UNKNOWN, str(error)),))
    depth = min(bit_depth or 16, 8 * clean.dtype.itemsize)
    return PairCheck(row, row.pair, *check_pair(noisy, clean, depth, limits))
