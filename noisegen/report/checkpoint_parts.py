"""What the pages of noise models and of denoisers share: training, curves and provenance, of the card."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from noisegen.evaluation.plot_style import label_text
from noisegen.models.checkpoint import Checkpoint, checkpoint_sha256
from noisegen.training.curves import curves_figure
from noisegen.training.journal import read_journal
from noisegen.webpages.markup import Markup, code_block, details, facts, paragraph, table
from noisegen.webpages.page import Section
from noisegen.webpages.pictures import chart

__all__ = [
    "as_list",
    "as_mapping",
    "curve_pieces",
    "file_size",
    "pictures_of",
    "provenance",
    "recipe_pieces",
    "short",
]

# A card is free JSON of any size; so much of a value, and of the whole, is shown.
LONGEST_VALUE = 400
LONGEST_CARD = 40_000


def as_mapping(value: object) -> Mapping[str, Any]:
    """A part of a card that should be an object; empty where it is something else."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[Any]:
    """A part of a card that should be a list; empty where it is something else."""
    return value if isinstance(value, list) else []


def short(value: object) -> object:
    """A value of a card for a table: numbers as they are, everything else as text that is not endless."""
    if value is None or (
        isinstance(value, int | float) and math.isfinite(value) and not isinstance(value, bool)
    ):
        return value
    text = value if isinstance(value, str) else _json(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def pictures_of(channels: int, bits: int) -> str:
    """The pictures that a model is for, in words."""
    return f"{bits}-bit {'RGB' if channels == 3 else 'grey'} pictures"


def file_size(path: Path) -> str:
    """Of a file, in kB or MB."""
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def recipe_pieces(card: Mapping[str, Any]) -> list[Markup]:
    """How it was trained: the recipe, each value."""
    recipe = as_mapping(card.get("recipe"))
    session = as_mapping(card.get("session"))
    seconds = session.get("training_seconds", session.get("last_session_seconds"))
    told = [
        ("steps", short(recipe.get("steps"))),
        ("patches per step", short(recipe.get("batch"))),
        ("seed", short(recipe.get("seed"))),
        ("weights kept", short(recipe.get("keep"))),
        ("trained on", short(session.get("device"))),
        ("time", _duration(seconds)),
    ]
    known = [(name, value) for name, value in told if value is not None]
    rest = [(name, short(value)) for name, value in recipe.items()]
    return [
        *([facts(known)] if known else []),
        *([details("Every value of the recipe", [facts(rest)])] if rest else []),
    ]


def curve_pieces(
    path: Path, *, titles: Mapping[str, str], scores: Sequence[str], best: object, from_zero: bool, words: str
) -> list[Markup]:
    """The curves of the training whose folder lies beside the checkpoint; where there is none, a line that says so.

    Args:
        path: the checkpoint.
        titles: of the losses, by name; others keep their name.
        scores: names of the validation's scores in the journal.
        best: the step whose weights were kept.
        from_zero: whether the scores' axis begins at 0.
        words: what to look for.
    """
    folder = path.with_name(path.name + ".train")
    try:
        logged = read_journal(folder / "log.csv")
    except (OSError, ValueError, csv.Error):
        return [
            paragraph(
                "There are no learning curves: the folder <code>{}</code> with the training's log is not here.",
                folder.name,
            )
        ]
    finite = {name: [entry for entry in curve if math.isfinite(entry[1])] for name, curve in logged.items()}
    values = {name: curve for name, curve in finite.items() if curve}
    losses = {name: label_text(titles.get(name, name)) for name in values if name not in scores}
    marked = best if isinstance(best, int) else None
    figure = curves_figure(values, losses=losses, scores=scores, best=marked, from_zero=from_zero)
    if figure is None:
        return []
    ends = "; ".join(
        f"{name} {curve[0][1]:.4g} at first, {curve[-1][1]:.4g} at last" for name, curve in values.items()
    )
    rows = []
    for name, curve in values.items():
        heights = [height for _, height in curve]
        rows.append([titles.get(name, name), len(curve), heights[0], min(heights), max(heights), heights[-1]])
    heads = ["curve", "values", "first", "lowest", "highest", "last"]
    return [
        paragraph("{}", words),
        chart(figure, f"Learning curves: {ends}.", [table(heads, rows, caption="Learning curves")]),
    ]


def provenance(path: Path, checkpoint: Checkpoint) -> Section:
    """Which file this is and what made it, with the whole card."""
    card, session = checkpoint.card, as_mapping(checkpoint.card.get("session"))
    text = _json(dict(card), indent=1)
    if len(text) > LONGEST_CARD:
        text = f"{text[:LONGEST_CARD]}\n… and {len(text) - LONGEST_CARD} characters more"
    return Section(
        "Provenance",
        [
            facts(
                [
                    ("file", path.name),
                    ("SHA-256", checkpoint_sha256(path)),
                    ("made by noisegen", short(card.get("noisegen"))),
                    ("PyTorch", short(session.get("torch"))),
                ]
            ),
            details(
                "The architecture", [facts((name, short(value)) for name, value in checkpoint.config.items())]
            ),
            details("The whole card", [code_block(text, name="The card as JSON")]),
        ],
    )


def _json(value: object, indent: int | None = None) -> str:
    try:
        return json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False)
    except RecursionError:
        return "(nested too deeply to be shown)"


def _duration(seconds: object) -> str | None:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
