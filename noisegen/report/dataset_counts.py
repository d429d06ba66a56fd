"""How a dataset's tiles are spread over cameras, ISO settings and splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from noisegen.evaluation.plot_style import COLOURS, label_text, legend, line_style, new_figure
from noisegen.report.dataset_facts import DatasetFacts
from noisegen.webpages.markup import details, fragment, paragraph, table
from noisegen.webpages.page import Section
from noisegen.webpages.pictures import chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["condition_section", "split_section"]

# More are not told apart in a chart; in a table they are not read.
CHARTED_CAMERAS, LISTED, OPEN = 12, 400, 40


def condition_section(found: DatasetFacts) -> Section:
    """Tiles and noise by camera and ISO, as a table and a chart."""
    conditions: Sequence[Mapping[str, Any]] = found.table["conditions"]
    if not conditions:
        return Section("Cameras and ISO", [])
    tiles = found.table["tiles"]
    listed = table(
        ["camera", "ISO", "tiles", "share, %", "noise std"],
        (
            [c["camera"], str(c["iso"]), c["tiles"], 100 * c["tiles"] / tiles, float(c["noise_std"])]
            for c in conditions[:LISTED]
        ),
        caption="Tiles by camera and ISO; noise std in grey levels of the tiles' depth, over all tiles",
    )
    content = [
        chart(_figure(conditions), _words(conditions)),
        listed if len(conditions) <= OPEN else details(f"All {len(conditions)} settings", [listed]),
    ]
    if len(conditions) > LISTED:
        content.append(paragraph("{} more are in dataset.json.", len(conditions) - LISTED))
    return Section("Cameras and ISO", content)


def split_section(found: DatasetFacts) -> Section:
    """Tiles by split; nothing where the dataset is not split."""
    split = found.run["config"]["split"]
    shares = split if isinstance(split, dict) else {}  # a copy has the names only
    total = sum(found.splits.values())
    if not total:
        return Section("Splits", [])
    rows = [
        [name, tiles, 100 * tiles / total, 100 * float(shares[name]) if name in shares else None]
        for name, tiles in found.splits.items()
    ]
    return Section(
        "Splits",
        [
            table(["split", "tiles", "share, %", "asked for, %"], rows, caption="Tiles by split"),
            fragment('<p class="quiet">All tiles of a photograph are in one split.</p>'),
        ],
    )


def _words(conditions: Sequence[Mapping[str, Any]]) -> str:
    by_camera: dict[str, int] = {}
    for condition in conditions:
        by_camera[condition["camera"]] = by_camera.get(condition["camera"], 0) + condition["tiles"]
    most = sorted(by_camera.items(), key=lambda item: -item[1])[:CHARTED_CAMERAS]
    stds = [condition["noise_std"] for condition in conditions]
    return (
        f"Tiles and noise std by ISO for each camera. Tiles: {', '.join(f'{name} {n}' for name, n in most)}. "
        f"Noise std from {min(stds):.1f} to {max(stds):.1f} grey levels."
    )


def _figure(conditions: Sequence[Mapping[str, Any]]) -> Figure:
    """Left the tiles of each camera and ISO, right the noise against the ISO; a colour and mark for each camera."""
    from matplotlib.ticker import NullLocator

    cameras = sorted({condition["camera"] for condition in conditions})[:CHARTED_CAMERAS]
    shown = [condition for condition in conditions if condition["camera"] in cameras]
    figure, [[left, right]] = new_figure(1, 2, 5.6, 2.9)
    for place, camera in enumerate(cameras):
        style = line_style(place)
        bars = [at for at, condition in enumerate(shown) if condition["camera"] == camera]
        own = [shown[at] for at in bars]
        hatch = "" if place < len(COLOURS) else "//"
        left.bar(bars, [c["tiles"] for c in own], 0.7, color=style["color"], hatch=hatch, edgecolor="white")
        right.plot([c["iso"] for c in own], [c["noise_std"] for c in own], label=label_text(camera), **style)
    every = max(1, -(-len(shown) // 30))
    left.set_xticks(
        range(0, len(shown), every), [str(c["iso"]) for c in shown[::every]], rotation=90, fontsize=8
    )
    left.grid(False, axis="x")
    left.set_ylabel("tiles", fontsize=9)
    left.set_xlabel("ISO; colours are cameras", fontsize=9)
    isos = [condition["iso"] for condition in shown]
    ticks = [50 * 2**step for step in range(20) if min(isos) <= 50 * 2**step <= max(isos)] or [min(isos)]
    right.set_xscale("log")
    right.set_xticks(ticks, list(map(str, ticks)), rotation=90, fontsize=8)
    right.xaxis.set_minor_locator(NullLocator())
    right.set_xlabel("ISO", fontsize=9)
    right.set_ylabel("noise std (grey levels)", fontsize=9)
    right.set_ylim(bottom=0)
    legend(figure, [right])
    return figure
