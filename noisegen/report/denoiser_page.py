"""The page of a denoiser: what it is, what it was trained on, and what it does to real noise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisegen.denoising import load_denoiser
from noisegen.denoising.dncnn import DnCNN
from noisegen.denoising.inference import Denoiser
from noisegen.denoising.trainer import LOSSES, SCORES
from noisegen.devices import resolve_device
from noisegen.errors import InputError, UsageError
from noisegen.evaluation.denoising_eval import check_picture
from noisegen.images import read_image
from noisegen.models.checkpoint import Checkpoint, checkpoint_sha256, read_checkpoint
from noisegen.progress import Progress
from noisegen.report.checkpoint_parts import (
    as_list,
    as_mapping,
    curve_pieces,
    file_size,
    pictures_of,
    provenance,
    recipe_pieces,
    short,
)
from noisegen.report.denoised_pieces import (
    ScoredPairs,
    mean_rows,
    open_pairs,
    pair_pieces,
    photo_pieces,
    score_pairs,
)
from noisegen.report.options import ReportOptions
from noisegen.webpages.markup import Markup, facts, fragment, paragraph, table
from noisegen.webpages.page import Page, Section

__all__ = ["denoiser_page"]

# What `noisegen.denoising.sources.SourceSpec.kind` says, in words.
KINDS = {
    "pairs": "real noisy and clean pairs",
    "clean pairs": "the clean pictures of pairs, with synthetic noise",
    "manifest": "photographs, with synthetic noise",
    "dataset": "a built dataset",
    "stream": "a built dataset",
}


def denoiser_page(path: Path, options: ReportOptions) -> Page:
    """The page of a denoiser's checkpoint.

    Of real pairs at most 8 are scored of each camera and ISO and 128 in all, of each the central 512 x 512 pixels; of
    a photograph the middle is denoised.

    Args:
        path: the checkpoint.
        options: what to show; the pairs may be whatever `noisegen.datasets.benchmarks.open_benchmark` opens.

    Raises:
        UsageError: the checkpoint, the photograph or the pairs cannot be used.
    """
    checkpoint = read_checkpoint(path)
    model = load_denoiser(path)
    options = options.for_scoring()
    denoiser = Denoiser(model, device=resolve_device(options.device))
    photo = None if options.photo is None else _photograph(options.photo, denoiser)
    scored = None if options.pairs is None else _score(options.pairs, options.split, denoiser)
    return Page(
        f"Denoiser {path.stem}",
        f"A denoiser: it takes the noise off {pictures_of(model.channels, model.bit_depth)} of any size.",
        [
            Section(
                "What it is",
                _identity(path, checkpoint, model, shows=photo is not None or scored is not None),
            ),
            Section("On real pairs", _on_pairs(scored, denoiser, options)),
            Section("On a photograph", _on_photo(photo, denoiser, options.photo)),
            Section("Trained on", _sources(checkpoint.card)),
            Section("Scores of the training", _selection(checkpoint.card)),
            Section("Training", _training(path, checkpoint.card)),
            provenance(path, checkpoint),
        ],
        _numbers(path, model, scored),
    )


def _photograph(path: Path, denoiser: Denoiser) -> np.ndarray:
    try:
        picture = read_image(path)
        check_picture(picture, denoiser)
    except InputError as error:
        raise UsageError(f"--photo {path}: {error}") from error
    return picture


def _score(pairs: Path, split: str | None, denoiser: Denoiser) -> ScoredPairs:
    benchmarks, of = open_pairs(pairs, split)
    with Progress(sum(len(benchmark.cases) for benchmark in benchmarks), "picture", "report") as progress:
        return score_pairs(denoiser, benchmarks, of, lambda pixels: progress.update(pixels=pixels))


def _identity(path: Path, checkpoint: Checkpoint, model: DnCNN, *, shows: bool) -> list[Markup]:
    parameters = sum(values.numel() for values in model.parameters())
    pieces = [
        paragraph(
            "<strong>DnCNN (Zhang et al. 2017).</strong> A stack of {} small convolutions with {} channels between "
            "them. It estimates the noise of each pixel from those up to {} pixels around it, and subtracts it. It "
            "is told neither camera nor ISO, so it does well on noise like that it was trained on, and may do harm "
            "on other noise.",
            model.layers,
            model.width,
            model.layers,
        ),
        facts(
            [
                ("type", checkpoint.kind),
                ("trained numbers", parameters),
                ("file", f"{path.name}, {file_size(path)}"),
                ("for", pictures_of(model.channels, model.bit_depth)),
                ("licence of its training data", short(checkpoint.card.get("licence"))),
            ]
        ),
    ]
    if not shows:
        pieces.append(
            paragraph(
                "This page shows no pictures: with real pairs as <code>--pairs</code>, or a noisy photograph as "
                "<code>--photo</code>, the same command shows what the denoiser does to them."
            )
        )
    return pieces


def _on_pairs(scored: ScoredPairs | None, denoiser: Denoiser, options: ReportOptions) -> list[Markup]:
    if scored is None or options.pairs is None:
        return []
    split = f", split {options.split}" if options.split else ""
    return pair_pieces(scored, denoiser, source=f"{options.pairs.name}{split}", samples=options.samples)


def _on_photo(photo: np.ndarray | None, denoiser: Denoiser, path: Path | None) -> list[Markup]:
    return [] if photo is None or path is None else photo_pieces(photo, denoiser, path.name)


def _sources(card: Mapping[str, Any]) -> list[Markup]:
    """What it was trained on, with the share of each source, and the noise that clean pictures got."""
    sources = [as_mapping(source) for source in as_list(card.get("sources"))]
    weights = [w if isinstance(w := source.get("weight"), int | float) else 0 for source in sources]
    rows = [
        [
            short(source.get("name")),
            KINDS.get(str(source.get("kind")), short(source.get("kind"))),
            short(source.get("split")),
            short(source.get("pictures")),
            f"{100 * weight / sum(weights):.0f} %" if sum(weights) > 0 else None,
        ]
        for source, weight in zip(sources, weights, strict=True)
    ]
    heads = ["source", "what", "split", "pictures", "share of each batch"]
    noise = as_mapping(card.get("noise_model"))
    pool = as_mapping(noise.get("noisy_pool"))
    told = [
        ("synthetic noise by", short(noise.get("name"))),
        ("its SHA-256", short(noise.get("sha256"))),
        ("measured on", short(noise.get("fit_on"))),
        ("with references from", short(pool.get("table_sha256"))),
    ]
    known = [(name, value) for name, value in told if value is not None]
    return [
        *([table(heads, rows, caption="Sources of training pictures")] if rows else []),
        *([facts(known)] if known else []),
    ]


def _selection(card: Mapping[str, Any]) -> list[Markup]:
    """The scores that the training left in the card."""
    selection = as_mapping(card.get("selection"))
    if not selection:
        return []
    validation = as_mapping(card.get("validation_pairs"))
    rows = [
        [short(row[0]), str(short(row[1])), short(row[2])]
        for row in as_list(selection.get("conditions"))
        if isinstance(row, list) and len(row) == 3
    ]
    return [
        paragraph(
            "While it was trained it was tried on {} real pairs of {} (split {}). PSNR in dB, higher is better; "
            "weights kept: {} (step {}).",
            short(validation.get("pairs")),
            short(validation.get("name")),
            short(validation.get("split")),
            short(selection.get("kept")),
            short(selection.get("step")),
        ),
        facts([("PSNR, mean over cameras and ISO settings", short(selection.get("psnr")))]),
        *(
            [table(["camera", "ISO", "PSNR (dB)"], rows, caption="At the end of the training")]
            if rows
            else []
        ),
    ]


def _training(path: Path, card: Mapping[str, Any]) -> list[Markup]:
    return [
        *recipe_pieces(card),
        fragment("<h3>Learning curves</h3>"),
        *curve_pieces(
            path,
            titles=LOSSES,
            scores=SCORES,
            best=as_mapping(card.get("selection")).get("step"),
            from_zero=False,
            words="The loss should fall and level off, and PSNR rise. If PSNR of training patches goes on rising "
            "while that of the validation falls, the denoiser learns its pictures by heart.",
        ),
    ]


def _numbers(path: Path, model: DnCNN, scored: ScoredPairs | None) -> dict[str, Any]:
    """What the page shows, as plain values."""
    numbers: dict[str, Any] = {
        "kind": "dncnn",
        "sha256": checkpoint_sha256(path),
        "parameters": sum(values.numel() for values in model.parameters()),
        "channels": model.channels,
        "bit_depth": model.bit_depth,
    }
    if scored is not None:
        numbers |= {"pairs": mean_rows(scored), "problems": list(scored.scores.problems)}
    return numbers
