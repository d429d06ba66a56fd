"""What the plots of noise scores share: colours, panels, pages, and how a figure becomes a file."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from noisegen.conditions import Condition
from noisegen.evaluation.noise_score import FLOOR, ConditionScore, NoiseDetail, Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "METHODS_ABREAST",
    "REAL",
    "ROWS_PER_PAGE",
    "Panel",
    "abreast",
    "figure_png",
    "heading",
    "label_text",
    "legend",
    "line_style",
    "new_figure",
    "pages",
    "panels",
    "title_of",
]

ROWS_PER_PAGE = 8
# So many methods can be told apart in one panel, and stand beside each other on one screen.
METHODS_ABREAST = 6
DPI = 110
LONGEST_LABEL = 60
REAL: dict[str, Any] = {"color": "black", "linestyle": "-", "linewidth": 1.8, "marker": "o"}
# Okabe and Ito's palette, which people with any kind of colour blindness can tell apart; lines differ in dashes too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
MARKERS = ("s", "^", "v", "D", "P", "X")

# A condition, and the detail of those of a group of methods that cover it.
Panel = tuple[ConditionScore, dict[str, NoiseDetail]]


def panels(scores: Scores) -> list[Panel]:
    """What there is to draw: for every condition one panel, or more where there are many methods (`abreast`)."""
    methods = [name for name in scores if name != FLOOR]
    found: list[Panel] = []
    for index, row in enumerate(scores[methods[0]]):
        for names in abreast(methods):
            rows = ((name, scores[name][index].score) for name in names)
            details = {name: score.detail for name, score in rows if score and score.detail}
            if details:
                found.append((row, details))
    return found


def abreast(methods: Sequence[str]) -> list[Sequence[str]]:
    """The methods in groups of about one size, none larger than `METHODS_ABREAST`."""
    groups = -(-len(methods) // METHODS_ABREAST)
    size = -(-len(methods) // max(1, groups)) or 1
    return [methods[start : start + size] for start in range(0, len(methods), size)]


def pages(items: Sequence[Any], size: int = ROWS_PER_PAGE) -> Iterator[Sequence[Any]]:
    """As many at a time as a picture has room for."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def title_of(dataset: str, condition: Condition) -> str:
    """Names a condition above its panel."""
    return label_text(f"{dataset} {condition.camera} ISO {condition.iso}".strip())


def label_text(text: str) -> str:
    """Text from outside as it may stand in a figure: of one line, not endless, and nothing in it is mathematics."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    short = plain if len(plain) <= LONGEST_LABEL else plain[: LONGEST_LABEL - 1] + "…"
    return short.replace("$", r"\$")


def line_style(index: int) -> dict[str, Any]:
    """How the lines and marks of the method with this number look; the first 36 differ."""
    shifted = index + index // len(COLOURS)
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[shifted % len(DASHES)],
        "linewidth": 1.4,
        "marker": MARKERS[shifted % len(MARKERS)],
    }


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a grid of axes, each ``width`` x ``height`` inches; no global state is touched."""
    from matplotlib.figure import Figure

    figure = Figure((width * columns, height * rows + 0.7), DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for line in axes:
        for ax in line:
            ax.tick_params(labelsize=8)
            ax.grid(True, color="0.9", linewidth=0.6)
            ax.set_axisbelow(True)
    return figure, [list(line) for line in axes]


def legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend for all panels, above them, in as many rows as it takes."""
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    widest = 0.7 + 0.085 * max(map(len, entries))  # inches
    columns = max(1, min(len(entries), int(figure.get_figwidth() / widest)))
    labels, handles = list(entries), list(entries.values())
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, fontsize=9, frameon=False)


def heading(figure: Figure, text: str) -> None:
    """A title for the whole figure, in as many lines as it takes."""
    figure.suptitle(textwrap.fill(text, max(20, int(12 * figure.get_figwidth()))), fontsize=10)


def figure_png(figure: Figure) -> bytes:
    """The figure as a PNG file, drawn by Agg; the same figure gives the same bytes."""
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()
