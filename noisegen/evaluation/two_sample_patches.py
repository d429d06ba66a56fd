"""Patches for the two-sample test: regions that share no pixel, drawn places, and their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "GUARD",
    "PATCH",
    "PatchSource",
    "Patches",
    "Region",
    "draw_test",
    "draw_training",
    "joined",
    "regions",
]

# Four JPEG blocks, sixteen Bayer cells and every lag that noise is correlated over, and still hundreds of
# separate patches in a few 256x256 blocks.
PATCH = 32
CELL = 72  # two test patches and room to shift them against the grid of JPEG blocks
GUARD = 8  # noise of one JPEG block must not be on both sides

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Region:
    """A rectangle of a picture, for training or for the test.

    Attributes:
        picture: index of the picture.
        top, bottom, left, right: rows top <= y < bottom, columns left <= x < right.
        training: what it is for.
    """

    picture: int
    top: int
    bottom: int
    left: int
    right: int
    training: bool


@dataclass(frozen=True)
class Patches:
    """Where patches lie and which version of the picture they show; all int64 [N].

    Attributes:
        picture: index of the picture.
        y, x: upper left corner.
        cell: number of the region among those it was drawn from.
        label: 0 real, 1 synthetic.
    """

    picture: Integers
    y: Integers
    x: Integers
    cell: Integers
    label: Integers

    def __len__(self) -> int:
        return len(self.picture)

    def at(self, numbers: Integers) -> Patches:
        """Some of them."""
        return Patches(*(getattr(self, field.name)[numbers] for field in fields(self)))

    def corners(self) -> list[tuple[int, int, int]]:
        """(picture, y, x) of each."""
        return list(zip(self.picture.tolist(), self.y.tolist(), self.x.tolist(), strict=True))

    def as_both(self) -> Patches:
        """Each of them as real and as synthetic."""
        count = len(self)
        return replace(self.at(np.tile(np.arange(count), 2)), label=np.repeat([0, 1], count))

    def halved(self, rng: np.random.Generator) -> Patches:
        """A random half of them as real, the others as synthetic."""
        return replace(self, label=rng.permutation(np.arange(len(self)) % 2))


def joined(parts: Sequence[Patches]) -> Patches:
    """All of them, in order."""
    columns = ([getattr(part, field.name) for part in parts] for field in fields(Patches))
    return Patches(*(np.concatenate(column) for column in columns))


def regions(picture: int, height: int, width: int) -> list[Region]:
    """Cuts a picture into a chessboard of cells of 72 pixels, for training and for the test by turns.

    Training cells keep 8 pixels away from their neighbours. Where a picture's first cell falls changes from
    picture to picture. A cell that holds no patch is left out.

    Args:
        picture: index of the picture.
        height, width: of the picture in pixels.
    """
    found = []
    tops, lefts = (range(0, max(side - PATCH, 0) + 1, CELL) for side in (height, width))
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            training = (row + column + picture) % 2 == 0
            bottom, right = min(top + CELL, height), min(left + CELL, width)
            if training:
                top_guard, left_guard = (GUARD if start else 0 for start in (top, left))
                bottom -= GUARD if bottom < height else 0
                right -= GUARD if right < width else 0
                region = Region(picture, top + top_guard, bottom, left + left_guard, right, True)
            else:
                region = Region(picture, top, bottom, left, right, False)
            if region.bottom - region.top >= PATCH and region.right - region.left >= PATCH:
                found.append(region)
    return found


def draw_training(cells: Sequence[Region], count: int, rng: np.random.Generator) -> Patches:
    """Draws patches inside the cells, every place as likely as every other."""
    rows = np.array([cell.bottom - cell.top - PATCH + 1 for cell in cells])
    columns = np.array([cell.right - cell.left - PATCH + 1 for cell in cells])
    chosen = rng.choice(len(cells), count, p=rows * columns / np.sum(rows * columns))
    y = np.array([cell.top for cell in cells])[chosen] + rng.integers(0, rows[chosen])
    x = np.array([cell.left for cell in cells])[chosen] + rng.integers(0, columns[chosen])
    picture = np.array([cell.picture for cell in cells])[chosen]
    return Patches(picture, y, x, chosen.astype(np.int64), np.zeros(count, np.int64))


def draw_test(cells: Sequence[Region], largest: int, rng: np.random.Generator) -> Patches:
    """Covers cells, in random order, with patches that do not overlap, until there are `largest` of them."""
    places: list[tuple[int, ...]] = []
    for index in rng.permutation(len(cells)).tolist():
        cell = cells[index]
        rows, columns = (cell.bottom - cell.top) // PATCH, (cell.right - cell.left) // PATCH
        top = cell.top + int(rng.integers(0, cell.bottom - cell.top - rows * PATCH + 1))
        left = cell.left + int(rng.integers(0, cell.right - cell.left - columns * PATCH + 1))
        places += [
            (cell.picture, top + row * PATCH, left + column * PATCH, index, 0)
            for row in range(rows)
            for column in range(columns)
        ]
        if len(places) >= largest:
            break
    return Patches(*np.array(places[:largest], np.int64).T)


class PatchSource:
    """Cuts patches from pictures.

    Args:
        versions: of each picture the real and the synthetic one, [H, W, C] uint8 or uint16.
        clean: of each picture.
        scales: of each picture the deviation that its noise is seen relative to, in its own levels.
        bit_depth: of the pictures.
        device: where `batch` puts its tensors.
    """

    def __init__(
        self,
        versions: Sequence[tuple[np.ndarray, np.ndarray]],
        clean: Sequence[np.ndarray],
        scales: Sequence[float],
        bit_depth: int,
        device: str,
    ) -> None:
        self.versions, self.clean = versions, clean
        self.scales = np.array(scales, np.float32)
        self.levels = np.float32(2.0**bit_depth)
        self.device = device

    def pixels(self, patches: Patches) -> tuple[Floats, Floats]:
        """(noisy - clean, clean), float32 [N, PATCH, PATCH, C] in levels of the pictures."""
        places = list(zip(patches.corners(), patches.label.tolist(), strict=True))
        noisy = [self.versions[i][label][y : y + PATCH, x : x + PATCH] for (i, y, x), label in places]
        clean = [self.clean[i][y : y + PATCH, x : x + PATCH] for (i, y, x), _ in places]
        stacked = np.stack(clean).astype(np.float32)
        return np.stack(noisy).astype(np.float32) - stacked, stacked

    def batch(self, patches: Patches) -> tuple[Tensor, Tensor, Tensor]:
        """Noise of deviation about 1, clean from 0 to 1, [N, C, p, p] in channels-last memory, and label [N]."""
        noise, clean = self.pixels(patches)
        noise /= self.scales[patches.picture][:, None, None, None]
        clean /= self.levels
        label = torch.from_numpy(patches.label.astype(np.float32)).to(self.device)
        noise_tensor, clean_tensor = (
            torch.from_numpy(values).permute(0, 3, 1, 2).to(self.device) for values in (noise, clean)
        )
        return noise_tensor, clean_tensor, label
