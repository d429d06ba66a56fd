"""From a table of pairs to a checkpoint with its card: what `noisegen train-noise-model` does."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noisegen import __version__
from noisegen.datasets.pairs import Pair, read_pairs
from noisegen.errors import UsageError
from noisegen.fitting.config import TrainConfig
from noisegen.images import probe
from noisegen.models import nm_flowgan_checkpoint
from noisegen.models.checkpoint import read_checkpoint, write_checkpoint

__all__ = ["select_pairs", "train_noise_model"]


def select_pairs(table: Path, split: str | None) -> list[Pair]:
    """The pairs to train on: those of `split`; without one, those marked "train" if there are any, else all.

    Raises:
        UsageError: see `noisegen.datasets.pairs.read_pairs`.
    """
    pairs = read_pairs(table, split=split)
    marked = [pair for pair in pairs if pair.split == "train"]
    return marked if split is None and marked else pairs


def train_noise_model(
    table: Path,
    output: Path,
    config: TrainConfig,
    *,
    split: str | None = None,
    bit_depth: int | None = None,
    licence: str = "not stated",
    device: str = "cpu",
    mixed_precision: bool = False,
    quiet: bool = False,
) -> bool:
    """Trains NM-FlowGAN on the pairs of `table` and writes the checkpoint `output`, whole or not at all.

    The state of an interrupted training lies in the folder `output` + ".train" and is continued; a finished checkpoint
    of the same recipe and pairs is left as it is.

    Args:
        table: pairs, see `noisegen.datasets.pairs.read_pairs`.
        output: the .safetensors file to write.
        config: the recipe.
        split: which pairs, see `select_pairs`.
        bit_depth: of the pictures; needed for 16-bit files, which may hold 10 to 16 bits.
        licence: terms of the training pairs, for the card.
        device, mixed_precision, quiet: see `noisegen.fitting.trainer.train_nm_flowgan`.

    Returns:
        False when the finished checkpoint was already there.

    Raises:
        UsageError: bad pairs or options, or `output` holds another model.
    """
    pairs = select_pairs(table, split)
    channels, depth = _kind(pairs, bit_depth)
    card: dict[str, Any] = {
        "noisegen": __version__,
        "training_pairs": _describe(table, pairs),
        "licence": licence,
        "recipe": config.to_dict(),
    }
    if output.exists():
        existing = read_checkpoint(output).card
        if all(existing.get(key) == value for key, value in json.loads(json.dumps(card)).items()):
            return False
        raise UsageError(
            f"{output} holds a model of other pairs or another recipe; choose another name or remove it"
        )
    work = output.with_name(output.name + ".train")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{work}, the folder of the training's state, cannot be made: {error}") from error
    _keep_to_pairs(work / "pairs.json", card["training_pairs"])
    import torch

    from noisegen.fitting.trainer import train_nm_flowgan

    start = time.monotonic()
    model = train_nm_flowgan(
        pairs,
        config,
        work,
        channels=channels,
        bit_depth=depth,
        device=device,
        mixed_precision=mixed_precision,
        quiet=quiet,
    )
    # The critic judges noise in training only.
    model.critic = None
    session = {
        "torch": torch.__version__,
        "device": device,
        "last_session_seconds": round(time.monotonic() - start),
    }
    write_checkpoint(output, nm_flowgan_checkpoint(model, card | {"session": session}))
    return True


def _keep_to_pairs(record: Path, pairs: dict[str, Any]) -> None:
    """Notes beside the state which pairs it is of, and refuses others."""
    if not record.exists():
        record.write_text(json.dumps(pairs, indent=1) + "\n")
        return
    try:
        stored: dict[str, Any] = dict(json.loads(record.read_text()))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{record} is damaged; delete {record.parent} to start over") from error
    if stored != json.loads(json.dumps(pairs)):
        different = [key for key in pairs if stored.get(key) != pairs[key]]
        raise UsageError(
            f"{record.parent} holds the state of a training on other pairs ({', '.join(different)} differ); "
            "use the same table to continue, or delete the folder to start over"
        )


def _kind(pairs: Sequence[Pair], bit_depth: int | None) -> tuple[int, int]:
    kinds = {(info.channels, info.bits) for info in (probe(pair.clean_path) for pair in pairs)}
    if len(kinds) > 1:
        raise UsageError(
            f"the pairs mix pictures of several kinds (channels, bits): {sorted(kinds)}; train on one kind"
        )
    ((channels, bits),) = kinds
    if bit_depth is None:
        if bits != 8:
            raise UsageError(
                "the pairs are 16-bit files; say how many bits the camera fills by --bit-depth (9 to 16)"
            )
        return channels, bits
    if (bit_depth == 8) != (bits == 8):
        raise UsageError(f"--bit-depth {bit_depth} does not fit the pairs, which are {bits}-bit files")
    return channels, bit_depth


def _describe(table: Path, pairs: Sequence[Pair]) -> dict[str, Any]:
    with table.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    counts = Counter(pair.condition for pair in pairs)
    return {
        "table": table.name,
        "table_sha256": digest,
        "pairs": len(pairs),
        "conditions": [[c.camera, c.iso, count] for c, count in sorted(counts.items())],
    }
