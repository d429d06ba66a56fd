"""The checkpoint file: safetensors weights plus a JSON description in the header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "checkpoint_sha256", "read_checkpoint", "resolve_checkpoint", "write_checkpoint"]

FORMAT = "noisegen-checkpoint"
VERSION = 1


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
    """Writes the file whole or not at all; weights keep their dtype."""
    from safetensors.torch import save_file

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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, temporary, metadata={"noisegen": json.dumps(header, sort_keys=True)})
    temporary.replace(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint; weights come back as stored.

    Raises:
        UsageError: not a noisegen checkpoint, or its weights are not finite.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UsageError(f"checkpoint {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("noisegen", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
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
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UsageError(f"{path} is damaged: weight {name} holds values that are not finite")
    try:
        stored = header["vocabulary"]
        vocabulary = stored and Vocabulary(
            tuple(stored["cameras"]),
            tuple(stored["isos"]),
            tuple(Condition(camera, iso) for camera, iso in stored["known"]),
        )
        return Checkpoint(header["kind"], header["config"], tensors, vocabulary, header["card"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} has a damaged description: {error!r}") from error


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
