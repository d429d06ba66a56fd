"""Charts of a model's noise: a panel for each camera with a line for each ISO, and maps of its correlation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from noisegen.evaluation.intensity_metrics import intensity_centres
from noisegen.evaluation.noise_pictures import draw_map
from noisegen.evaluation.noise_score import ConditionScore, NoiseDetail
from noisegen.evaluation.plot_style import label_text, legend, line_style, new_figure, title_of
from noisegen.evaluation.structure_metrics import spectrum_frequencies
from noisegen.report.drawn_noise import DrawnNoise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = ["compared_map_figure", "histogram_figure", "level_figure", "map_figure", "spectrum_figure"]

Curve = tuple[np.ndarray, np.ndarray]

WIDTH = 9.6  # inches
COLUMNS = 3
MAPS = 6
# So many standard deviations to both sides of 0 are shown of a histogram.
REACH = 4.5
CORRELATION: dict[str, Any] = {"cmap": "cividis", "vmin": 0.0, "vmax": 1.0}
NORMAL: dict[str, Any] = {"color": "0.5", "linestyle": ":", "linewidth": 1.2}


def level_figure(drawn: Sequence[DrawnNoise]) -> Figure:
    """Standard deviation of the noise against the clean value."""

    def finish(ax: Axes) -> None:
        ax.set_xlim(0, 256)
        ax.set_ylim(bottom=0)

    labels = ("clean value (0 black, 255 white)", "noise std (grey levels)")
    return _by_camera(drawn, lambda noise: (intensity_centres(), noise.ramp.std), finish, labels)


def histogram_figure(drawn: Sequence[DrawnNoise]) -> Figure:
    """Density of the noise on the flat surface in its own standard deviations, beside the normal distribution."""

    def finish(ax: Axes) -> None:
        grid = np.linspace(-REACH, REACH, 91)
        ax.plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), label="normal distribution", **NORMAL)
        ax.set_xlim(-REACH, REACH)
        ax.set_yscale("log")
        ax.set_ylim(1e-5, 1)
        ax.minorticks_off()

    return _by_camera(drawn, _density, finish, ("noise (in its standard deviations)", "density"))


def spectrum_figure(drawn: Sequence[DrawnNoise]) -> Figure:
    """Power of the noise on the flat surface by spatial frequency."""

    def curve(noise: DrawnNoise) -> Curve:
        return spectrum_frequencies(), 10 * np.log10(np.maximum(noise.flat.spectrum, 1e-3))

    def finish(ax: Axes) -> None:
        ax.set_xlim(0, 0.5)

    return _by_camera(drawn, curve, finish, ("frequency (cycles per pixel)", "power (dB, grey levels²)"))


def map_figure(drawn: Sequence[DrawnNoise]) -> Figure:
    """Correlation of the noise at a pixel with that at the pixels around it, on the flat surface."""
    columns = min(MAPS, len(drawn))
    figure, lines = new_figure(-(-len(drawn) // columns), columns, WIDTH / MAPS, 1.75)
    axes = [ax for line in lines for ax in line]
    for noise, ax in zip(drawn, axes, strict=False):
        camera = label_text(noise.condition.camera)
        values = noise.flat.acf_map
        image = _few_ticks(ax, values, f"{camera}\nISO {noise.condition.iso}", **CORRELATION)
    for ax in axes[len(drawn) :]:
        ax.remove()
    figure.colorbar(
        image, ax=axes[: len(drawn)], location="right", fraction=0.03, aspect=25, label="correlation"
    )
    return figure


def compared_map_figure(rows: Sequence[tuple[ConditionScore, NoiseDetail]]) -> Figure:
    """The same of real noise, of the model's, and the difference, for two conditions in a line."""
    maps = [np.asarray(detail.acf_map) for _, detail in rows]
    limit = max(0.05, max(float(np.max(np.abs(model - real))) for real, model in maps))
    difference = {"cmap": "PuOr", "vmin": -limit, "vmax": limit}
    abreast = min(2, len(rows))
    figure, lines = new_figure(-(-len(rows) // abreast), 3 * abreast, WIDTH / MAPS, 1.9)
    axes = [ax for line in lines for ax in line]
    for place, ((row, _), (real, model)) in enumerate(zip(rows, maps, strict=True)):
        first, second, third = axes[3 * place : 3 * place + 3]
        _few_ticks(first, real, "real", **CORRELATION)
        level = _few_ticks(second, model, f"{title_of(row.dataset, row.condition)}\n\nmodel", **CORRELATION)
        gap = _few_ticks(third, model - real, "model − real", **difference)
    for ax in axes[3 * len(rows) :]:
        ax.remove()
    bars: dict[str, Any] = {
        "ax": axes[: 3 * len(rows)],
        "location": "bottom",
        "aspect": 40,
        "fraction": 0.3 / figure.get_figheight(),
    }
    figure.colorbar(gap, label="difference, model − real", **bars)
    figure.colorbar(level, label="correlation", **bars)
    return figure


def _few_ticks(ax: Axes, values: np.ndarray, title: str, **scale: Any) -> AxesImage:
    image = draw_map(ax, values, title, **scale)
    radius = len(values) // 2
    ax.set_xticks([-radius, 0, radius])
    ax.set_yticks([-radius, 0, radius])
    return image


def _density(noise: DrawnNoise) -> Curve:
    flat = noise.flat
    # noise that is the same everywhere has no spread to divide by
    spread = max(flat.total_std, 0.1)
    places = (flat.levels - np.average(flat.levels, weights=flat.histogram)) / spread
    shown = (np.abs(places) <= REACH) & (flat.histogram > 0)
    return places[shown], flat.histogram[shown] / flat.histogram.sum() * spread


def _by_camera(
    drawn: Sequence[DrawnNoise],
    curve: Callable[[DrawnNoise], Curve],
    finish: Callable[[Axes], None],
    labels: tuple[str, str],
) -> Figure:
    """A panel for each camera; the lines of an ISO look alike in all of them."""
    cameras = list(dict.fromkeys(noise.condition.camera for noise in drawn))
    isos = sorted({noise.condition.iso for noise in drawn})
    styles = {iso: line_style(index) | {"marker": ""} for index, iso in enumerate(isos)}
    columns = min(COLUMNS, len(cameras))
    figure, lines = new_figure(-(-len(cameras) // columns), columns, WIDTH / COLUMNS, 2.3)
    axes = [ax for line in lines for ax in line]
    for iso in isos:
        axes[0].plot([], [], label=f"ISO {iso}", **styles[iso])  # so that the legend has them in order
    for camera, ax in zip(cameras, axes, strict=False):
        for noise in drawn:
            if noise.condition.camera == camera:
                ax.plot(*curve(noise), **styles[noise.condition.iso])
        finish(ax)
        ax.set_title(label_text(camera), fontsize=10)
        ax.set_xlabel(labels[0], fontsize=9)
    for line in lines:
        line[0].set_ylabel(labels[1], fontsize=9)
    for ax in axes[len(cameras) :]:
        ax.remove()
    legend(figure, axes[: len(cameras)])
    return figure
