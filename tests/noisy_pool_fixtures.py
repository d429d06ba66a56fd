"""A noise model that makes white noise as strong as its reference's, and a pool of pictures of known noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from synthesis_fixtures import VOCABULARY
from torch import Tensor
from training_fixtures import write_pair, write_table

from noisegen.conditions import Condition, Vocabulary
from noisegen.denoising import run
from noisegen.errors import InputError
from noisegen.evaluation import noise_methods
from noisegen.models.protocol import Randomness
from noisegen.synthesis import noise_check, resolve

# deviations of the pool's pictures, in grey levels
LEVELS = {("S6", 100): (3.0, 12.0), ("N6", 3200): (25.0,)}


class Imitator:
    """Describes a reference by the deviation of its noise, and makes white noise of that deviation."""

    vocabulary: Vocabulary = VOCABULARY
    channels, bit_depth, alignment = 3, 8, 2

    def __init__(self, *, needs_reference: bool = True) -> None:
        self.needs_reference = needs_reference
        self.described: list[tuple[int, ...]] = []

    def describe(self, noisy: Tensor, clean: Tensor, condition: Sequence[Condition]) -> Tensor:
        self.described.append(tuple(noisy.shape))
        return (noisy - clean).flatten(1).std(dim=1)[:, None]

    def sample(
        self,
        clean: Tensor,
        condition: Sequence[Condition],
        *,
        noise: Randomness,
        strength: float = 1.0,
        reference: Tensor | None = None,
    ) -> Tensor:
        if reference is None and self.needs_reference:
            raise InputError("no_reference", "give a reference")
        for each in condition:
            self.vocabulary.resolve(each)
        std = torch.ones(len(clean), 1) if reference is None else reference
        return (clean + strength * std[:, :, None, None] * noise.normal).round_().clamp_(0, 255)


def give_everybody(patch: pytest.MonkeyPatch, model: Imitator) -> Imitator:
    """Every checkpoint that a command loads is this model."""
    for module in (resolve, noise_check, noise_methods, run):
        patch.setattr(module, "load_noise_model", lambda source, *, device="cpu": model)
    return model


def write_pool(
    folder: Path, levels: dict[tuple[str, int], tuple[float, ...]] | None = None, *, split: str = ""
) -> Path:
    """pairs.csv of pictures with these deviations."""
    rows: dict[str, tuple[str, int, str]] = {}
    folder.mkdir(exist_ok=True)
    for (camera, iso), stds in (levels or LEVELS).items():
        for number, std in enumerate(stds):
            name = f"{camera}-{iso}-{number}"
            write_pair(folder, name, std)  # type: ignore[arg-type]
            rows[name] = (camera, iso, split)
    return write_table(folder, rows)
