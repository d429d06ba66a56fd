"""From a table of pairs to a checkpoint with its card: what `noisegen train-noise-model` does."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noisegen import __version__
from noisegen.datasets.pairs import Pair, file_sha256
from noisegen.errors import UsageError
from noisegen.fitting.one_pass import pictures_of
from noisegen.fitting.selection import Selection, select_pairs
from noisegen.images import probe
from noisegen.models import checkpoint_of_model
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.learning import Recipe
from noisegen.models.registry import ModelType
from noisegen.progress import Progress
from noisegen.training.outputs import claim, is_finished

__all__ = ["train_noise_model"]


def train_noise_model(
    table: Path,
    output: Path,
    kind: ModelType,
    recipe: Recipe | None = None,
    *,
    split: str | None = None,
    validate_split: str | None = None,
    cameras: Sequence[str] = (),
    exclude_bad: bool = False,
    bit_depth: int | None = None,
    licence: str = "not stated",
    device: str = "cpu",
    mixed_precision: bool = False,
    quiet: bool = False,
) -> bool:
    """Trains or fits a noise model on the pairs of `table` and writes the checkpoint `output`, whole or not at all.

    Types that are fitted take seconds. Of the others the state of an interrupted training lies in the folder `output` +
    ".train" and is continued; losses and scores are drawn in `output` + ".curves.png"; started by torchrun, several
    processes train together. A finished checkpoint of the same type, recipe and pairs is left as it is.

    Args:
        table: pairs, see `noisegen.datasets.pairs.read_pairs`.
        output: the .safetensors file to write.
        kind: the type of model.
        recipe: one of this type; None for the first one of a type that is learned. Fitted types have none.
        split, validate_split, cameras, exclude_bad: which pairs, see `noisegen.fitting.selection.select_pairs`.
        bit_depth: of the pictures; needed for 16-bit files, which may hold 10 to 16 bits.
        licence: terms of the training pairs, for the card.
        device, mixed_precision, quiet: see `noisegen.fitting.trainer.train_model`.

    Returns:
        False when the finished checkpoint was already there.

    Raises:
        UsageError: bad pairs or options, or `output` holds another model.
    """
    import torch

    from noisegen.fitting.trainer import train_model
    from noisegen.training.distributed import joined_ranks, local_device

    def select() -> Selection:
        with Progress(None, "pair", "check-pairs", quiet=quiet or not exclude_bad) as progress:
            selection = select_pairs(
                table,
                split=split,
                validate_split=validate_split,
                cameras=cameras,
                exclude_bad=exclude_bad,
                bit_depth=bit_depth,
                advance=progress.update,
            )
        for number, name, problems in selection.excluded:
            print(f"{table}, row {number}, {name}: left out: {problems}", file=sys.stderr)
        return selection

    if recipe is None and kind.recipes:
        recipe = next(iter(kind.recipes.values()))
    device = local_device(device)
    work = output.with_name(output.name + ".train")
    with joined_ranks(device, 1 if recipe is None else recipe.batch) as ranks:
        selection = ranks.first(select)
        channels, depth = _kind(selection, bit_depth)
        card: dict[str, Any] = {"noisegen": __version__, "licence": licence, "model_type": kind.name}
        card |= {"recipe": recipe and recipe.to_dict()} | _describe(table, selection)
        if ranks.first(lambda: is_finished(output, card)):
            return False
        if recipe is None:
            start = time.monotonic()
            assert kind.fit is not None
            model = kind.fit(pictures_of(selection.training, depth), depth)
            seconds, validation = time.monotonic() - start, None
        else:
            ranks.first(lambda: claim(work, _describe(table, selection)))
            trained = train_model(
                kind,
                selection.training,
                recipe,
                work,
                validation=selection.validation,
                curves=output.with_name(output.name + ".curves.png"),
                channels=channels,
                bit_depth=depth,
                device=device,
                mixed_precision=mixed_precision,
                ranks=ranks,
                quiet=quiet,
            )
            model, seconds, validation = trained.model, trained.seconds, trained.validation
            kept = {"kept": recipe.keep, "split": selection.validation_split}
            card["selection"] = validation and kept | validation.to_dict()
        if ranks.leads:
            card["session"] = {
                "torch": torch.__version__,
                "device": device,
                "processes": ranks.size,
                "threads": torch.get_num_threads(),
                "training_seconds": round(seconds),
            }
            write_checkpoint(output, checkpoint_of_model(kind.name, model, card))
    return True


def _kind(selection: Selection, bit_depth: int | None) -> tuple[int, int]:
    pairs = selection.training + selection.validation
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


def _describe(table: Path, selection: Selection) -> dict[str, Any]:
    """Which pairs a model is of, for its card."""
    source = {"table": table.name, "table_sha256": file_sha256(table)}
    return {
        "training_pairs": source | _count(selection.training, selection.split),
        "validation_pairs": _count(selection.validation, selection.validation_split)
        | {"not_covered": selection.not_covered},
        "excluded_pairs": [list(row) for row in selection.excluded],
    }


def _count(pairs: Sequence[Pair], split: str | None) -> dict[str, Any]:
    counts = Counter(pair.condition for pair in pairs)
    return {
        "split": split,
        "pairs": len(pairs),
        "conditions": [[c.camera, c.iso, count] for c, count in sorted(counts.items())],
    }
