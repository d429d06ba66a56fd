"""A choice of a dataset's tiles for looking at: from a few shards, whatever the dataset's size."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from noisegen.conditions import Condition
from noisegen.errors import InputError, NoisegenError
from noisegen.synthesis.formats import format_named
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import read_index
from noisegen.synthesis.shards import Shard

__all__ = ["DrawnTile", "TileDraw", "draw_tiles", "in_turns", "read_tiles"]

COLUMNS = ("key", "row", "id", "split", "y", "x", "camera", "iso", "noise_std")
# Tables of shards are read until they have so many tiles, or are so many; at a URL whole shards are fetched.
ENOUGH_TILES = 20_000
SHARDS, SHARDS_AT_URL = 16, 3


class DrawnTile(NamedTuple):
    """A tile: its shard, and its row of the index."""

    shard: Shard
    row: dict[str, Any]

    @property
    def condition(self) -> Condition:
        return Condition(str(self.row["camera"]), int(self.row["iso"]))


@dataclass(frozen=True)
class TileDraw:
    """What was drawn.

    Attributes:
        tiles: of all shards that were looked at, in a random order.
        shards: how many those are.
        problems: of shards that could not be read.
    """

    tiles: list[DrawnTile]
    shards: int
    problems: list[str]


def draw_tiles(folder: DatasetFolder, shards: Sequence[Shard], finished: np.ndarray, seed: int) -> TileDraw:
    """Reads the index of some shards, which are drawn at random.

    Args:
        folder: the dataset.
        shards: all of them.
        finished: numbers of those that can be taken.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    limit = SHARDS if folder.place == str(folder.root) else SHARDS_AT_URL
    tiles: list[DrawnTile] = []
    problems: list[str] = []
    looked_at = 0
    for index in generator.permutation(finished):
        if looked_at == limit or len(tiles) >= ENOUGH_TILES:
            break
        shard = shards[int(index)]
        path = folder.index_file(shard)
        try:
            with folder.at_hand(shard, [path]):
                tiles += [DrawnTile(shard, row) for row in read_index(path, COLUMNS)]
            looked_at += 1
        except FileNotFoundError:
            looked_at += 1  # a shard without a tile has none
        except (OSError, pa.ArrowException, NoisegenError) as error:
            problems.append(f"shard {shard.name}: its index cannot be read: {error}")
    order = generator.permutation(len(tiles))
    return TileDraw([tiles[place] for place in order], looked_at, problems)


def in_turns(tiles: Iterable[DrawnTile], *keys: Callable[[DrawnTile], Hashable]) -> list[DrawnTile]:
    """Reordered so that the first ones differ in the first key, among those that share it in the second, and so on."""
    if not keys:
        return list(tiles)
    groups: dict[Hashable, list[DrawnTile]] = {}
    for tile in tiles:
        groups.setdefault(keys[0](tile), []).append(tile)
    queues = [in_turns(group, *keys[1:]) for group in groups.values()]
    ranked = [(turn, place) for place, queue in enumerate(queues) for turn in range(len(queue))]
    return [queues[place][turn] for turn, place in sorted(ranked)]


def read_tiles(
    folder: DatasetFolder, tiles: Iterable[DrawnTile], problems: list[str]
) -> Iterator[tuple[DrawnTile, np.ndarray, np.ndarray]]:
    """Noisy and clean picture of tiles, shard by shard; of what cannot be read it is noted why."""
    output_format = format_named(folder.read_run()["config"]["format"])
    by_shard: dict[Shard, list[DrawnTile]] = {}
    for tile in tiles:
        by_shard.setdefault(tile.shard, []).append(tile)
    for shard, group in sorted(by_shard.items(), key=lambda item: item[0].index):
        try:
            with folder.at_hand(shard), closing(output_format.open_tiles(folder, shard)) as reader:
                for tile in group:
                    noisy, clean = reader.read(str(tile.row["key"]))
                    yield tile, noisy, clean
        except (InputError, KeyError, OSError) as error:
            problems.append(f"shard {shard.name}: a tile cannot be read: {error}")
