"""Random training patches from real noisy/clean pairs, a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from noisegen.conditions import Condition
from noisegen.datasets.pairs import Pair, load_pair
from noisegen.errors import InputError, UsageError

__all__ = ["PatchBatch", "PatchSampler"]


@dataclass(frozen=True)
class PatchBatch:
    """noisy, clean: float32 [B, C, patch, patch] pixel values."""

    noisy: Tensor
    clean: Tensor
    conditions: list[Condition]


@dataclass(frozen=True)
class _Picture:
    noisy: np.ndarray  # [H, W, C]
    clean: np.ndarray
    condition: Condition


class PatchSampler:
    """Holds the pairs in memory and draws augmented patches.

    Args:
        pairs: training pairs.
        patch: side in pixels.
        levels: number of grey levels of the model (2**bit_depth).
        channels: of the model.
        balance: conditions equally often, and pictures within a condition; otherwise in proportion to area.

    Raises:
        UsageError: a picture is smaller than the patch, or its channels or depth do not fit the model.
    """

    def __init__(
        self, pairs: Sequence[Pair], *, patch: int, levels: float, channels: int, balance: bool
    ) -> None:
        self.patch = patch
        self.pictures: list[_Picture] = []
        for pair in pairs:
            try:
                noisy, clean = load_pair(pair)
            except InputError as error:
                raise UsageError(f"pair {pair.name}: {error}") from error
            height, width, depth = clean.shape
            if min(height, width) < patch:
                raise UsageError(
                    f"pair {pair.name} is {width}x{height}, smaller than the {patch} pixel patch"
                )
            if depth != channels or max(int(noisy.max()), int(clean.max())) >= levels:
                raise UsageError(
                    f"pair {pair.name} has {depth} channels and values up to {max(noisy.max(), clean.max())}; the "
                    f"model takes {channels} channels and values below {int(levels)} (--bit-depth)"
                )
            self.pictures.append(_Picture(noisy, clean, pair.condition))
        weights = np.array([self.patches_in(p) for p in self.pictures], dtype=np.float64)
        if balance:
            counts: dict[Condition, int] = {}
            for picture in self.pictures:
                counts[picture.condition] = counts.get(picture.condition, 0) + 1
            weights = np.array([1 / counts[p.condition] for p in self.pictures])
        self.probabilities = weights / weights.sum()

    def patches_in(self, picture: _Picture) -> int:
        """Patches on a grid of step patch / 2, the paper's sampling density."""
        rows, columns = ((side - self.patch) // (self.patch // 2) + 1 for side in picture.clean.shape[:2])
        return rows * columns

    @property
    def patches(self) -> int:
        """Patches in one epoch."""
        return sum(map(self.patches_in, self.pictures))

    def batch(self, rng: np.random.Generator, size: int) -> PatchBatch:
        """Draws patches at random positions, each flipped and turned at random (the same for noisy and clean)."""
        noisy: list[np.ndarray] = []
        clean: list[np.ndarray] = []
        conditions: list[Condition] = []
        for index in rng.choice(len(self.pictures), size=size, p=self.probabilities):
            picture = self.pictures[index]
            height, width = picture.clean.shape[:2]
            y, x = rng.integers(height - self.patch + 1), rng.integers(width - self.patch + 1)
            turns, flip = int(rng.integers(4)), bool(rng.integers(2))
            box = (slice(y, y + self.patch), slice(x, x + self.patch))
            for source, out in ((picture.noisy, noisy), (picture.clean, clean)):
                patch = np.rot90(source[box].astype(np.float32), turns)
                out.append((patch[:, ::-1] if flip else patch).transpose(2, 0, 1))
            conditions.append(picture.condition)
        return PatchBatch(torch.from_numpy(np.stack(noisy)), torch.from_numpy(np.stack(clean)), conditions)
