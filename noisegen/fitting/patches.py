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
        period: 1, or 2 to keep the pixels' positions in a mosaic of so many pixels.

    Raises:
        UsageError: an odd patch with a period of 2, a picture is smaller than the patch, or its channels or depth do
            not fit the model.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        patch: int,
        levels: float,
        channels: int,
        balance: bool,
        period: int = 1,
    ) -> None:
        if patch % period:
            raise UsageError(
                f"a patch of {patch} pixels does not fit squares of {period}; choose an even number"
            )
        self.patch, self.period = patch, period
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
        return self._draw(rng, rng.choice(len(self.pictures), size=size, p=self.probabilities))

    def batch_of(self, condition: Condition, rng: np.random.Generator, size: int) -> PatchBatch:
        """As `batch`, of one condition, from its pictures equally."""
        members = [index for index, picture in enumerate(self.pictures) if picture.condition == condition]
        return self._draw(rng, rng.choice(members, size=size))

    def _draw(self, rng: np.random.Generator, indices: np.ndarray) -> PatchBatch:
        noisy: list[np.ndarray] = []
        clean: list[np.ndarray] = []
        conditions: list[Condition] = []
        for index in indices:
            picture = self.pictures[index]
            box, turns, flips = self._place(rng, *picture.clean.shape[:2])
            for source, out in ((picture.noisy, noisy), (picture.clean, clean)):
                patch = np.flip(np.rot90(source[box].astype(np.float32), turns), flips)
                out.append(patch.transpose(2, 0, 1))
            conditions.append(picture.condition)
        return PatchBatch(torch.from_numpy(np.stack(noisy)), torch.from_numpy(np.stack(clean)), conditions)

    def _place(
        self, rng: np.random.Generator, height: int, width: int
    ) -> tuple[tuple[slice, slice], int, tuple[int, ...]]:
        """A random square, a number of quarter turns and the axes to flip."""
        patch = self.patch
        if self.period == 1:
            y, x = (int(rng.integers(side - patch + 1)) for side in (height, width))
            turns, flip = int(rng.integers(4)), bool(rng.integers(2))
            return (slice(y, y + patch), slice(x, x + patch)), turns, (1,) if flip else ()
        # A flip of an even number of pixels exchanges even and odd ones, unless it starts at an odd one. A turn would
        # exchange rows and columns, which a mosaic and a picture's coding both tell apart.
        starts, flips = [], []
        for axis, side in enumerate((height, width)):
            flip = side > patch and bool(rng.integers(2))
            starts.append(2 * int(rng.integers((side - patch - flip) // 2 + 1)) + flip)
            if flip:
                flips.append(axis)
        y, x = starts
        return (slice(y, y + patch), slice(x, x + patch)), 0, tuple(flips)
