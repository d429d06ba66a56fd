"""Draws README's picture of real against synthetic noise from the numbers of a report.

noisegen eval-noise default pairs.csv --against awgn,poisson-gaussian,heteroscedastic,correlated-gaussian -o report
python docs/pictures/real_and_synthetic.py report/noise.json docs/pictures/real_and_synthetic.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from noisegen.evaluation.intensity_metrics import intensity_centres
from noisegen.evaluation.plot_style import COLOURS

METHODS = {"default": "noisegen", "heteroscedastic": "heteroscedastic\nGaussian"}
STYLES = {"default": (COLOURS[1], "-"), "heteroscedastic": (COLOURS[0], "--")}
REAL_STYLE = {"color": "black", "linewidth": 3.2, "alpha": 0.45}
SHOWN = (("GP", 10000, "phone (GP)\nISO 10000"), ("NikonD800", 6400, "Nikon D800\nISO 6400"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="noise.json of eval-noise")
    parser.add_argument("output", type=Path)
    chosen = parser.parse_args()
    scores = json.loads(chosen.report.read_text())["scores"]
    figure = Figure((12.6, 5.2), 110, layout="constrained")
    rows = figure.subplots(len(SHOWN), 5, gridspec_kw={"width_ratios": [1, 1, 1, 1.55, 1.55], "wspace": 0.04})
    for row, (camera, iso, title) in zip(rows, SHOWN, strict=True):
        details = {method: detail_of(scores[method], camera, iso) for method in METHODS}
        draw_maps(row[:3], details, title)
        draw_histogram(row[3], details)
        draw_spread(row[4], details)
    rows[0][0].set_title("real", fontsize=11, fontweight="bold")
    for ax, method in zip(rows[0][1:3], METHODS, strict=True):
        ax.set_title(METHODS[method], fontsize=11, fontweight="bold")
    rows[0][3].set_title("share of pixels by noise", fontsize=11)
    rows[0][4].set_title("std of the noise by clean value", fontsize=11)
    handles, labels = rows[0][3].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=3, fontsize=11, frameon=False)
    figure.text(
        0.004,
        0.012,
        "maps: how much the noise of a pixel has in common with that of its neighbours, up to 8 pixels away",
        fontsize=10,
    )
    figure.savefig(chosen.output, metadata={"Software": None})


def detail_of(rows: list[dict[str, Any]], camera: str, iso: int) -> dict[str, Any]:
    """The curves of a method for a condition."""
    [found] = [row for row in rows if row["condition"] == {"camera": camera, "iso": iso}]
    detail: dict[str, Any] = found["score"]["detail"]
    return detail


def draw_maps(axes: Any, details: dict[str, dict[str, Any]], title: str) -> None:
    """Autocorrelation: the real noise's, then each method's."""
    maps = [details["default"]["acf_map"][0], *(detail["acf_map"][1] for detail in details.values())]
    for ax, values in zip(axes, maps, strict=True):
        ax.imshow(np.asarray(values), cmap="cividis", vmin=0, vmax=1, extent=(-8.5, 8.5, 8.5, -8.5))
        ax.set_xticks([])
        ax.set_yticks([])
    axes[0].set_ylabel(title, fontsize=10.5)


def draw_histogram(ax: Any, details: dict[str, dict[str, Any]]) -> None:
    """Shares on a logarithmic scale, which shows the tails."""
    real = np.asarray(details["default"]["histogram"][0], float)
    levels = np.arange(len(real)) - len(real) // 2
    spread = np.sqrt(np.sum(real * levels**2) / real.sum())
    shown = np.abs(levels) <= 6 * spread

    def density(counts: list[float]) -> np.ndarray:
        shares = np.asarray(counts, float) / np.sum(counts)
        return np.where(shares > 0, shares, np.nan)[shown]

    ax.plot(levels[shown], density(list(real)), label="real", **REAL_STYLE)
    for method, detail in details.items():
        colour, dashes = STYLES[method]
        ax.plot(
            levels[shown],
            density(detail["histogram"][1]),
            dashes,
            color=colour,
            label=METHODS[method].replace("\n", " "),
        )
    ax.set_yscale("log")
    ax.set_ylim(bottom=2e-7)
    ax.set_xlabel("noise, grey levels", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.grid(True, color="0.92")


def draw_spread(ax: Any, details: dict[str, dict[str, Any]]) -> None:
    """Over all channels, by their pixels."""

    def curve(detail: dict[str, Any], side: int) -> np.ndarray:
        variance = np.array(detail["intensity_std"][side], float) ** 2
        weights = np.where(np.isnan(variance), 0, np.asarray(detail["intensity_pixels"], float))
        total = weights.sum(axis=0)
        return np.sqrt((np.nan_to_num(variance) * weights).sum(axis=0) / np.where(total > 0, total, np.nan))

    ax.plot(intensity_centres(), curve(details["default"], 0), **REAL_STYLE)
    for method, detail in details.items():
        colour, dashes = STYLES[method]
        ax.plot(intensity_centres(), curve(detail, 1), dashes, color=colour)
    ax.set_ylim(bottom=0)
    ax.set_xlim(0, 256)
    ax.set_xlabel("clean value", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.grid(True, color="0.92")


if __name__ == "__main__":
    main()
