"""A picture of a training: its losses and validation scores over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noisegen.training.journal import read_journal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves_figure", "write_curves"]


def write_curves(
    log: Path,
    picture: Path,
    *,
    losses: Mapping[str, str],
    scores: Sequence[str],
    best: int | None,
    from_zero: bool = False,
) -> None:
    """Draws `log` (see `noisegen.training.journal`) as the PNG file `picture`, whole or not at all.

    Args:
        log: of the training.
        picture: to write.
        losses: name in the log -> title of its plot.
        scores: names of the validation's scores, which share one plot.
        best: steps after which the validation was best, marked in the picture.
        from_zero: whether the plot of the scores begins at 0.
    """
    figure = curves_figure(read_journal(log), losses=losses, scores=scores, best=best, from_zero=from_zero)
    if figure is None:
        return
    temporary = picture.with_name(picture.name + ".tmp")
    figure.savefig(temporary, format="png")
    temporary.replace(picture)


def curves_figure(
    values: Mapping[str, Sequence[tuple[int, float]]],
    *,
    losses: Mapping[str, str],
    scores: Sequence[str],
    best: int | None,
    from_zero: bool = False,
) -> Figure | None:
    """The curves of a log, see `write_curves`; None where it has none of them."""
    from matplotlib.figure import Figure

    drawn = [name for name in losses if name in values]
    shown = [name for name in scores if name in values]
    plots = len(drawn) + bool(shown)
    if not plots:
        return None
    columns = min(plots, 2)
    figure = Figure(figsize=(6.2 * columns, 2.9 * -(-plots // columns)), layout="constrained", dpi=110)
    for index, name in enumerate(drawn, start=1):
        axes = figure.add_subplot(-(-plots // columns), columns, index)
        steps, raw = (np.array(column) for column in zip(*values[name], strict=True))
        axes.plot(steps, raw, color="tab:blue", alpha=0.25, linewidth=0.8)
        axes.plot(steps, _smooth(raw), color="tab:blue", linewidth=1.4)
        # The first values of a loss can be far from all others and would flatten the rest.
        low, high = np.percentile(raw[len(raw) // 20 :], [0.5, 99.5])
        if high > low:
            axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
        axes.set_title(losses[name], fontsize=9)
        axes.grid(alpha=0.3)
    if shown:
        axes = figure.add_subplot(-(-plots // columns), columns, plots)
        for name in shown:
            steps, curve = (np.array(column) for column in zip(*values[name], strict=True))
            axes.plot(steps + 1, curve, marker=".", linewidth=1.2, label=name)
        if best is not None:
            axes.axvline(best, color="black", linestyle=":", linewidth=1, label=f"best: step {best}")
        if from_zero:
            axes.set_ylim(bottom=0)
        axes.set_title("validation, mean over conditions", fontsize=9)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    last = max(steps[-1][0] for steps in values.values()) + 1
    for axes in figure.axes:
        axes.set_xlim(0, last * 1.02)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
    return figure


def _smooth(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Running mean over up to 15 values, over fewer at the ends and in short logs."""
    kernel = np.ones(min(15, 1 + len(values) // 8))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
