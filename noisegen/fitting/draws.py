"""The patches and random numbers of a step: a pure function of (seed, step), whoever computes which part of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from noisegen.conditions import Condition
from noisegen.fitting.patches import PatchSampler
from noisegen.models.protocol import Randomness
from noisegen.training.distributed import Ranks

__all__ = ["ConditionPatches", "Draw", "draw", "initial_draws"]

# Steps -INIT_BATCHES .. -1 are those of the initialisation.
INIT_BATCHES = 8


class Draw:
    """One rank's part of the global batch of a step, and its part of the random numbers of the whole batch.

    Attributes:
        noisy, clean: float32 [b, C, patch, patch] pixel values on the device, channels-last.
        conditions: of the whole batch, B of them.
        part: which rows of the batch this is.
        share: b / B.
    """

    def __init__(
        self,
        noisy: Tensor,
        clean: Tensor,
        conditions: Sequence[Condition],
        generator: torch.Generator,
        part: slice,
        device: str,
    ) -> None:
        self.noisy, self.clean = (
            values[part].to(device, memory_format=torch.channels_last) for values in (noisy, clean)
        )
        self.conditions, self.part = conditions, part
        self.share = len(self.noisy) / len(noisy)
        self._shape, self._generator = noisy.shape, generator

    def uniform(self) -> Tensor:
        """The next numbers in [0, 1), [b, C, patch, patch]."""
        return torch.rand(self._shape, generator=self._generator)[self.part].to(self.noisy)

    def normal(self) -> Tensor:
        """The next standard normal numbers, [b, C, patch, patch]."""
        return torch.randn(self._shape, generator=self._generator)[self.part].to(self.noisy)

    def randomness(self) -> Randomness:
        """The next numbers as `sample` takes them, with a key of each patch."""
        normal, uniform = self.normal(), self.uniform()
        key = torch.randint(1 << 32, (self._shape[0], 2), generator=self._generator)[self.part]
        return Randomness(normal, uniform, key.to(normal.device))

    def alpha(self) -> Tensor:
        """The next number in [0, 1) for each patch, [b, 1, 1, 1]."""
        numbers = torch.rand((self._shape[0], 1, 1, 1), generator=self._generator)
        return numbers[self.part].to(self.noisy)


def draw(
    sampler: PatchSampler, seed: int, step: int, batch: int, *, device: str, ranks: Ranks | None = None
) -> Draw:
    """Draws what `step` (from -INIT_BATCHES) is computed from; without `ranks`, all of it.

    Args:
        sampler: holds the pictures.
        seed: of the training.
        step: number of the step.
        batch: patches of the global batch.
        device: where the patches go.
        ranks: the processes among which the batch is split.
    """
    entropy = np.random.SeedSequence([seed, step + INIT_BATCHES])
    patches = sampler.batch(np.random.default_rng(entropy), batch)
    generator = torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))
    part = (ranks or Ranks()).part(batch)
    return Draw(patches.noisy, patches.clean, patches.conditions, generator, part, device)


def initial_draws(sampler: PatchSampler, seed: int, batch: int, device: str) -> Iterator[Draw]:
    """The draws that the initialisation looks at, whole on every rank."""
    return (draw(sampler, seed, step, batch, device=device) for step in range(-INIT_BATCHES, 0))


class ConditionPatches:
    """See `noisegen.models.learning.Patches`.

    Args:
        sampler: holds the pictures.
        seed: of the training.
        device: where the patches go.
    """

    def __init__(self, sampler: PatchSampler, seed: int, device: str) -> None:
        self.sampler, self.seed, self.device = sampler, seed, device

    def of_condition(self, condition: Condition, count: int, *, draw: int = 0) -> Draw:
        entropy = np.random.SeedSequence([self.seed, draw, condition.iso, *condition.camera.encode()])
        patches = self.sampler.batch_of(condition, np.random.default_rng(entropy), count)
        generator = torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))
        everything = slice(None)
        return Draw(patches.noisy, patches.clean, patches.conditions, generator, everything, self.device)
