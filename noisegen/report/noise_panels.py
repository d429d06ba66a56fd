"""Small charts of measured noise, the same four for each camera and ISO, of a dataset and beside it of real pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from noisegen.evaluation.intensity_metrics import intensity_centres
from noisegen.evaluation.noise_pictures import draw_map
from noisegen.evaluation.plot_style import REAL, line_style, new_figure
from noisegen.evaluation.structure_metrics import spectrum_frequencies
from noisegen.report.measured_noise import MeasuredNoise
from noisegen.webpages.markup import Markup, fragment, join, table
from noisegen.webpages.pictures import chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["noise_panels"]

# inches; four stand side by side on a screen
WIDTH, HEIGHT = 2.9, 2.5
REACH = 5.0  # standard deviations of the noise that the histogram shows to both sides
MIN_POWER = 1e-3
DATASET = line_style(0) | {"marker": ""}

Measured = Mapping[str, MeasuredNoise]


def noise_panels(measured: Measured, name: str) -> Markup:
    """Histogram, std against clean value, spectrum and correlation map, each with its numbers.

    Args:
        measured: "dataset", and "real" where there are real pairs.
        name: of camera and ISO.
    """
    return fragment(
        '<div class="charts small">{}</div>',
        join(panel(measured, name) for panel in (_histogram, _intensity, _spectrum, _map)),
    )


def _histogram(measured: Measured, name: str) -> Markup:
    from matplotlib.ticker import NullLocator

    spread = max(noise.total_std for noise in measured.values())
    limit = int(np.ceil(min(max(REACH * spread, 4), 255)))

    def draw(ax: Axes, noise: MeasuredNoise, style: dict[str, Any]) -> None:
        density = np.where(noise.histogram > 0, noise.histogram, np.nan) / noise.histogram.sum()
        ax.plot(noise.levels, density, **style)

    figure, ax = _lines(measured, draw, "noise (grey levels)", "")
    ax.set_xlim(-limit, limit)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:.0e}")
    ax.yaxis.set_minor_locator(NullLocator())
    levels = next(iter(measured.values())).levels
    shown = np.flatnonzero(np.abs(levels) <= limit)
    rows = [
        [int(levels[place]), *(float(m.histogram[place] / m.histogram.sum()) for m in measured.values())]
        for place in shown
    ]
    return chart(
        figure,
        f"Histogram of the noise, {name}: {_each(measured, lambda m: f'std {m.total_std:.2f} grey levels')}.",
        [table(["noise", *measured], rows, caption=f"Share of pixels by noise in grey levels, {name}")],
        caption="Histogram: share of pixels",
    )


def _intensity(measured: Measured, name: str) -> Markup:
    centres = intensity_centres()
    figure, ax = _lines(
        measured,
        lambda ax, noise, style: ax.plot(centres, noise.std, **style),
        "clean value (grey levels)",
        "noise std (grey levels)",
    )
    ax.set_xlim(0, 256)
    ax.set_ylim(bottom=0)

    def range_of(noise: MeasuredNoise) -> str:
        known = np.flatnonzero(np.isfinite(noise.std))
        if not len(known):
            return "too few pixels"
        low, high = known[0], known[-1]
        return f"{noise.std[low]:.1f} at {centres[low]:.0f} and {noise.std[high]:.1f} at {centres[high]:.0f}"

    rows = [
        [float(centre), *(float(m.std[place]) for m in measured.values())]
        for place, centre in enumerate(centres)
    ]
    return chart(
        figure,
        f"Noise std against the clean value, {name}: {_each(measured, range_of)}.",
        [table(["clean value", *measured], rows, caption=f"Noise std by clean value, grey levels, {name}")],
        caption="Std against the clean value",
    )


def _spectrum(measured: Measured, name: str) -> Markup:
    frequencies = spectrum_frequencies()
    decibels = {
        side: 10 * np.log10(np.maximum(noise.spectrum, MIN_POWER)) for side, noise in measured.items()
    }
    power = iter(decibels.values())
    figure, ax = _lines(
        measured,
        lambda ax, noise, style: ax.plot(frequencies, next(power), **style),
        "frequency (cycles per pixel)",
        "power (dB)",
    )
    ax.set_xlim(0, 0.5)
    ends = ", ".join(f"{side} {values[0]:.1f} dB to {values[-1]:.1f} dB" for side, values in decibels.items())
    rows = [
        [float(frequency), *(float(values[place]) for values in decibels.values())]
        for place, frequency in enumerate(frequencies)
    ]
    return chart(
        figure,
        f"Power of the noise from low to high spatial frequency, {name}: {ends}.",
        [
            table(
                ["cycles per pixel", *measured],
                rows,
                caption=f"Power in dB (grey levels²) by frequency, {name}",
            )
        ],
        caption="Spectrum; white noise would be level",
    )


def _map(measured: Measured, name: str) -> Markup:
    figure, axes = _figure(len(measured))
    for ax, (side, noise) in zip(axes, measured.items(), strict=True):
        image = draw_map(ax, noise.acf_map, side, cmap="cividis", vmin=0.0, vmax=1.0)
    bar = figure.colorbar(image, cax=figure.add_axes((0.15, 0.11, 0.7, 0.05)), orientation="horizontal")
    bar.ax.tick_params(labelsize=7)
    for place, ax in enumerate(axes):
        ax.set_position((0.1 + 0.46 * place, 0.26, 0.42 if len(axes) > 1 else 0.86, 0.62))
        ax.tick_params(labelleft=place == 0)
    middle = len(next(iter(measured.values())).acf_map) // 2
    rows = [
        [f"{x} right, {y} down", *(float(m.acf_map[middle + y, middle + x]) for m in measured.values())]
        for y, x in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (2, 2), (0, 3), (3, 0), (0, 4), (4, 0))
    ]
    return chart(
        figure,
        f"Map of the noise's correlation by distance in pixels, {name}: with the next pixel "
        f"{_each(measured, lambda m: f'{m.neighbour:.2f}')}.",
        [table(["distance in pixels", *measured], rows, caption=f"Correlation of the noise, {name}")],
        caption="Correlation by distance in pixels",
    )


def _lines(
    measured: Measured, draw: Callable[[Axes, MeasuredNoise, dict[str, Any]], object], x: str, y: str
) -> tuple[Figure, Axes]:
    """A panel with a line for each side, the real one below."""
    figure, [ax] = _figure(1)
    for side, noise in measured.items():
        style = REAL | {"marker": "", "zorder": 1.5} if side == "real" else DATASET
        draw(ax, noise, {**style, "label": side})
    ax.set_xlabel(x, fontsize=8)
    ax.set_ylabel(y, fontsize=8)
    if len(measured) > 1:
        ax.legend(fontsize=7, frameon=False)
    return figure, ax


def _figure(columns: int) -> tuple[Figure, list[Axes]]:
    """A figure whose parts have fixed places: to find them takes longer than to draw it."""
    figure, [axes] = new_figure(1, columns, WIDTH / columns, HEIGHT - 0.7)
    figure.set_size_inches(WIDTH, HEIGHT)
    figure.set_layout_engine("none")
    for ax in axes:
        ax.set_position((0.19, 0.17, 0.77, 0.79))
        ax.tick_params(labelsize=7)
    return figure, axes


def _each(measured: Measured, words: Callable[[MeasuredNoise], str]) -> str:
    return ", ".join(f"{side} {words(noise)}" for side, noise in measured.items())
