"""Checkpoints for pages about them: small, quick to draw with, and one whose card is meant to do harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from model_fixtures import KNOWN, tiny_recipe

from noisegen.conditions import Condition, Vocabulary
from noisegen.models import checkpoint_of_model
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.classical import Awgn
from noisegen.models.learning import ModelSizes
from noisegen.models.registry import model_type

HOSTILE = (
    "<script>document.title='gone'</script>\"><img src=x onerror=document.title='gone'> $x^{ \x1b \u202e"
)


def untrained(folder: Path, name: str) -> Path:
    """A checkpoint of this type that has learned nothing, with an empty card."""
    kind = model_type(name)
    recipe = tiny_recipe(kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = recipe.architecture(3, 8) if recipe else kind.sizes()
        model = kind.model(sizes, Vocabulary.of(KNOWN)).eval()
    path = folder / f"{name}.safetensors"
    write_checkpoint(path, checkpoint_of_model(name, model, {}))
    return path


def white(folder: Path, deviations: dict[Condition, float], card: dict[str, Any] | None = None) -> Path:
    """A model of white noise of these standard deviations."""
    model = Awgn.of(ModelSizes(), std={condition: (std,) * 3 for condition, std in deviations.items()})
    path = folder / "white.safetensors"
    write_checkpoint(path, checkpoint_of_model("awgn", model, card or {}))
    return path


def hostile_card() -> dict[str, Any]:
    """What somebody might write into a checkpoint: markup everywhere, and values of other types than expected."""
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    return {
        HOSTILE: HOSTILE,
        "deep": deep,
        "licence": HOSTILE,
        "noisegen": [HOSTILE],
        "recipe": {HOSTILE: HOSTILE, "steps": HOSTILE, "seed": {"a": HOSTILE}},
        "session": {"torch": HOSTILE, "training_seconds": HOSTILE, "device": float("inf")},
        "selection": {
            "split": HOSTILE,
            "step": HOSTILE,
            "kld_nm": HOSTILE,
            "conditions": [[HOSTILE] * 4, HOSTILE, 3],
        },
        "training_pairs": {"table": HOSTILE, "pairs": HOSTILE, "conditions": [[HOSTILE, HOSTILE, 1], [1], 7]},
        "validation_pairs": HOSTILE,
        "excluded_pairs": HOSTILE,
        "sources": [{"name": HOSTILE, "kind": HOSTILE, "weight": HOSTILE}, HOSTILE],
        "noise_model": {"name": HOSTILE, "noisy_pool": HOSTILE},
    }
