"""Which rows of a table of pairs are trained and validated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noisegen.conditions import Vocabulary
from noisegen.datasets.pairs import Pair, keep_cameras, read_pairs, splits_of
from noisegen.errors import InputError, UsageError

__all__ = ["Selection", "select_pairs"]

TRAIN, VALIDATE = "train", "val"


@dataclass(frozen=True)
class Selection:
    """The pairs of a training.

    Attributes:
        training: at least one.
        validation: of conditions that training on the former covers; may be empty.
        split: of the training pairs; None for all rows of the table.
        validation_split: of the others; "" for none.
        not_covered: validation pairs left out because training does not cover their camera or ISO.
    """

    training: list[Pair]
    validation: list[Pair]
    split: str | None
    validation_split: str
    not_covered: int


def select_pairs(
    table: Path,
    *,
    split: str | None = None,
    validate_split: str | None = None,
    cameras: Sequence[str] = (),
) -> Selection:
    """Reads and checks the rows that a training needs.

    Args:
        table: see `noisegen.datasets.pairs.read_pairs`.
        split: train on this split; None for the rows marked "train" if there are any, else all.
        validate_split: validate on this split, "" for none; None for the rows marked "val" where there are any and
            training is on those marked "train".
        cameras: only these, for a camera-specific model (paper section IV-F); none given means all.

    Raises:
        UsageError: rows are bad, a split or a camera does not occur, or training covers no pair of the split that
            `validate_split` names.
    """
    splits = splits_of(table)
    if split is None and TRAIN in splits:
        split = TRAIN
    training = keep_cameras(read_pairs(table, split=split), cameras, table)
    wanted = validate_split
    if wanted is None:
        wanted = VALIDATE if split == TRAIN and VALIDATE in splits else ""
    if not wanted:
        return Selection(training, [], split, "", 0)
    vocabulary = Vocabulary.of(pair.condition for pair in training)
    candidates = [p for p in read_pairs(table, split=wanted) if not cameras or p.condition.camera in cameras]
    validation = [pair for pair in candidates if _covers(vocabulary, pair)]
    if not validation and validate_split:
        raise UsageError(
            f"{table}: no pair of split {wanted!r} is of a camera and ISO that is trained on; "
            "choose another --validate-split, '' for none"
        )
    return Selection(
        training, validation, split, wanted if validation else "", len(candidates) - len(validation)
    )


def _covers(vocabulary: Vocabulary, pair: Pair) -> bool:
    try:
        vocabulary.resolve(pair.condition)
    except InputError:
        return False
    return True
