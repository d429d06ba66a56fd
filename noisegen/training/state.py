"""Resumable training state in one safetensors file: no pickles, replaced atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from noisegen.errors import UsageError

__all__ = ["load_state", "save_state"]

Parts = Mapping[str, nn.Module | torch.optim.Optimizer]


def save_state(
    path: Path, step: int, parts: Parts, config: Mapping[str, Any], notes: Mapping[str, Any]
) -> None:
    """Writes weights and optimizer moments of every part, the step, the configuration and notes (plain JSON)."""
    tensors: dict[str, Tensor] = {}
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            values = dict(part.state_dict())
        else:
            state = part.state_dict()["state"]
            values = {f"{index}.{key}": v for index, entry in state.items() for key, v in entry.items()}
        tensors |= {
            f"{name}/{key}": value.detach().cpu().contiguous().clone() for key, value in values.items()
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    metadata = {
        "step": str(step),
        "config": json.dumps(dict(config), sort_keys=True),
        "notes": json.dumps(dict(notes), sort_keys=True),
    }
    save_file(tensors, temporary, metadata=metadata)
    temporary.replace(path)


def load_state(path: Path, parts: Parts, config: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Restores what `save_state` wrote into `parts`; returns step and notes, 0 and none where there is no file.

    Raises:
        UsageError: the state was made with another configuration (the differences are listed), or is damaged.
    """
    if not path.is_file():
        return 0, {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored, step = json.loads(metadata["config"]), int(metadata["step"])
            notes: dict[str, Any] = json.loads(metadata["notes"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UsageError(f"training state {path} is damaged ({error!r}); delete it to start over") from error
    wanted = json.loads(json.dumps(dict(config)))
    different = [
        f"{key}: {stored.get(key)!r} -> {wanted.get(key)!r}"
        for key in sorted(stored.keys() | wanted.keys())
        if stored.get(key) != wanted.get(key)
    ]
    if different:
        raise UsageError(
            f"{path} was made with another configuration ({'; '.join(different)}); "
            "use the same options to continue, or delete it to start over"
        )
    for name, part in parts.items():
        values = {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}
        if isinstance(part, nn.Module):
            try:
                part.load_state_dict(values)
            except RuntimeError as error:
                raise UsageError(
                    f"training state {path} is of a model with other sizes or conditions; use the pairs it was "
                    "made with, or delete it to start over"
                ) from error
        else:
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in values.items():
                index, field = key.split(".", 1)
                state.setdefault(int(index), {})[field] = value
            part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
    return step, notes
