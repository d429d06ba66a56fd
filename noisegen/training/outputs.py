"""The checkpoint that a training is to make, and the folder of its state: made once, continued, never mixed up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noisegen.errors import UsageError
from noisegen.models.checkpoint import read_checkpoint

__all__ = ["claim", "is_finished", "training_record"]


def is_finished(output: Path, card: Mapping[str, Any]) -> bool:
    """Whether `output` is the checkpoint that is to be made: its card has everything of `card`.

    Raises:
        UsageError: it is another one.
    """
    if not output.exists():
        return False
    existing = read_checkpoint(output).card
    if all(existing.get(key) == value for key, value in json.loads(json.dumps(card)).items()):
        return True
    raise UsageError(
        f"{output} holds a model of other training data or another recipe; choose another name or remove it"
    )


def claim(work: Path, data: Mapping[str, Any]) -> None:
    """Makes the folder of a training's state and notes in `data.json` what it trains on, or sees that it is this.

    Raises:
        UsageError: the folder cannot be made, or belongs to a training on other data.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{work}, the folder of the training's state, cannot be made: {error}") from error
    record = work / "data.json"
    if not record.exists():
        record.write_text(json.dumps(data, indent=1) + "\n")
        return
    try:
        stored: dict[str, Any] = dict(json.loads(record.read_text()))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{record} is damaged; delete {work} to start over") from error
    wanted = json.loads(json.dumps(data))
    if stored != wanted:
        different = [key for key in wanted if stored.get(key) != wanted[key]]
        raise UsageError(
            f"{work} holds the state of a training on other data ({', '.join(different)} differ); "
            "use the same to continue, or delete the folder to start over"
        )


def training_record(output: Path, trained: bool) -> dict[str, Any]:
    """What came of a training: the file, what it is, and its card with recipe, data, scores and time.

    Args:
        output: the finished checkpoint.
        trained: whether it was made now.
    """
    checkpoint = read_checkpoint(output)
    known = checkpoint.vocabulary
    return {
        "checkpoint": str(output),
        "trained": trained,
        "kind": checkpoint.kind,
        "cameras": known and list(known.cameras),
        "isos": known and list(known.isos),
        "card": dict(checkpoint.card),
    }
