"""Curves of noise scores: histograms, spread and bias against the clean value, spectra and channel correlations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from noisegen.evaluation.intensity_metrics import intensity_centres
from noisegen.evaluation.noise_score import NoiseDetail, Scores
from noisegen.evaluation.plot_style import (
    REAL,
    Panel,
    legend,
    line_style,
    new_figure,
    pages,
    panels,
    title_of,
)
from noisegen.evaluation.structure_metrics import CHANNEL_PAIRS, spectrum_frequencies

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["channel_figures", "histogram_figures", "intensity_figures", "spectrum_figures"]

COLUMNS = 3


def histogram_figures(scores: Scores) -> Iterator[Figure]:
    """Density of the noise in grey levels, on a linear scale (centre) and a logarithmic one (tails)."""
    methods = _methods(scores)
    for page in pages(panels(scores)):
        figure, axes = new_figure(len(page), 2, 5.2, 2.4)
        for (row, details), line in zip(page, axes, strict=True):
            real = np.asarray(next(iter(details.values())).histogram[0])
            levels = np.arange(len(real)) - len(real) // 2
            spread = np.sqrt(np.sum(real * levels**2) / real.sum())
            for ax, reach in zip(line, (3.5, 7), strict=True):
                limit = min(max(reach * spread, 8), 255)
                shown = np.abs(levels) <= limit
                curves = [("real", real, REAL)]
                curves += [
                    (name, np.asarray(details[name].histogram[1]), line_style(methods.index(name)))
                    for name in details
                ]
                for name, counts, style in curves:
                    density = np.where(counts > 0, counts, np.nan) / counts.sum()
                    ax.plot(levels[shown], density[shown], label=name, **(style | {"marker": ""}))
                ax.set_xlim(-limit, limit)
                ax.set_xlabel("noise (grey levels)", fontsize=9)
            line[0].set_ylabel("share of pixels per level", fontsize=9)
            line[0].set_title(f"{title_of(row.dataset, row.condition)}: centre", fontsize=10)
            line[1].set_title("the same with tails, logarithmic", fontsize=10)
            line[1].set_yscale("log")
        legend(figure, (line[0] for line in axes))
        yield figure


def intensity_figures(scores: Scores) -> Iterator[Figure]:
    """Spread of the noise (the paper's Figure 8) and its mean against the clean value, over all channels."""
    methods = _methods(scores)
    for page in pages(panels(scores)):
        figure, axes = new_figure(len(page), 2, 5.2, 2.5)
        for (row, details), (left, right) in zip(page, axes, strict=True):
            first = next(iter(details.values()))
            pixels = np.asarray(first.intensity_pixels)
            centres = intensity_centres()
            for ax, name in ((left, "intensity_std"), (right, "intensity_bias")):
                curves = [("real", _over_channels(first, name, 0, pixels), REAL)]
                curves += [
                    (method, _over_channels(detail, name, 1, pixels), line_style(methods.index(method)))
                    for method, detail in details.items()
                ]
                for method, values, style in curves:
                    ax.plot(centres, values, label=method, **(style | {"markersize": 3.5}))
                _shade(ax, centres, pixels.sum(axis=0))
                ax.set_xlim(0, 256)
                ax.set_xlabel("clean value (grey levels)", fontsize=9)
            left.set_ylabel("noise std (grey levels)", fontsize=9)
            right.set_ylabel("mean noise (grey levels)", fontsize=9)
            left.set_ylim(bottom=0)
            right.axhline(0, color="0.6", linewidth=0.8)
            left.set_title(f"{title_of(row.dataset, row.condition)}: spread", fontsize=10)
            right.set_title("mean", fontsize=10)
        legend(figure, (line[0] for line in axes))
        yield figure


def spectrum_figures(scores: Scores) -> Iterator[Figure]:
    """Radial power spectra in decibels; white noise is a level line."""
    methods = _methods(scores)
    for page in pages(panels(scores), 4 * COLUMNS):
        figure, axes = _grid(page)
        for (row, details), ax in zip(page, axes, strict=True):
            curves = [("real", next(iter(details.values())).spectrum[0], REAL)]
            curves += [
                (name, detail.spectrum[1], line_style(methods.index(name)))
                for name, detail in details.items()
            ]
            for name, power, style in curves:
                decibels = 10 * np.log10(np.maximum(power, 1e-3))
                ax.plot(spectrum_frequencies(), decibels, label=name, **(style | {"marker": ""}))
            ax.set_xlim(0, 0.5)
            ax.set_title(title_of(row.dataset, row.condition), fontsize=10)
            ax.set_xlabel("frequency (cycles per pixel)", fontsize=9)
            ax.set_ylabel("power (dB, grey levels²)", fontsize=9)
        legend(figure, axes)
        yield figure


def channel_figures(scores: Scores) -> Iterator[Figure]:
    """Correlation of the noise between two channels of a pixel; nothing for grey pictures."""
    methods = _methods(scores)
    shown = [panel for panel in panels(scores) if next(iter(panel[1].values())).channels[0]]
    for page in pages(shown, 4 * COLUMNS):
        figure, axes = _grid(page)
        for (row, details), ax in zip(page, axes, strict=True):
            first = next(iter(details.values()))
            marks = [("real", first.channels[0], REAL)]
            marks += [
                (name, detail.channels[1], line_style(methods.index(name)))
                for name, detail in details.items()
            ]
            for place, (name, values, style) in enumerate(marks):
                shift = (place - (len(marks) - 1) / 2) * 0.6 / len(marks)
                x = np.arange(len(CHANNEL_PAIRS)) + shift
                ax.plot(x, values, label=name, **(style | {"linestyle": "", "markersize": 6}))
            ax.axhline(0, color="0.6", linewidth=0.8)
            ax.set_xticks(range(len(CHANNEL_PAIRS)), list(CHANNEL_PAIRS))
            ax.set_xlim(-0.5, len(CHANNEL_PAIRS) - 0.5)
            ax.set_ylim(min(-0.1, ax.get_ylim()[0]), 1)
            ax.set_title(title_of(row.dataset, row.condition), fontsize=10)
            ax.set_ylabel("correlation of the noise", fontsize=9)
        legend(figure, axes)
        yield figure


def _methods(scores: Scores) -> list[str]:
    """All methods, so that one keeps its colour where another does not cover a condition."""
    return list(scores)


def _grid(page: Sequence[Panel]) -> tuple[Figure, list[Axes]]:
    columns = min(COLUMNS, len(page))
    figure, lines = new_figure(-(-len(page) // columns), columns, 4.0, 2.9)
    axes = [ax for line in lines for ax in line]
    for ax in axes[len(page) :]:
        ax.remove()
    return figure, axes[: len(page)]


def _over_channels(detail: NoiseDetail, name: str, side: int, pixels: np.ndarray) -> np.ndarray:
    """A curve over the clean value, [32], mean over channels by their pixels; NaN where none has enough."""
    values = np.array(getattr(detail, name)[side], float)
    if name == "intensity_std":
        values = values**2
    weights = np.where(np.isnan(values), 0.0, pixels)
    total = weights.sum(axis=0)
    mean = np.sum(np.nan_to_num(values) * weights, axis=0) / np.where(total > 0, total, np.nan)
    return np.sqrt(mean) if name == "intensity_std" else mean


def _shade(ax: Axes, centres: np.ndarray, pixels: np.ndarray) -> None:
    """Where the pixels are, at the foot of the panel, without a scale."""
    ax.fill_between(
        centres,
        0.2 * pixels / max(pixels.max(), 1),
        transform=ax.get_xaxis_transform(),
        color="0.85",
        linewidth=0,
        zorder=0,
        label="where the pixels are",
    )
