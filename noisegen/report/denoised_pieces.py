"""Parts of a denoiser's page that show it at work: on real pairs with scores, and on a photograph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisegen.datasets.benchmarks import Benchmark, open_benchmark
from noisegen.denoising.inference import Denoiser
from noisegen.errors import UsageError
from noisegen.evaluation.denoising_eval import NOISY, DenoisingScores, evaluate_denoisers
from noisegen.evaluation.denoising_means import MeanScore, benchmark_means, condition_means
from noisegen.evaluation.denoising_pictures import Choice, choose_cases
from noisegen.evaluation.noise_eval import central_crop
from noisegen.evaluation.plot_style import COLOURS, label_text, legend, new_figure, title_of
from noisegen.report.choosing import few_of_each
from noisegen.webpages.markup import Markup, details, fragment, join, paragraph, table
from noisegen.webpages.pictures import GAIN, Picture, amplified_noise, chart
from noisegen.webpages.viewer import comparison, gallery

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ScoredPairs", "mean_rows", "open_pairs", "pair_pieces", "photo_pieces", "score_pairs"]

METHOD = "denoised"
# Of each picture the central square, of each camera and ISO and in all so many pictures; of so many a part is shown.
CROP = 512
PICTURES, IN_ALL = 8, 128
SHOWN = 6
SIDE = 320
SSIM = "gauss2d"


@dataclass(frozen=True)
class ScoredPairs:
    """What was measured on real pairs.

    Attributes:
        scores: of the noisy and the denoised pictures.
        of: pairs that there are, of which some may have been scored.
    """

    scores: DenoisingScores
    of: int

    @property
    def means(self) -> list[MeanScore]:
        """By camera and ISO where these are known, then over all of each dataset, and over all."""
        return [*condition_means(self.scores), *benchmark_means(self.scores)] if self.scores.cases else []


def open_pairs(table: Path, split: str | None) -> tuple[list[Benchmark], int]:
    """The pairs that are scored, and how many there are in all.

    Raises:
        UsageError: see `noisegen.datasets.benchmarks.open_benchmark`; or there are no clean pictures.
    """
    found = open_benchmark(table, split=split, crop=CROP)
    if any(benchmark.submission is not None for benchmark in found):
        raise UsageError(
            f"{table}: the clean pictures of this benchmark are secret; give pairs whose are known"
        )
    chosen = []
    for benchmark in found:
        few = few_of_each(benchmark.cases, lambda case: (case.group, case.condition), PICTURES)
        chosen.append(replace(benchmark, cases=tuple(few_of_each(few, lambda case: "all", IN_ALL))))
    return chosen, sum(len(benchmark.cases) for benchmark in found)


def score_pairs(
    denoiser: Denoiser, benchmarks: Sequence[Benchmark], of: int, advance: Callable[[int], object]
) -> ScoredPairs:
    """Denoises and scores the pairs of `open_pairs`."""
    return ScoredPairs(evaluate_denoisers({METHOD: denoiser}, benchmarks, advance=advance), of)


def pair_pieces(scored: ScoredPairs, denoiser: Denoiser, *, source: str, samples: int) -> list[Markup]:
    """Scores by camera and ISO, and pictures from the worst to the best."""
    scores = scored.scores
    pieces = [
        paragraph(
            "Real noisy pictures of <b>{}</b> were denoised and compared with their clean ones: {} of {} pairs, of "
            "each the central {} pixels at most, up to {} of a camera and ISO and {} in all.",
            source,
            len(scores.cases),
            scored.of,
            f"{CROP} × {CROP}",
            PICTURES,
            IN_ALL,
        )
    ]
    if scores.problems:
        lines = join(fragment("<li>{}</li>", line) for line in scores.problems)
        summary = f"Left out: {len(scores.problems)}"
        pieces.append(details(summary, [fragment("<ul>{}</ul>", lines)], is_open=not scores.cases))
    if not scores.cases:
        return pieces
    shown = choose_cases(scores, min(samples, SHOWN)) if samples else []
    return [
        *pieces,
        paragraph(
            "PSNR says in decibels (dB) how near a picture is to the clean one, higher is nearer: 1 dB more is "
            "plainly better, 3 dB more is half the error's power. Every blue square should stand right of its grey "
            "dot; where it does not, the denoiser does harm."
        ),
        _chart(scored.means),
        *(
            [fragment("<h3>{}</h3>", "Pictures from the worst to the best"), *_pictures(shown, denoiser)]
            if shown
            else []
        ),
    ]


def photo_pieces(noisy: np.ndarray, denoiser: Denoiser, name: str) -> list[Markup]:
    """The middle of a photograph as it is and denoised; there is no clean one to score against."""
    # with as much around it as the denoiser looks at, so that it is as of the whole photograph
    around = central_crop(noisy, SIDE + 2 * denoiser.reach)
    part, denoised = (central_crop(picture, SIDE) for picture in (around, denoiser.denoise(around)))
    bits = denoiser.bit_depth
    removed = amplified_noise(part, denoised, bits=bits)
    pictures = [
        Picture.of(label, pixels, alt=f"{label}, {name}", bits=bits)
        for label, pixels in ((NOISY, part), (METHOD, denoised), (f"removed × {GAIN}", removed))
    ]
    return [
        paragraph(
            "Left of the slider is the middle of the photograph as it is, right of it denoised; {} shows what was "
            "taken away, around grey. That should look like noise: outlines and textures in it are details which "
            "were lost.",
            f"“removed × {GAIN}”",
        ),
        comparison(pictures, caption=name),
    ]


def mean_rows(scored: ScoredPairs) -> list[dict[str, Any]]:
    """The means as plain values; a PSNR that is infinite or unknown is null."""
    return [
        {
            "group": mean.group,
            "camera": mean.condition and mean.condition.camera,
            "iso": mean.condition and mean.condition.iso,
            "pictures": mean.cases,
        }
        | {
            name: {"psnr": score.psnr if math.isfinite(score.psnr) else None, "ssim": score.ssim[SSIM]}
            for name, score in mean.values.items()
        }
        for mean in scored.means
    ]


def _chart(means: Sequence[MeanScore]) -> Markup:
    rows = [
        [
            mean.group,
            mean.condition.camera if mean.condition else "all",
            str(mean.condition.iso) if mean.condition else "all",
            mean.cases,
            f"{mean.values[NOISY].psnr:.2f}",
            f"{mean.values[METHOD].psnr:.2f}",
            f"{mean.values[METHOD].psnr - mean.values[NOISY].psnr:+.2f}",
            mean.values[NOISY].ssim[SSIM],
            mean.values[METHOD].ssim[SSIM],
        ]
        for mean in means
    ]
    last = means[-1].values
    numbers = table(
        [
            "pairs",
            "camera",
            "ISO",
            "pictures",
            "PSNR noisy",
            "PSNR denoised",
            "gain",
            "SSIM noisy",
            "SSIM denoised",
        ],
        rows,
        caption=f"Means in dB; SSIM (convention {SSIM}) is 1 for identical pictures",
    )
    said = f"PSNR of noisy and denoised pictures; over all {last[NOISY].psnr:.2f} and {last[METHOD].psnr:.2f} dB."
    return join([chart(_figure(means), said), numbers])


def _figure(means: Sequence[MeanScore]) -> Figure:
    """A line for each mean, from the PSNR of the noisy pictures to that of the denoised ones."""
    names = [
        title_of(mean.group, mean.condition) if mean.condition else f"{label_text(mean.group)}: mean"
        for mean in means
    ]
    figure, [[ax]] = new_figure(1, 1, 8.6, 0.28 * len(means) + 0.6)
    before, after = ([mean.values[name].psnr for mean in means] for name in (NOISY, METHOD))
    places = range(len(means))
    ax.hlines(places, before, after, color="0.7", linewidth=1.5)
    ax.plot(before, places, "o", color="0.45", label=NOISY, markersize=7)
    ax.plot(after, places, "s", color=COLOURS[0], label=METHOD, markersize=7)
    ax.set_yticks(places, names, fontsize=9)
    ax.set_ylim(len(means) - 0.4, -0.6)
    ax.set_xlabel("PSNR (dB)", fontsize=9)
    legend(figure, [ax])
    return figure


def _pictures(choices: Sequence[Choice], denoiser: Denoiser) -> list[Markup]:
    items = []
    for choice in choices:
        case, scores = choice.scored.case, choice.scored.scores
        place = f"{case.condition.camera}, ISO {case.condition.iso}" if case.condition else case.group
        noisy, clean = case.read()
        assert clean is not None  # it was scored
        denoised = denoiser.denoise(noisy)
        bits = denoiser.bit_depth
        parts = {
            name: central_crop(picture, SIDE)
            for name, picture in ((NOISY, noisy), (METHOD, denoised), ("clean", clean))
        }
        errors = {name: amplified_noise(parts[name], parts["clean"], bits=bits) for name in (NOISY, METHOD)}
        viewers = [
            comparison(
                [Picture.of(name, part, alt=f"{name}, {place}", bits=bits) for name, part in parts.items()],
                caption=f"{choice.label}, {choice.gain:+.2f} dB: from {scores[NOISY].psnr:.2f} to "
                f"{scores[METHOD].psnr:.2f} dB. {place}, {case.name}",
            ),
            comparison(
                [
                    Picture.of(name, error, alt=f"error, {name}, {place}", bits=bits)
                    for name, error in errors.items()
                ],
                caption=f"{choice.label}, {case.name}: what still differs from the clean picture × {GAIN}, around grey",
            ),
        ]
        condition = (
            (case.condition.camera, str(case.condition.iso)) if case.condition else ("unknown", "unknown")
        )
        items.append((condition, join(viewers)))
    return [
        paragraph(
            "In order of the gain, which is the PSNR after minus that before. Below each picture the errors: on the "
            "right there should be less than on the left, and no outlines, which are lost details."
        ),
        gallery(["camera", "ISO"], items, what="pictures"),
    ]
