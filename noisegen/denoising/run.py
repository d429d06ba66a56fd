"""From sources to a denoiser's checkpoint with its card: what `noisegen train-denoiser` does."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noisegen import __version__
from noisegen.datasets.pairs import Pair, file_sha256, read_pairs, splits_of
from noisegen.denoising.config import DenoiserConfig
from noisegen.denoising.sources import (
    TRAIN,
    Source,
    SourceSpec,
    kinds_of,
    open_source,
    parse_source,
)
from noisegen.errors import UsageError
from noisegen.fitting.one_pass import fit_models, is_fitted_type
from noisegen.models import NoiseModel, checkpoint_sha256, load_noise_model, prepare_for_synthesis
from noisegen.models.checkpoint import Checkpoint, write_checkpoint
from noisegen.noisy_pool import NoisyPool, needs_references, read_pool, takes_references, with_pool
from noisegen.training.outputs import claim, is_finished

__all__ = ["train_denoiser"]

VALIDATE = "val"


def train_denoiser(
    sources: Sequence[str],
    output: Path,
    config: DenoiserConfig,
    *,
    noise_model: str = "default",
    fit_on: Path | None = None,
    noisy_pool: str | Path | None = None,
    split: str | None = None,
    root: Path | None = None,
    validate: Path | None = None,
    validate_split: str | None = None,
    bit_depth: int | None = None,
    licence: str = "not stated",
    device: str = "cpu",
    mixed_precision: bool = False,
    workers: int | None = None,
    quiet: bool = False,
) -> bool:
    """Trains a DnCNN and writes the checkpoint `output`, whole or not at all.

    The state of an interrupted training lies in the folder `output` + ".train" and is continued; a finished checkpoint
    of the same recipe and sources is left as it is. Loss and PSNR are drawn in `output` + ".curves.png". Started by
    torchrun, several processes train together.

    Args:
        sources: see `noisegen.denoising.sources.parse_source`.
        output: the .safetensors file to write.
        config: the recipe.
        noise_model: of clean sources: "default", a checkpoint, or a type that needs no training, fitted on `fit_on`.
        fit_on: table of real pairs; None for the first table of pairs among the sources.
        noisy_pool: table of real pairs whose noisy pictures a noise model that takes references has for such; None for
            the first table of pairs among the sources, if the model needs references.
        split: of tables of pairs and built datasets to train (and fit) on; None for "train" where marked, else all.
        root: folder that relative paths of manifests start from.
        validate: table of real pairs to validate on; None for the first one among the sources, if it marks "val".
        validate_split: of that table; None for "val" where it is marked, else all; "" for no validation.
        bit_depth: of the pictures; needed for 16-bit files of pairs.
        licence: terms of the training pictures, for the card.
        device, mixed_precision, workers, quiet: see `noisegen.denoising.trainer.train_dncnn`.

    Returns:
        False when the finished checkpoint was already there.

    Raises:
        UsageError: bad sources or options, or `output` holds another model.
    """
    import torch

    from noisegen.denoising.trainer import train_dncnn
    from noisegen.training.distributed import joined_ranks, local_device

    device = local_device(device)
    specs = [parse_source(text) for text in sources]
    tables = [spec.path for spec in specs if spec.kind in ("pairs", "clean pairs")]
    work = output.with_name(output.name + ".train")
    with joined_ranks(device, config.batch) as ranks:
        model: NoiseModel | None = None
        drawn: dict[str, Any] = {}
        if any(spec.needs_noise for spec in specs):
            model, drawn = _noise_model(
                noise_model, fit_on, noisy_pool, tables, split, bit_depth, device, mixed_precision
            )
        elif noisy_pool is not None:
            raise UsageError("no source needs synthetic noise, so --noisy-pool serves nothing; leave it out")
        opened = [open_source(spec, split=split, noise_model=model, root=root) for spec in specs]
        for problem in (problem for source in opened for problem in source.problems) if ranks.leads else ():
            print(f"left out: {problem}", file=sys.stderr)
        channels, depth = _kind(opened, model, bit_depth)
        validation, checked = _validation(specs, validate, validate_split)
        data = {
            "sources": [source.record for source in opened],
            "noise_model": drawn,
            "validation_pairs": checked,
        }
        card: dict[str, Any] = {
            "noisegen": __version__,
            "licence": licence,
            "recipe": config.to_dict(),
        } | data
        if ranks.first(lambda: is_finished(output, card)):
            return False
        ranks.first(lambda: claim(work, data))
        start = time.monotonic()
        trained = train_dncnn(
            opened,
            config,
            work,
            channels=channels,
            bit_depth=depth,
            noise_model=model,
            validation=validation,
            curves=output.with_name(output.name + ".curves.png"),
            device=device,
            mixed_precision=mixed_precision,
            workers=workers,
            ranks=ranks,
            quiet=quiet,
        )
        if ranks.leads:
            scores = trained.validation
            card["selection"] = scores and {"kept": config.keep, **scores.to_dict()}
            card["session"] = {
                "torch": torch.__version__,
                "device": device,
                "processes": ranks.size,
                "last_session_seconds": round(time.monotonic() - start),
            }
            sizes = {"channels": channels, "layers": config.layers, "width": config.width, "bit_depth": depth}
            write_checkpoint(output, Checkpoint("dncnn", sizes, trained.model.state_dict(), None, card))
    return True


def _noise_model(
    name: str,
    fit_on: Path | None,
    noisy_pool: str | Path | None,
    tables: Sequence[Path],
    split: str | None,
    bit_depth: int | None,
    device: str,
    mixed_precision: bool,
) -> tuple[NoiseModel, dict[str, Any]]:
    """The model in its fastest form, frozen, and what it is, for the card."""
    if not is_fitted_type(name):
        precision = "bfloat16" if mixed_precision else "float32"
        loaded, record = load_noise_model(name, device=device), {}
        model = prepare_for_synthesis(loaded, device=device, precision=precision)
        sha256 = checkpoint_sha256(name)
        if pool := _pool(name, loaded, sha256, noisy_pool, tables, split):
            model, record = with_pool(model, pool), {"noisy_pool": pool.record()}
        return model, {"name": Path(name).name, "sha256": sha256} | record
    if fit_on is None:
        if not tables:
            raise UsageError(f"noise model {name} is fitted on real pairs; give their table by --fit-on")
        fit_on = tables[0]
    split = _marked(fit_on, split, TRAIN)
    fitted = fit_models([name], read_pairs(fit_on, split=split or None), bit_depth)[name]
    takes_references(fitted, noisy_pool)
    return fitted.to(device), {
        "name": name,
        "fit_on": fit_on.name,
        "sha256": file_sha256(fit_on),
        "split": split,
    }


def _pool(
    name: str,
    model: NoiseModel,
    sha256: str,
    table: str | Path | None,
    tables: Sequence[Path],
    split: str | None,
) -> NoisyPool | None:
    """The references of a noise model that takes them, as `train_denoiser` says."""
    by_default = table is None and bool(tables) and needs_references(model)
    if by_default:
        table = tables[0]
    if not takes_references(model, table):
        return None
    assert table is not None
    return read_pool(table, load_noise_model(name), sha256, split=split if by_default else None)


def _kind(opened: Sequence[Source], model: NoiseModel | None, bit_depth: int | None) -> tuple[int, int]:
    """Channels and bit depth of all pictures."""
    kinds = kinds_of(opened)
    if len(kinds) > 1:
        raise UsageError(
            f"the sources mix pictures of several kinds (channels, bits): {sorted(kinds)}; train on one kind"
        )
    ((channels, bits),) = kinds
    stated = {depth for source in opened for depth in source.bit_depths}
    stated |= {model.bit_depth} if model is not None else set()
    stated |= {bit_depth} if bit_depth is not None else set()
    stated |= {8} if bits == 8 else set()
    if not stated:
        raise UsageError(
            "the pairs are 16-bit files; say how many bits the camera fills by --bit-depth (9 to 16)"
        )
    if len(stated) > 1 or (model is not None and model.channels != channels):
        raise UsageError(
            f"pictures of {channels} channel(s) in {bits}-bit files, and bit depths {sorted(stated)} of options, "
            "datasets and noise model, do not fit together"
        )
    return channels, stated.pop()


def _validation(
    specs: Sequence[SourceSpec], table: Path | None, split: str | None
) -> tuple[list[Pair], dict[str, Any] | None]:
    """The pairs to validate on, and what they are, for the card."""
    if split == "" and table is None:
        return [], None
    if table is None:
        candidates = [spec.path for spec in specs if spec.kind in ("pairs", "clean pairs")]
        table = next((path for path in candidates if (split or VALIDATE) in splits_of(path)), None)
        if table is None:
            if split:
                raise UsageError(
                    f"no table of pairs among the sources has the split {split!r}; give --validate"
                )
            return [], None
    split = _marked(table, split, VALIDATE)
    pairs = read_pairs(table, split=split or None)
    return pairs, {"name": table.name, "sha256": file_sha256(table), "split": split, "pairs": len(pairs)}


def _marked(table: Path, split: str | None, usual: str) -> str | None:
    """The split that is asked for; None for the usual one where the table marks it, else for all pairs."""
    if split is None and usual in splits_of(table):
        return usual
    return split
