"""One picture of all methods: a row each, how they score and what they cost side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from noisegen.evaluation.noise_means import ALL, NoiseReport, mean_scores, two_sample_accuracy
from noisegen.evaluation.noise_score import FLOOR, metric_value
from noisegen.evaluation.plot_style import COLOURS, heading, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["overview_figures"]

ERRORS = ("kld_nm", "acf_error", "spectrum_error_db", "std_error")

# Where the numbers of a column span more than this factor, its ticks are powers of ten alone.
CROWDED = 200


@dataclass(frozen=True)
class _Column:
    """A number of each method.

    Attributes:
        title: what it is.
        values: by method, the floor among them.
        conditions: by method, the number at each condition.
        logarithmic: whether ratios matter.
    """

    title: str
    values: Mapping[str, float]
    conditions: Mapping[str, list[float]] = field(default_factory=dict)
    logarithmic: bool = True


def overview_figures(report: NoiseReport) -> Iterator[Figure]:
    """A dot for the mean of each method in each number, faint ones for the conditions, a line at the noise floor.

    Methods stand in the order of their mean kld_nm; nothing where no condition is covered by all of them.
    """
    columns = _columns(report)
    if not columns:
        return
    methods = sorted((name for name in columns[0].values if name != FLOOR), key=columns[0].values.__getitem__)
    figure, [axes] = new_figure(1, len(columns), 2.3, 0.3 * len(methods) + 0.7)
    for ax, column in zip(axes, columns, strict=True):
        _draw(ax, column, methods)
        ax.set_yticks(range(len(methods)), methods if ax is axes[0] else [])
        ax.set_ylim(len(methods) - 0.5, -0.5)
    heading(
        figure,
        "Dots: means over camera and ISO; faint: each camera and ISO; dashed: real noise against real. Errors: the "
        f"further left the better. MP/s: {report.drawn_on}; the further right the better.",
    )
    yield figure


def _columns(report: NoiseReport) -> list[_Column]:
    means = mean_scores(report.scores)[-1].values
    columns = []
    for name in ERRORS:
        if name not in means:
            continue
        conditions = {
            method: [value for row in rows if (value := metric_value(row.score, name)) is not None]
            for method, rows in report.scores.items()
        }
        columns.append(_Column(name, means[name], conditions))
    tested = {name: two_sample_accuracy(test, ALL) for name, test in report.two_sample.items()}
    costs = report.costs.items()
    others = (
        _Column("two-sample accuracy", _known(tested), logarithmic=False),
        _Column("parameters", _known({name: cost.parameters for name, cost in costs})),
        _Column("MP/s", _known({name: cost.megapixels_per_second for name, cost in costs})),
    )
    return [*columns, *(column for column in others if column.values)] if columns else []


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _draw(ax: Axes, column: _Column, methods: list[str]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for place, method in enumerate(methods):
        faint = column.conditions.get(method, [])
        ax.plot(faint, [place] * len(faint), "o", color=COLOURS[5], markersize=3.5, alpha=0.6)
        if method in column.values:
            ax.plot(column.values[method], place, "o", color=COLOURS[0], markersize=7)
    if FLOOR in column.values:
        ax.axvline(column.values[FLOOR], color="0.4", linestyle="--", linewidth=1)
    if column.logarithmic:
        ax.set_xscale("log")
        low, high = ax.get_xlim()
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high / low < CROWDED else (1.0,)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_title(column.title, fontsize=10)


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
