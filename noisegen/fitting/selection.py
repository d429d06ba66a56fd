"""Which rows of a table of pairs are trained and validated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from noisegen.conditions import Vocabulary
from noisegen.datasets.pair_checks import check_pairs
from noisegen.datasets.pairs import Pair, keep_cameras, read_pairs, read_rows, splits_of
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
        excluded: (row, name, problems) of the pairs left out as bad, rows counted from 1.
    """

    training: list[Pair]
    validation: list[Pair]
    split: str | None = None
    validation_split: str = ""
    not_covered: int = 0
    excluded: tuple[tuple[int, str, str], ...] = ()


def select_pairs(
    table: Path,
    *,
    split: str | None = None,
    validate_split: str | None = None,
    cameras: Sequence[str] = (),
    exclude_bad: bool = False,
    bit_depth: int | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Selection:
    """Reads and checks the rows that a training needs.

    Args:
        table: see `noisegen.datasets.pairs.read_pairs`.
        split: train on this split; None for the rows marked "train" if there are any, else all.
        validate_split: validate on this split, "" for none; None for the rows marked "val" where there are any and
            training is on those marked "train".
        cameras: only these, for a camera-specific model (paper section IV-F); none given means all.
        exclude_bad: leave out the pairs in which `noisegen.datasets.pair_checks.check_pairs` finds problems.
        bit_depth: of 16-bit files, for these checks.
        advance: called after each pair that was checked.

    Raises:
        UsageError: rows are bad (unless left out), a split or a camera does not occur, no pair is good, or training
            covers no pair of the split that `validate_split` names.
    """
    splits = splits_of(table)
    if split is None and TRAIN in splits:
        split = TRAIN
    excluded: list[tuple[int, str, str]] = []
    if exclude_bad:
        training = _good_pairs(table, split, cameras, bit_depth, excluded, advance)
    else:
        training = keep_cameras(read_pairs(table, split=split), cameras, table)
    if not training:
        listed = "".join(f"\n  row {number}, {name}: {problems}" for number, name, problems in excluded[:20])
        camera = f" of camera {', '.join(cameras)}" if cameras else ""
        raise UsageError(f"{table}: no good pair{camera} to train on; bad are:{listed or ' none'}")
    wanted = validate_split
    if wanted is None:
        wanted = VALIDATE if split == TRAIN and VALIDATE in splits else ""
    if not wanted:
        return Selection(training, [], split, excluded=tuple(excluded))
    vocabulary = Vocabulary.of(pair.condition for pair in training)
    if exclude_bad:
        candidates = _good_pairs(table, wanted, cameras, bit_depth, excluded, advance)
    else:
        candidates = [
            p for p in read_pairs(table, split=wanted) if not cameras or p.condition.camera in cameras
        ]
    validation = [pair for pair in candidates if _covers(vocabulary, pair)]
    if not validation and validate_split:
        raise UsageError(
            f"{table}: no pair of split {wanted!r} is of a camera and ISO that is trained on; "
            "choose another --validate-split, '' for none"
        )
    return Selection(
        training,
        validation,
        split,
        wanted if validation else "",
        len(candidates) - len(validation),
        tuple(excluded),
    )


def _good_pairs(
    table: Path,
    split: str | None,
    cameras: Sequence[str],
    bit_depth: int | None,
    excluded: list[tuple[int, str, str]],
    advance: Callable[[], object],
) -> list[Pair]:
    """The pairs without problems; the others are added to `excluded`."""
    rows = [row for row in read_rows(table, split=split) if not cameras or row.fields["camera"] in cameras]
    checks = check_pairs(rows, bit_depth=bit_depth, advance=advance)
    for check in checks:
        if check.problems:
            problems = "; ".join(f"{problem.reason}: {problem.message}" for problem in check.problems)
            excluded.append((check.row.number, check.row.name, problems))
    return [check.pair for check in checks if check.pair is not None and not check.problems]


def _covers(vocabulary: Vocabulary, pair: Pair) -> bool:
    try:
        vocabulary.resolve(pair.condition)
    except InputError:
        return False
    return True
