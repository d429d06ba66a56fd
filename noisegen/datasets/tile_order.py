"""The order in which several readers get the tiles of a dataset: a pure function of (seed, epoch, number of readers).

The shards of an epoch are permuted and dealt out, each to the reader with the fewest tiles so far. A reader takes its
shards in groups, and the tiles of a group in random order. All readers get the same number of tiles; what the others
have more is left out of this epoch, and another permutation leaves out others in the next.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from noisegen.errors import UsageError

__all__ = ["Group", "Share", "TileOrder", "deal"]

# What random numbers are for, so that none is used twice.
_DEAL, _GROUP = 1, 2


@dataclass(frozen=True)
class Share:
    """What one reader gets of an epoch.

    Attributes:
        shards: their indices, in the order in which they are read.
        tiles: the first so many of them, in the order of `TileOrder.groups`, are given out.
    """

    shards: tuple[int, ...]
    tiles: int


@dataclass(frozen=True)
class Group:
    """Shards that are read together.

    Attributes:
        shards: their indices.
        picks: int64 [tiles, 2], the order of their tiles: which of `shards`, and the tile's number in it.
    """

    shards: tuple[int, ...]
    picks: np.ndarray


def deal(counts: np.ndarray, readers: int, *, seed: int, epoch: int) -> list[Share]:
    """The share of each reader.

    Args:
        counts: int64 [shards], tiles of each shard. Shards without any are left out.
        readers: among whom the shards are divided.
        seed: 0 or more.
        epoch: number of the pass, from 0.

    Raises:
        UsageError: there are fewer shards with tiles than readers.
    """
    filled = np.flatnonzero(counts)
    if len(filled) < readers:
        raise UsageError(
            f"the dataset has {len(filled)} shards with tiles, too few to stream to {readers} readers (processes times "
            "their DataLoader workers), as a shard is read by one; use fewer readers, or export the dataset with a "
            "smaller --rows-per-shard"
        )
    shuffled = np.random.default_rng([seed, epoch, _DEAL]).permutation(filled)
    dealt: list[list[int]] = [[] for _ in range(readers)]
    fewest = [(0, reader) for reader in range(readers)]
    for shard, tiles in zip(shuffled.tolist(), counts[shuffled].tolist(), strict=True):
        total, reader = fewest[0]
        dealt[reader].append(shard)
        heapq.heapreplace(fewest, (total + tiles, reader))
    each = fewest[0][0]
    return [Share(tuple(shards), each) for shards in dealt]


class TileOrder:
    """One reader's tiles, epoch after epoch, from any place on.

    Args:
        counts: int64 [shards], tiles of each shard.
        seed: 0 or more.
        reader: this one, from 0.
        readers: how many there are.
        group: shards whose tiles are mixed.

    Raises:
        UsageError: there are fewer shards with tiles than readers.
    """

    def __init__(self, counts: np.ndarray, *, seed: int, reader: int, readers: int, group: int) -> None:
        self._counts, self._seed, self._reader, self._group = counts, seed, reader, group
        # An epoch of a million shards takes a second to deal out.
        self.share = lru_cache(maxsize=2)(lambda epoch: deal(counts, readers, seed=seed, epoch=epoch)[reader])
        self.share(0)

    def groups(self, epoch: int, start: int = 0) -> Iterator[Group]:
        """The groups of an epoch in order, without the first ``start`` tiles."""
        share = self.share(epoch)
        left = share.tiles
        cuts = np.array_split(np.array(share.shards), -(-len(share.shards) // self._group))
        for number, shards in enumerate(cuts):
            tiles = int(self._counts[shards].sum())
            if start < min(tiles, left):
                yield Group(tuple(shards.tolist()), self._picks(epoch, number, shards)[start:left])
            start = max(0, start - tiles)
            left = max(0, left - tiles)

    def endless(self, start: int) -> Iterator[Group]:
        """The groups of all epochs, without the first ``start`` tiles of all."""
        epoch = 0
        while start >= self.share(epoch).tiles:
            start -= self.share(epoch).tiles
            epoch += 1
        while True:
            yield from self.groups(epoch, start)
            epoch, start = epoch + 1, 0

    def _picks(self, epoch: int, number: int, shards: np.ndarray) -> np.ndarray:
        counts = self._counts[shards]
        tiles = np.concatenate([np.arange(count) for count in counts])
        picks = np.stack([np.repeat(np.arange(len(shards)), counts), tiles], axis=1)
        rng = np.random.default_rng([self._seed, epoch, _GROUP, self._reader, number])
        shuffled: np.ndarray = rng.permutation(picks)
        return shuffled
