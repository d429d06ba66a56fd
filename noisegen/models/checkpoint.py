"""The checkpoint file: safetensors weights plus a JSON description in the header."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import UsageError
from noisegen.suggestions import did_you_mean_path

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "Checkpoint",
    "checkpoint_licence",
    "checkpoint_sha256",
    "read_checkpoint",
    "read_vocabulary",
    "resolve_checkpoint",
    "restore_module",
    "write_checkpoint",
]

logger = logging.getLogger(__name__)

M = TypeVar("M", bound="nn.Module")

FORMAT = "noisegen-checkpoint"
VERSION = 1
# No width, depth or bit depth comes near; building a network of a damaged depth would take for ever.
LARGEST_SIZE = 1024
# bytes; what safetensors allows
LARGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint file.

    Attributes:
        kind: what the weights are of: "nm-flowgan" or "dncnn".
        config: the architecture's sizes.
        tensors: name -> weights.
        vocabulary: cameras and ISO settings (None for a denoiser).
        card: training data and its licence, command, scores; free JSON.
    """

    kind: str
    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    vocabulary: Vocabulary | None = None
    card: Mapping[str, Any] = field(default_factory=dict)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the file whole or not at all; weights keep their dtype.

    Raises:
        UsageError: weights are not finite, or the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    _refuse_not_finite(checkpoint.tensors, f"{path} is not written")

    vocabulary = checkpoint.vocabulary
    header = {
        "format": FORMAT,
        "version": VERSION,
        "kind": checkpoint.kind,
        "config": dict(checkpoint.config),
        "card": dict(checkpoint.card),
        "vocabulary": None
        if vocabulary is None
        else {
            "cameras": list(vocabulary.cameras),
            "isos": list(vocabulary.isos),
            "known": [[c.camera, c.iso] for c in vocabulary.known],
        },
    }
    temporary = path.with_name(path.name + ".tmp")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary, metadata={"noisegen": json.dumps(header, sort_keys=True)})
        temporary.replace(path)
        logger.info("%s written: %s, %d tensors", path, checkpoint.kind, len(tensors))
    except (OSError, SafetensorError) as error:
        raise UsageError(f"checkpoint {path} cannot be written: {error}") from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint; weights come back as stored.

    Raises:
        UsageError: not a noisegen checkpoint, or its weights are not finite.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UsageError(f"checkpoint {path} does not exist{did_you_mean_path(path)}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("noisegen", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    # the last one stands for JSON of absurd depth
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not a noisegen checkpoint ({error}); the authors' .pth files go through "
            "`noisegen import-checkpoint`"
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UsageError(f"{path} is a safetensors file, but no noisegen checkpoint: its header is missing")
    if header.get("version") != VERSION:
        raise UsageError(
            f"{path} has checkpoint version {header.get('version')}; this noisegen reads {VERSION}"
        )
    _refuse_not_finite(tensors, f"{path} is damaged")
    try:
        vocabulary = _vocabulary(header["vocabulary"])
        config, card = dict(header["config"]), dict(header["card"])
        kind = header["kind"]
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise UsageError(f"{path} has a damaged description: {error!r}") from error
    for name, value in config.items():
        sizes = value if isinstance(value, list) else [value]
        if len(sizes) > LARGEST_SIZE or any(isinstance(s, int) and s > LARGEST_SIZE for s in sizes):
            raise UsageError(
                f"{path}: the weights do not fit the stated architecture: {name} goes beyond {LARGEST_SIZE}"
            )
    logger.info("%s read: %s, %d tensors", path, kind, len(tensors))
    return Checkpoint(kind, config, tensors, vocabulary, card)


def read_vocabulary(source: str | Path) -> Vocabulary | None:
    """The cameras and ISO settings of a checkpoint, None of a denoiser. Reads the header only, without torch.

    Raises:
        UsageError: it is no checkpoint.
        OSError: it cannot be read.
    """
    path = resolve_checkpoint(source)
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size) if size <= LARGEST_HEADER else b"")
        return _vocabulary(json.loads(header["__metadata__"]["noisegen"])["vocabulary"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a noisegen checkpoint ({error!r})") from error


def _vocabulary(stored: Mapping[str, Any] | None) -> Vocabulary | None:
    """What the header says, as an object."""
    if stored is None:
        return None
    return Vocabulary(
        tuple(stored["cameras"]),
        tuple(stored["isos"]),
        tuple(Condition(camera, iso) for camera, iso in stored["known"]),
    )


def _refuse_not_finite(tensors: Mapping[str, torch.Tensor], what: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UsageError(f"{what}: weight {name} holds values that are not finite")


def restore_module(build: Callable[[], M], tensors: Mapping[str, torch.Tensor], where: str) -> M:
    """The module that `build` makes, with the given weights as float32, in eval mode on the CPU.

    Args:
        build: makes the module; called with torch's default device "meta", so that sizes in a damaged file cost no
            memory and nothing is drawn for weights that are replaced anyway.
        tensors: its whole state dict.
        where: the file, for messages.

    Raises:
        UsageError: the module cannot be built, or names or shapes of the weights do not fit it.
    """
    import torch

    weights = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    try:
        with torch.device("meta"):
            module = build()
        module.load_state_dict(weights, assign=True)
    except (RuntimeError, KeyError, TypeError, ValueError, UsageError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{where}: the weights do not fit the stated architecture: {reason}") from error
    return module.eval()


def resolve_checkpoint(source: str | Path) -> Path:
    """The file behind a model argument: "default" is the one that comes with the package."""
    if str(source) != "default":
        return Path(source)
    with resources.as_file(resources.files("noisegen") / "checkpoints" / "default.safetensors") as path:
        return path


def checkpoint_sha256(source: str | Path) -> str:
    """SHA-256 (hex) of the checkpoint's bytes."""
    with resolve_checkpoint(source).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_licence(source: str | Path) -> str:
    """Terms of the data that a readable checkpoint was trained on, "unknown" where its card names none."""
    from safetensors import safe_open

    with safe_open(resolve_checkpoint(source), framework="pt") as file:
        card = json.loads(file.metadata()["noisegen"])["card"]
    return str(card.get("licence") or "unknown")
