"""A small model of every registered type, trained for a few steps or fitted, on two pairs of different noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from training_fixtures import write_pair, write_table

from noisegen.conditions import Condition
from noisegen.fitting.run import train_noise_model
from noisegen.models.learning import LearnedModel, Recipe
from noisegen.models.protocol import Randomness, ReferencedModel
from noisegen.models.registry import ModelType

STEPS = 4
WEAK, BETWEEN, STRONG = Condition("A", 100), Condition("A", 400), Condition("A", 1600)
OTHER = Condition("B", 800)
KNOWN = (WEAK, STRONG, OTHER)
DEVIATIONS = {WEAK: 4.0, STRONG: 16.0, OTHER: 9.0}

# Sizes that make a training of a few steps quick, by type; those that are quick as they are are not listed.
TINY: dict[str, dict[str, Any]] = {
    "nm-flowgan": {"structure_width": 4, "structure_depth": 1, "filter_size": 3},
}


def table_of_pairs(folder: Path, *, channels: int = 3) -> Path:
    """A pair of each of `KNOWN`, with white noise of `DEVIATIONS`."""
    rows = {}
    for condition, deviation in DEVIATIONS.items():
        name = f"{condition.camera}{condition.iso}"
        write_pair(folder, name, deviation, size=(96, 128), channels=channels)
        rows[name] = (condition.camera, condition.iso)
    return write_table(folder, rows)


def tiny_recipe(kind: ModelType, **changes: Any) -> Recipe | None:
    """The first recipe of a type, in a few small steps; None for a fitted one."""
    if not kind.recipes:
        return None
    recipe = next(iter(kind.recipes.values())).lasting(STEPS)
    sizes = tuple(TINY.get(kind.name, {}).items())
    return replace(recipe, **({"sizes": sizes, "batch": 3, "patch": 64, "keep": "last"} | changes))


def train(kind: ModelType, table: Path, name: str = "model", **changes: Any) -> Path:
    """A checkpoint beside the table."""
    output = table.parent / f"{name}-{kind.name}.safetensors"
    assert train_noise_model(table, output, kind, tiny_recipe(kind, **changes), quiet=True)
    return output


def numbers(batch: int, channels: int, height: int, width: int, *, seed: int = 0) -> Randomness:
    """Randomness of so many pictures."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, channels, height, width)
    return Randomness(
        torch.randn(shape, generator=generator),
        torch.rand(shape, generator=generator),
        torch.randint(1 << 32, (batch, 2), generator=generator),
    )


def part(noise: Randomness, rows: slice) -> Randomness:
    """The randomness of some of the pictures."""
    assert noise.key is not None
    return Randomness(noise.normal[rows], noise.uniform[rows], noise.key[rows])


def grey(batch: int, channels: int, height: int, width: int, levels: float) -> torch.Tensor:
    """Clean pictures of whole values that rise from left to right, away from black and white."""
    ramp = torch.linspace(0.35, 0.65, width) * (levels - 1)
    return ramp.round().expand(batch, channels, height, width).clone()


def draw(
    model: LearnedModel,
    clean: torch.Tensor,
    conditions: list[Condition],
    noise: Randomness,
    **options: Any,
) -> torch.Tensor:
    """A sample; models that need a reference get a noisy picture of the condition that is asked for."""
    if isinstance(model, ReferencedModel) and model.needs_reference:
        options["reference"] = references(model, conditions)
    noisy = model.sample(clean, conditions, noise=noise, **options)
    assert isinstance(noisy, torch.Tensor)
    return noisy


def references(model: ReferencedModel, conditions: list[Condition]) -> torch.Tensor:
    """Descriptions of noisy pictures with white noise, one for each condition."""
    levels = 2.0**model.bit_depth
    clean = grey(len(conditions), model.channels, 64, 64, levels)
    generator = torch.Generator().manual_seed(7)
    deviations = torch.tensor([DEVIATIONS.get(c, 8.0) for c in conditions]) * levels / 256
    noise = torch.randn(clean.shape, generator=generator) * deviations.view(-1, 1, 1, 1)
    return model.describe((clean + noise).round().clamp(0, levels - 1), clean, conditions)


def parameters_of(modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.Tensor]:
    """Copies of all trainable parameters by name."""
    return {
        f"{name}.{key}": values.detach().clone()
        for name, module in modules.items()
        for key, values in module.named_parameters()
        if values.requires_grad
    }
