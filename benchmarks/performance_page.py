"""Tables and plots of benchmarks, and their places in docs/performance.md."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Row", "machine", "plot", "table", "update_page"]


@dataclass(frozen=True)
class Row:
    """A contestant's line.

    Attributes:
        title: what ran.
        rate: megapixels per second.
        ratio: to the naive loop of the same run; None where there is none.
        limit: how that compares with what limits it.
        peak_bytes: of memory.
    """

    title: str
    rate: float
    ratio: float | None
    limit: str
    peak_bytes: int


def machine() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = ["| | MP/s | naive loops | against its limit | peak memory |", "|---|---|---|---|---|"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.1f}"
        lines.append(
            f"| {row.title} | {row.rate:.3g} | {ratio} | {row.limit} | {row.peak_bytes / 1e9:.1f} GB |"
        )
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Row], path: Path) -> None:
    """Bars of the rates on a logarithmic axis, with the ratios beside them."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "noisegen"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 0.45 * len(rows) + 0.9), layout="constrained")
    titles = [row.title for row in rows]
    colours = [
        "#8a8a8a" if "naive" in title else "#c9a227" if "encoding" in title else "#2b6cb0" for title in titles
    ]
    axes.barh(titles, [row.rate for row in rows], color=colours)
    axes.set_xscale("log")
    axes.set_xlim(right=4 * max(row.rate for row in rows))
    axes.invert_yaxis()
    for index, row in enumerate(rows):
        ratio = "" if row.ratio is None else f"  ({row.ratio:.1f}x)"
        axes.text(row.rate, index, f" {row.rate:.3g}{ratio}", va="center")
    axes.set_xlabel("megapixels per second, logarithmic (times the naive loop)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def update_page(folder: Path, name: str, rows: Sequence[Row], record: dict[str, Any]) -> None:
    """Draws FOLDER/NAME.svg and puts the table between the marks of that name into the page FOLDER.md."""
    plot(rows, folder / f"{name}.svg")
    page = folder.with_suffix(".md")
    kept = {"cores": "cores", "kernels": "kernels", "torch": "PyTorch", "precision": "precision"}
    facts = ", ".join([record["machine"], *(f"{label} {record[key]}" for key, label in kept.items())]) + ":"
    text = f"<!-- {name} -->\n{facts}\n\n{table(rows)}<!-- end {name} -->"
    old = page.read_text()
    new, count = re.subn(rf"<!-- {name} -->.*?<!-- end {name} -->", lambda _: text, old, flags=re.S)
    if not count:
        raise SystemExit(f"{page} has no place for this table: <!-- {name} --> and <!-- end {name} -->")
    page.write_text(new)
