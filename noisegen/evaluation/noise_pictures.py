"""Pictures of the noise itself: correlation maps (the paper's Figure 3), samples (its Figure 7) and telltales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from noisegen.conditions import Condition
from noisegen.evaluation.noise_score import FLOOR, Scores
from noisegen.evaluation.plot_style import abreast, heading, new_figure, pages, panels, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from noisegen.evaluation.two_sample import Telltale, TwoSampleScore

__all__ = ["Sample", "draw_map", "map_figures", "sample_figures", "telltale_figures"]

# Black to white in the pictures of noise, in standard deviations of the real noise.
NOISE_RANGE = 6.0


@dataclass(frozen=True)
class Sample:
    """A piece of a picture, real and as each method makes it.

    Attributes:
        dataset, condition: whose noise it is.
        clean, real: [H, W, C], values in 0 .. 255.
        synthetic: by method.
    """

    dataset: str
    condition: Condition
    clean: np.ndarray
    real: np.ndarray
    synthetic: Mapping[str, np.ndarray]


def map_figures(scores: Scores) -> Iterator[Figure]:
    """Autocorrelation at each lag (y, x), real and synthetic, and below it the difference."""
    groups = abreast([name for name in scores if name != FLOOR])
    for page in pages(panels(scores), 5):
        figure, axes = new_figure(2 * len(page), 1 + len(groups[0]), 1.9, 1.9)
        differences = [
            np.subtract(detail.acf_map[1], detail.acf_map[0])
            for _, details in page
            for detail in details.values()
        ]
        limit = max(0.05, float(np.max(np.abs(differences))))
        for index, (row, details) in enumerate(page):
            above, below = axes[2 * index : 2 * index + 2]
            real = np.asarray(next(iter(details.values())).acf_map[0])
            level = draw_map(above[0], real, "real", cmap="cividis", vmin=0.0, vmax=1.0)
            below[0].axis("off")
            name = title_of(row.dataset, row.condition).replace(" ISO", "\nISO")
            below[0].text(0.5, 0.5, name, ha="center", va="center", fontsize=10, transform=below[0].transAxes)
            [methods] = [group for group in groups if not details.keys().isdisjoint(group)]
            for column, method in enumerate(_padded(methods, len(groups[0])), start=1):
                if method not in details:
                    above[column].axis("off")
                    below[column].axis("off")
                    continue
                synthetic = np.asarray(details[method].acf_map[1])
                draw_map(above[column], synthetic, method, cmap="cividis", vmin=0.0, vmax=1.0)
                gap = draw_map(
                    below[column],
                    synthetic - real,
                    f"{method} − real",
                    cmap="PuOr",
                    vmin=-limit,
                    vmax=limit,
                )
        everything = [ax for line in axes for ax in line]
        height = figure.get_figheight()
        for image, text in ((gap, "difference, synthetic − real"), (level, "autocorrelation")):
            bar: dict[str, Any] = {
                "location": "bottom",
                "fraction": 0.3 / height,
                "pad": 0.1 / height,
                "aspect": 30,
            }
            figure.colorbar(image, ax=everything, label=text, **bar)
        heading(figure, "Autocorrelation of the noise by lag in pixels; in the middle lag 0")
        yield figure


def sample_figures(samples: Sequence[Sample]) -> Iterator[Figure]:
    """For each condition the same piece of one picture: clean, real and synthetic, below them their noise.

    Noise is drawn around grey, on one scale for a row. Many methods stand in several rows, in each beside the real one.
    """
    groups = abreast(list(dict.fromkeys(name for sample in samples for name in sample.synthetic)))
    for page in pages(samples, max(1, 4 // max(1, len(groups)))):
        rows = [(sample, methods) for sample in page for methods in groups]
        figure, axes = new_figure(2 * len(rows), 2 + len(groups[0]), 2.1, 2.25)
        for index, (sample, methods) in enumerate(rows):
            above, below = axes[2 * index : 2 * index + 2]
            _picture(above[0], sample.clean / 255, "clean")
            spread = max(float(np.std(sample.real - sample.clean)), 1.0)
            text = (
                f"{title_of(sample.dataset, sample.condition)}\n\nthis row: the noise,\nblack to white\n"
                f"{NOISE_RANGE * spread:.0f} grey levels"
            )
            below[0].axis("off")
            below[0].text(0.5, 0.5, text, ha="center", va="center", fontsize=9, transform=below[0].transAxes)
            noisy = {"real": sample.real, **sample.synthetic}
            for column, name in enumerate(("real", *_padded(methods, len(groups[0]))), start=1):
                if name not in noisy:
                    above[column].axis("off")
                    below[column].axis("off")
                    continue
                _picture(above[column], noisy[name] / 255, name)
                noise = noisy[name] - sample.clean
                _picture(below[column], _grey_noise(noise, spread), f"noise, std {np.std(noise):.1f}")
        yield figure


def telltale_figures(method: str, test: TwoSampleScore) -> Iterator[Figure]:
    """The patches that the classifier told most surely, by condition: synthetic above, real below.

    What the upper noise has in common and the lower has not gives the method away.
    """
    groups: dict[Condition, dict[bool, list[Telltale]]] = {}
    for telltale in test.telltales:
        sides = groups.setdefault(telltale.condition, {True: [], False: []})
        sides[telltale.synthetic].append(telltale)
    for page in pages(list(groups.items()), 5):
        widths = [max(map(len, sides.values())) for _, sides in page]
        figure, axes = new_figure(4, sum(widths), 1.6, 1.75)
        for line in axes:
            for ax in line:
                ax.axis("off")
        first = 0
        for width, (condition, sides) in zip(widths, page, strict=True):
            spread = max(
                float(np.mean([np.std(telltale.noise) for telltale in sides[False] or sides[True]])), 0.5
            )
            for row, synthetic in enumerate((True, False)):
                for column, telltale in enumerate(sides[synthetic], start=first):
                    kind = "synthetic" if synthetic else "real"
                    name = title_of("", condition) if column == first else ""
                    _picture(
                        axes[2 * row][column],
                        _grey_noise(telltale.noise, spread),
                        f"{name}\n{kind}, p = {telltale.probability:.2f}",
                    )
                    clean = np.clip(telltale.clean / 255, 0, 1)
                    _picture(axes[2 * row + 1][column], clean, f"noise std {np.std(telltale.noise):.1f}")
            first += width
        heading(
            figure,
            f"{method}: two-sample accuracy {test.accuracy:.3f} ± {test.standard_error:.3f}. The noise most surely "
            "told as synthetic (above) and as real (below), over its clean patch. p: probability of synthetic, in the "
            f"classifier's view. Black to white: {NOISE_RANGE:.0f} std of the real patches of that camera and ISO.",
        )
        yield figure


def _padded(methods: Sequence[str], count: int) -> list[str]:
    """As many names, the last ones empty."""
    return [*methods, *[""] * (count - len(methods))]


def draw_map(ax: Axes, values: np.ndarray, title: str, **scale: Any) -> AxesImage:
    """Draws a `structure_metrics.autocorrelation_map`, mean over channels, on the axes."""
    radius = len(values) // 2
    image = ax.imshow(values, extent=(-radius - 0.5, radius + 0.5, radius + 0.5, -radius - 0.5), **scale)
    ax.grid(False)
    ticks = [-radius, -radius // 2, 0, radius // 2, radius]
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)
    ax.set_title(title, fontsize=9)
    return image


def _picture(ax: Axes, picture: np.ndarray, title: str) -> None:
    """A picture with values in 0 .. 1, pixels left as squares."""
    shown = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    ax.imshow(np.clip(shown, 0, 1), interpolation="nearest")
    ax.axis("off")
    ax.set_title(title, fontsize=9)


def _grey_noise(noise: np.ndarray, spread: float) -> np.ndarray:
    return np.clip(0.5 + noise / (NOISE_RANGE * spread), 0, 1)
