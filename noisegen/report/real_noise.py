"""A noise model beside the real noise of pairs: what `noisegen eval-noise` measures, and pictures of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from noisegen.datasets.pairs import Pair
from noisegen.evaluation.noise_eval import ScoredPicture, central_crop, evaluate_methods
from noisegen.evaluation.noise_means import NoiseReport, mean_scores, problems_of
from noisegen.evaluation.noise_plots import histogram_figures, intensity_figures, spectrum_figures
from noisegen.evaluation.noise_score import FLOOR, METRICS, ConditionScore, NoiseScore, metric_value
from noisegen.evaluation.plot_style import pages
from noisegen.models.protocol import NoiseModel
from noisegen.report.choosing import few_of_each, spread_conditions
from noisegen.report.noise_figures import compared_map_figure
from noisegen.webpages.markup import Markup, details, fragment, join, paragraph, table
from noisegen.webpages.pictures import GAIN, Picture, amplified_noise, chart
from noisegen.webpages.viewer import comparison, gallery

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RealNoise", "condition_rows", "measure_real_noise", "real_noise_pieces", "select_pictures"]

METHOD = "model"
# The scores that are shown first; the others on request.
MAIN = ("kld_nm", "std_error", "acf_error", "spectrum_error_db", "channel_error")
# Of each picture the central square; of each dataset, camera and ISO so many pictures; so many of camera and ISO.
CROP = 512
PICTURES, CONDITIONS = 8, 16
SHOWN_SIDE = 320
MAPS_PER_FIGURE = 8
# For pictures, in bytes of page.
BUDGET = 6_000_000


@dataclass
class RealNoise:
    """What was measured on real pairs.

    Attributes:
        report: scores of the method `METHOD` and of the floor.
        shown: one picture of each dataset, camera and ISO, its middle.
        bit_depth: of the model.
    """

    report: NoiseReport
    shown: list[ScoredPicture]
    bit_depth: int

    @property
    def problems(self) -> list[str]:
        """What is left out, one line each."""
        return problems_of(self.report)

    def rows(self) -> Iterator[tuple[ConditionScore, NoiseScore, NoiseScore]]:
        """Each condition that could be scored, its score, and that of the floor."""
        for row, floor in zip(self.report.scores[METHOD], self.report.scores[FLOOR], strict=True):
            if row.score is not None and floor.score is not None:
                yield row, row.score, floor.score


@dataclass
class _Shown:
    """Keeps the first scored picture of each dataset and condition."""

    kept: dict[tuple[str, object], ScoredPicture] = field(default_factory=dict)

    def add(self, picture: ScoredPicture) -> None:
        key = picture.pair.dataset or "", picture.pair.condition
        if METHOD in picture.synthetic and key not in self.kept:
            crops = {name: central_crop(noisy, SHOWN_SIDE) for name, noisy in picture.synthetic.items()}
            clean, real = (central_crop(side, SHOWN_SIDE) for side in (picture.clean, picture.real))
            self.kept[key] = ScoredPicture(picture.pair, clean, real, crops)


def select_pictures(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that are scored, evenly over the table: at most `PICTURES` of each dataset, camera and ISO, and at most
    `CONDITIONS` of these."""
    conditions = spread_conditions(sorted({pair.condition for pair in pairs}), CONDITIONS)
    pairs = [pair for pair in pairs if pair.condition in conditions]
    return few_of_each(pairs, lambda pair: (pair.dataset, pair.condition), PICTURES)


def measure_real_noise(
    model: NoiseModel, pairs: Sequence[Pair], *, seed: int, device: str, advance: Callable[[int], object]
) -> RealNoise:
    """Scores a model on the central squares of real pairs, as `noisegen eval-noise --crop 512` does.

    Args:
        model: on ``device``.
        pairs: see `select_pictures`.
        seed: of the noise.
        device: "cpu", "cuda" or "cuda:N".
        advance: told the pixels of each pair that was scored.
    """
    shown = _Shown()
    evaluation = evaluate_methods(
        {METHOD: model}, pairs, seed=seed, crop=CROP, device=device, see=shown.add, advance=advance
    )
    report = NoiseReport({**evaluation.methods, FLOOR: evaluation.floor}, {})
    return RealNoise(report, list(shown.kept.values()), model.bit_depth)


def real_noise_pieces(real: RealNoise, *, samples: int, source: str, of: int) -> list[Markup]:
    """Scores, charts, and real beside synthetic noise.

    Args:
        real: what was measured.
        samples: cameras and ISO settings to show pictures of at most.
        source: name of the table.
        of: pairs in it, of which some may have been scored.
    """
    scored = sum(row.pictures for row, _, _ in real.rows())
    pieces = [
        paragraph(
            "Each clean picture of <b>{}</b> got noise from the model, and that is compared with the real noise of the "
            "same pixels: {} of {} pairs, of each the central {} pixels at most, up to {} of a camera and ISO, up to "
            "{} of these.",
            source,
            scored,
            of,
            f"{CROP} x {CROP}",
            PICTURES,
            CONDITIONS,
        )
    ]
    if left_out := real.problems:
        lines = join(fragment("<li>{}</li>", line) for line in left_out)
        pieces.append(
            details(f"Left out: {len(left_out)}", [fragment("<ul>{}</ul>", lines)], is_open=not scored)
        )
    if not scored:
        return pieces
    return [
        *pieces,
        paragraph(
            "Look at how alike left and right are: grains of the same size, strength and colour, in dark and bright "
            "places. Their exact pattern is chance and need not agree."
        ),
        _samples(real, samples),
        *_scores(real),
        *_charts(real),
    ]


def condition_rows(real: RealNoise) -> list[dict[str, object]]:
    """The scores as plain values."""
    return [
        {
            "dataset": row.dataset,
            "camera": row.condition.camera,
            "iso": row.condition.iso,
            "pictures": row.pictures,
            "std_real": _rms(score.std_real),
            "std_synthetic": _rms(score.std_synthetic),
            "scores": {m.name: metric_value(score, m.name) for m in METRICS},
            "floor": {m.name: metric_value(floor, m.name) for m in METRICS},
        }
        for row, score, floor in real.rows()
    ]


def _samples(real: RealNoise, count: int) -> Markup:
    items, budget = [], BUDGET
    for picture in real.shown[:count]:
        dataset, condition = picture.pair.dataset or "", picture.pair.condition
        place = f"{dataset} {condition.camera}, ISO {condition.iso}".strip()
        bits, drawn = real.bit_depth, picture.synthetic[METHOD]
        pictures = [
            Picture.of(name, pixels, alt=f"{name}, {place}", bits=bits)
            for name, pixels in (("real", picture.real), (METHOD, drawn), ("clean", picture.clean))
        ]
        noises = [
            Picture.of(
                f"{name} noise",
                amplified_noise(noisy, picture.clean, bits=bits),
                alt=f"noise, {name}, {place}",
                bits=bits,
            )
            for name, noisy in (("real", picture.real), (METHOD, drawn))
        ]
        budget -= sum(len(shown.url) for shown in (*pictures, *noises))
        if budget < 0:
            break
        viewers = [
            comparison(pictures, caption=f"{place}: {picture.pair.name}"),
            comparison(noises, caption=f"{place}: its noise × {GAIN}, around grey"),
        ]
        items.append(((condition.camera, str(condition.iso)), join(viewers)))
    return gallery(["camera", "ISO"], items, what="cameras and ISO settings")


def _scores(real: RealNoise) -> list[Markup]:
    mean = mean_scores(real.report.scores)[-1].values
    lines = {
        m.name: [m.name, m.unit or "–", mean[m.name][METHOD], mean[m.name][FLOOR], m.meaning]
        for m in METRICS
        if m.name in mean
    }
    heads = ["score", "unit", "model", "floor", "what it is"]
    others = [line for name, line in lines.items() if name not in MAIN]
    conditions = [
        [
            row.dataset or "–",
            row.condition.camera,
            str(row.condition.iso),
            row.rule,
            row.pictures,
            _rms(score.std_real),
            _rms(score.std_synthetic),
            *(
                value
                for name in ("kld_nm", "acf_error")
                for value in (getattr(score, name), getattr(floor, name))
            ),
        ]
        for row, score, floor in real.rows()
    ]
    return [
        fragment("<h3>{}</h3>", "How far it is from the real noise, in numbers"),
        paragraph(
            "0 would be perfect, but nothing reaches 0: the floor is what real noise scores against real noise of "
            "the same picture. A number near its floor is as good as can be measured."
        ),
        table(
            heads,
            [lines[name] for name in MAIN if name in lines],
            caption="Means over cameras and ISO settings",
        ),
        details("More scores", [table(heads, others, caption="Further means over cameras and ISO settings")]),
        table(
            [
                "dataset",
                "camera",
                "ISO",
                "ISO handled",
                "pictures",
                "real std",
                "model std",
                "kld_nm",
                "floor",
                "acf_error",
                "floor",
            ],
            conditions,
            caption="By camera and ISO; std is the strength of the noise in 8-bit grey levels",
        ),
    ]


def _charts(real: RealNoise) -> list[Markup]:
    scores = {METHOD: real.report.scores[METHOD]}
    details = [(row, score.detail) for row, score, _ in real.rows() if score.detail]
    return [
        *_chart(
            real,
            "Histograms",
            "How often noise of each strength occurs. The black and the coloured line should lie on each other, at "
            "the centre (left) and far out (right), where rare but strong outliers are.",
            "kld_nm",
            histogram_figures(scores),
        ),
        *_chart(
            real,
            "Strength by brightness",
            "How strong the noise is on dark and bright pixels (left), and whether it shifts brightness (right). The "
            "grey hills say where the pictures' pixels are; elsewhere the lines say little.",
            "intensity_error",
            intensity_figures(scores),
        ),
        *_chart(
            real,
            "Grain",
            "How alike the noise of a pixel (in the middle) and of those around it is: a lone bright dot is noise of "
            "single pixels, a wide blot is coarse grain. Real and model should look the same, and the difference "
            "pale.",
            "acf_error",
            (compared_map_figure(page) for page in pages(details, MAPS_PER_FIGURE)),
        ),
        *_chart(
            real,
            "Spectra",
            "How much of the noise is coarse (left) and how much is fine (right). Noise of single pixels would be a "
            "level line.",
            "spectrum_error_db",
            spectrum_figures(scores),
        ),
    ]


def _chart(real: RealNoise, title: str, words: str, metric: str, figures: Iterable[Figure]) -> list[Markup]:
    """A heading, what to look for, and the figures, the last of them with the scores that belong to them."""
    rows = [
        [
            row.dataset or "–",
            row.condition.camera,
            str(row.condition.iso),
            metric_value(score, metric),
            metric_value(floor, metric),
        ]
        for row, score, floor in real.rows()
    ]
    caption = f"{title}: {metric} of the model, and the floor"
    numbers = table(["dataset", "camera", "ISO", metric, "floor"], rows, caption=caption)
    values = [value for *_, value, _ in rows if isinstance(value, float)]
    span = f"; {metric} {min(values):.3g} to {max(values):.3g}" if values else ""
    drawn = list(figures)
    return [
        fragment("<h3>{}</h3>", title),
        paragraph("{}", words),
        *(
            chart(
                figure,
                f"{title} of real noise and of the model's{span}.",
                [numbers] if figure is drawn[-1] else [],
            )
            for figure in drawn
        ),
    ]


def _rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
