"""The page of a noise model: what it is, what its noise looks like, and how near it comes to real noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisegen.conditions import Condition
from noisegen.datasets.pairs import Pair
from noisegen.errors import InputError, UsageError
from noisegen.evaluation.method_cost import parameter_count
from noisegen.evaluation.noise_eval import central_crop
from noisegen.images import read_image
from noisegen.models import model_of_checkpoint
from noisegen.models.checkpoint import Checkpoint, checkpoint_sha256, read_checkpoint
from noisegen.models.learning import LearnedModel
from noisegen.models.pictures import check_picture
from noisegen.noisy_pool import needs_references
from noisegen.progress import Progress
from noisegen.report.checkpoint_parts import provenance
from noisegen.report.choosing import spread_conditions
from noisegen.report.drawn_noise import TONES, DrawnNoise, measure_noise
from noisegen.report.drawn_pieces import level_pieces, sample_pieces, shape_pieces
from noisegen.report.model_facts import (
    condition_pieces,
    identity_pieces,
    lead_text,
    selection_pieces,
    training_pieces,
)
from noisegen.report.options import ReportOptions
from noisegen.report.real_noise import (
    RealNoise,
    condition_rows,
    measure_real_noise,
    real_noise_pieces,
    select_pictures,
)
from noisegen.report.rendered_chart import rendered_chart
from noisegen.synthesis.photograph_noise import PhotographNoise
from noisegen.webpages.markup import Markup, details, fragment, join, paragraph
from noisegen.webpages.page import Page, Section

__all__ = ["model_page"]

# Of so many cameras and ISO settings noise is measured at most, and of so many a picture is shown if the page does not
# become too large for it: that takes so many bytes at most, fewer where real pairs are shown too.
MEASURED, SHOWN = 32, 16
BUDGET, BUDGET_WITH_PAIRS = 10_000_000, 4_000_000
SIDE = 320


@dataclass(frozen=True)
class _Drawn:
    """Noise that was drawn for the page, and one line for each condition that could not be."""

    measured: Sequence[DrawnNoise]
    noisy: Sequence[tuple[Condition, np.ndarray]]
    problems: Sequence[str]
    real: RealNoise | None


def model_page(path: Path, options: ReportOptions) -> Page:
    """The page of a noise model's checkpoint.

    Noise is drawn on made pictures, 0.2 megapixels for each of at most 32 pairs of camera and ISO, and on a piece of
    320 x 320 pixels of the photograph, or of a chart, for at most 16 of them. Of real pairs at most 8 are scored of
    each of at most 16 pairs of camera and ISO, of each the central 512 x 512 pixels.

    Args:
        path: the checkpoint.
        options: what to show.

    Raises:
        UsageError: the checkpoint, the photograph, the table or the pool cannot be used.
    """
    checkpoint = read_checkpoint(path)
    model = model_of_checkpoint(checkpoint, str(path))
    options = options.for_scoring()
    pairs = options.read_pairs()
    clean = _clean_picture(model, options.photo)
    drawn = None
    if options.noisy_pool is not None or not needs_references(model):
        drawn = _draw(path, model, clean, pairs, options)
    measured = drawn.measured if drawn else []
    return Page(
        f"Noise model {path.stem}",
        lead_text(model),
        [
            Section("What it is", [*identity_pieces(path, checkpoint, model), *_gaps(drawn, model)]),
            Section("Samples", _samples(drawn, clean, model.bit_depth, options)),
            Section("Against real noise", _against_real(drawn, options, len(pairs))),
            Section("How strong the noise is", level_pieces(measured) if measured else []),
            Section("What the noise is like", shape_pieces(measured) if measured else []),
            Section("Cameras and ISO", condition_pieces(model.vocabulary, checkpoint.card)),
            Section("Scores of the training", selection_pieces(checkpoint.card)),
            Section("Training", training_pieces(path, checkpoint)),
            provenance(path, checkpoint),
        ],
        _numbers(path, checkpoint, model, drawn),
    )


def _clean_picture(model: LearnedModel, photo: Path | None) -> np.ndarray:
    """What samples are drawn on."""
    if photo is None:
        return rendered_chart(model.channels, model.bit_depth)
    try:
        picture = central_crop(read_image(photo), SIDE)
        check_picture(model, picture)
    except InputError as error:
        raise UsageError(f"--photo {photo}: {error}") from error
    return picture


def _draw(
    path: Path, model: LearnedModel, clean: np.ndarray, pairs: Sequence[Pair], options: ReportOptions
) -> _Drawn:
    noise = PhotographNoise(path, noisy_pool=options.noisy_pool, device=options.device)
    measured = sorted(spread_conditions(model.vocabulary.known, MEASURED))
    scored = select_pictures(pairs)
    shown = min(options.samples, SHOWN)
    noisy, real = [], None
    with Progress(len(measured) + len(scored), "measurement", "report") as progress:
        found, problems = measure_noise(noise, measured, seed=options.seed, advance=progress.update)
        for condition in spread_conditions([drawn.condition for drawn in found], shown):
            noisy.append((condition, noise.add(clean, condition, seed=options.seed, image_id="sample")))
        if scored:
            real = measure_real_noise(
                noise.model,
                scored,
                seed=options.seed,
                device=noise.device,
                advance=lambda pixels: progress.update(pixels=pixels),
            )
    return _Drawn(found, noisy, problems, real)


def _gaps(drawn: _Drawn | None, model: LearnedModel) -> list[Markup]:
    """What the page does not show, and why."""
    if drawn is None:
        return [
            paragraph(
                "<strong>This page shows no noise of the model.</strong> It learns from real noisy pictures what "
                "noise to make; with a table of real pairs as <code>--noisy-pool</code> the same command shows "
                "samples and measurements."
            )
        ]
    known, measured = len(model.vocabulary.known), len(drawn.measured) + len(drawn.problems)
    told = []
    if measured < known:
        told.append(
            paragraph(
                "Measured below are {} of the {} known pairs of camera and ISO, spread over the cameras.",
                measured,
                known,
            )
        )
    if drawn.problems:
        lines = join(fragment("<li>{}</li>", problem) for problem in drawn.problems)
        told.append(details(f"Left out: {len(drawn.problems)}", [fragment("<ul>{}</ul>", lines)]))
    return told


def _samples(drawn: _Drawn | None, clean: np.ndarray, bits: int, options: ReportOptions) -> list[Markup]:
    if drawn is None or not drawn.noisy:
        return []
    what = "a rendered chart" if options.photo is None else "the middle of the photograph"
    budget = BUDGET_WITH_PAIRS if drawn.real else BUDGET
    return sample_pieces(clean, drawn.noisy, bits=bits, what=what, budget=budget)


def _against_real(drawn: _Drawn | None, options: ReportOptions, pairs: int) -> list[Markup]:
    if drawn is None or drawn.real is None or options.pairs is None:
        return []
    split = f", split {options.split}" if options.split else ""
    return real_noise_pieces(
        drawn.real, samples=options.samples, source=f"{options.pairs.name}{split}", of=pairs
    )


def _numbers(path: Path, checkpoint: Checkpoint, model: LearnedModel, drawn: _Drawn | None) -> dict[str, Any]:
    """What the page shows, as plain values."""
    numbers: dict[str, Any] = {
        "kind": checkpoint.kind,
        "sha256": checkpoint_sha256(path),
        "parameters": parameter_count(model),
        "channels": model.channels,
        "bit_depth": model.bit_depth,
        "known": [[known.camera, known.iso] for known in model.vocabulary.known],
    }
    if drawn is None:
        return numbers
    numbers["noise"] = [
        {
            "camera": noise.condition.camera,
            "iso": noise.condition.iso,
            "std": {tone: noise.tone_std(tone) for tone in TONES},
            "next_pixel": noise.flat.neighbour,
            "between_channels": noise.channels.tolist(),
        }
        for noise in drawn.measured
    ]
    numbers["problems"] = list(drawn.problems)
    if drawn.real is not None:
        numbers["real"] = condition_rows(drawn.real)
        numbers["problems"] += drawn.real.problems
    return numbers
