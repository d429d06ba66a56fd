"""Parts of a noise model's page that its checkpoint alone tells: what it is, its cameras, its training and scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noisegen.conditions import Vocabulary
from noisegen.evaluation.method_cost import parameter_count
from noisegen.models.checkpoint import Checkpoint
from noisegen.models.learning import LearnedModel
from noisegen.models.registry import model_type
from noisegen.report.checkpoint_parts import (
    as_list,
    as_mapping,
    curve_pieces,
    file_size,
    pictures_of,
    recipe_pieces,
    short,
)
from noisegen.report.model_words import model_words
from noisegen.webpages.markup import Markup, facts, fragment, paragraph, table

__all__ = ["condition_pieces", "identity_pieces", "lead_text", "selection_pieces", "training_pieces"]

SCORES = ("kld_nm", "acf_error")


def lead_text(model: LearnedModel) -> str:
    """What the model does, in one sentence."""
    isos, cameras = len(model.vocabulary.known), len(model.vocabulary.cameras)
    return (
        f"A noise model: it puts noise like that of {cameras} {'camera' if cameras == 1 else 'cameras'}, known at "
        f"{isos} ISO {'setting' if isos == 1 else 'settings'} in all, on clean "
        f"{pictures_of(model.channels, model.bit_depth)}."
    )


def identity_pieces(path: Path, checkpoint: Checkpoint, model: LearnedModel) -> list[Markup]:
    """Its type, in words, and its size."""
    title, words = model_words(checkpoint.kind)
    return [
        paragraph("<strong>{}.</strong> {}", title, words),
        facts(
            [
                ("type", checkpoint.kind),
                ("numbers it draws with", parameter_count(model)),
                ("file", f"{path.name}, {file_size(path)}"),
                ("for", pictures_of(model.channels, model.bit_depth)),
                ("licence of its training data", short(checkpoint.card.get("licence"))),
            ]
        ),
    ]


def condition_pieces(vocabulary: Vocabulary, card: Mapping[str, Any]) -> list[Markup]:
    """The cameras and ISO settings that it knows, and from how many pairs."""
    counts: Counter[str] = Counter()
    for row in as_list(as_mapping(card.get("training_pairs")).get("conditions")):
        if isinstance(row, list) and len(row) == 3 and isinstance(row[2], int):
            counts[str(row[0])] += row[2]
    rows = [
        [
            camera,
            ", ".join(map(str, isos := vocabulary.isos_of(camera))),
            counts[camera] or None,
            "any ISO between these" if len(isos) > 1 else "this ISO only",
        ]
        for camera in vocabulary.cameras
    ]
    return [
        paragraph(
            "An ISO between two known ones is interpolated by where it lies between them in photographic stops (log "
            "ISO): the model's numbers of both are mixed, or the references of the nearer one are taken. ISO settings "
            "below or above what is known of a camera, and cameras that are not in this list, are refused."
        ),
        table(
            ["camera", "known ISO", "training pairs", "can be asked for"],
            rows,
            caption="What the model knows",
        ),
    ]


def selection_pieces(card: Mapping[str, Any]) -> list[Markup]:
    """The scores that the training left in the card."""
    selection = as_mapping(card.get("selection"))
    if not selection:
        return []
    rows = [
        [short(row[0]), str(short(row[1])), *map(short, row[2:])]
        for row in as_list(selection.get("conditions"))
        if isinstance(row, list) and len(row) == 4
    ]
    return [
        paragraph(
            "While it was trained it was compared with real pairs (split {}) that it was not trained on, of each a "
            "few. 0 is perfect: <code>kld_nm</code> compares histograms, <code>acf_error</code> the grain. Weights "
            "kept: {} (step {}).",
            short(selection.get("split")),
            short(selection.get("kept")),
            short(selection.get("step")),
        ),
        facts([(name, short(selection.get(name))) for name in SCORES]),
        *(
            [table(["camera", "ISO", *SCORES], rows, caption="At the end of the training, by camera and ISO")]
            if rows
            else []
        ),
    ]


def training_pieces(path: Path, checkpoint: Checkpoint) -> list[Markup]:
    """Data, recipe and learning curves."""
    card = checkpoint.card
    training, validation = (as_mapping(card.get(name)) for name in ("training_pairs", "validation_pairs"))
    kind = model_type(checkpoint.kind)
    data = [
        ("training pairs", short(training.get("pairs"))),
        ("table", short(training.get("table"))),
        ("split", short(training.get("split"))),
        ("SHA-256 of the table", short(training.get("table_sha256"))),
        ("validation pairs", short(validation.get("pairs"))),
        ("pairs left out", len(as_list(card.get("excluded_pairs"))) or None),
        ("licence", short(card.get("licence"))),
    ]
    pieces = [facts((name, value) for name, value in data if value is not None), *recipe_pieces(card)]
    if kind.learner is None:
        return [*pieces, paragraph("It was measured on the pairs in one pass, not trained step by step.")]
    return [
        *pieces,
        fragment("<h3>Learning curves</h3>"),
        *curve_pieces(
            path,
            titles=getattr(kind.learner, "titles", {}),
            scores=SCORES,
            best=as_mapping(card.get("selection")).get("step"),
            from_zero=True,
            words="Losses should fall or level off, and scores on real pairs should too; lower is better, except that "
            "adversarial losses of a critic and a generator swing against each other.",
        ),
    ]
