"""A built dataset read shard by shard, each whole and by one reader, from a folder or a URL."""

from __future__ import annotations

import io
import tempfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from noisegen.datasets.built import run_of_built
from noisegen.datasets.shard_tiles import OpenShard, ShardSource, Tile
from noisegen.datasets.tile_order import Group
from noisegen.errors import UsageError
from noisegen.images import ImageInfo
from noisegen.remote import as_place, fetch
from noisegen.stores import RemoteError
from noisegen.suggestions import did_you_mean
from noisegen.synthesis.files import json_bytes
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.shards import Shard

__all__ = ["GROUP", "StreamedDataset", "tile_counts"]

# Shards whose tiles are mixed. As many are fetched while these are read.
GROUP = 4
# Decoded tiles that wait, beside one for each thread.
AHEAD_TILES = 64
AHEAD_BYTES = 32 << 20
TRAIN = "train"


@dataclass(frozen=True)
class StreamedDataset:
    """A finished dataset whose shards are fetched as they are needed.

    Attributes:
        place: its folder or URL.
        split: whose tiles are wanted; "" for all.
        run: the contents of its run.json.
        counts: int64 [shards], tiles of each shard (of the split).
    """

    place: Path | str
    split: str
    run: dict[str, Any]
    counts: np.ndarray

    @classmethod
    def open(cls, place: Path | str, split: str | None = None) -> StreamedDataset:
        """Reads how many tiles each shard has.

        Args:
            place: the dataset's folder or URL.
            split: that is wanted; None for "train" where the dataset has it, else all; "" for all.

        Raises:
            UsageError: there is no dataset, it is not finished, or it has no such tiles.
            RemoteError: the URL cannot be read.
        """
        place = as_place(place)
        run = run_of_built(place)
        if split is None:
            split = TRAIN if TRAIN in (run["config"]["split"] or ()) else ""
        counts = tile_counts(place, split)
        if not counts.any():
            raise UsageError(f"{place}: the dataset has no tiles" + (f" of split {split!r}" if split else ""))
        return cls(place, split, run, counts)

    @property
    def tiles(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    @property
    def bit_depth(self) -> int:
        """Of the pixels, 8 to 16."""
        return int(self.run["bit_depth"])

    @property
    def info(self) -> ImageInfo:
        """Of every tile."""
        side = int(self.run["config"]["tile_size"])
        return ImageInfo(side, side, int(self.run["channels"]), 8 if self.bit_depth == 8 else 16, "PNG")

    @property
    def fingerprint(self) -> str:
        """A hash of what the tiles are a function of, and of their numbers."""
        return xxhash.xxh3_128_hexdigest(json_bytes(self.run) + self.counts.astype("<i8").tobytes())

    def read(self, groups: Iterable[Group], *, threads: int) -> Generator[Tile]:
        """The tiles of groups in their order; the next group is on its way while one is read.

        From a URL, shards are copied to a temporary folder (below `TMPDIR`), at most those of two groups at a time.

        Args:
            groups: see `noisegen.datasets.tile_order.TileOrder`.
            threads: that decode tiles. At most 32 MiB of these wait, and one for each thread.

        Raises:
            UsageError: a shard is damaged or missing.
            RemoteError: the URL cannot be read.
            NoisegenError: the disk for temporary files is full.
        """
        with (
            self._source() as source,
            _threads(GROUP, "shards") as openers,
            _threads(threads, "tiles") as pool,
        ):

            def begin(group: Group) -> tuple[Group, list[Future[OpenShard]]]:
                return group, [
                    openers.submit(source.open, self._shard(index), int(self.counts[index]))
                    for index in group.shards
                ]

            begun = chain(map(begin, groups), [None])
            for current, _following in pairwise(begun):
                assert current is not None
                group, opening = current
                shards = [future.result() for future in opening]
                yield from _tiles(shards, group.picks, pool, threads + self._tiles_ahead)
                for shard in shards:
                    shard.close()

    def _shard(self, index: int) -> Shard:
        # one of maybe millions, so not all are made as by `DatasetFolder.shards`
        rows, most = int(self.run["rows"]), int(self.run["config"]["rows_per_shard"])
        return Shard(index, index * most, min((index + 1) * most, rows))

    @property
    def _tiles_ahead(self) -> int:
        info = self.info
        tile_bytes = 2 * info.width * info.height * info.channels * info.bits // 8
        return max(1, min(AHEAD_TILES, AHEAD_BYTES // tile_bytes))

    @contextmanager
    def _source(self) -> Iterator[ShardSource]:
        output_format = self.run["config"]["format"]
        if isinstance(self.place, Path):
            yield ShardSource(DatasetFolder(self.place), None, output_format, self.split)
            return
        with tempfile.TemporaryDirectory(prefix="noisegen-", ignore_cleanup_errors=True) as temporary:
            folder = DatasetFolder(Path(temporary))
            folder.run_file.write_bytes(json_bytes(self.run))
            yield ShardSource(folder, self.place, output_format, self.split)


def tile_counts(place: Path | str, split: str) -> np.ndarray:
    """Tiles of each shard of a dataset, int64 [shards], as its table of shards has them.

    Args:
        place: the dataset's folder or URL.
        split: count only tiles of this one; "" for all tiles.

    Raises:
        UsageError: it is not finished, or has no such split.
        RemoteError: the URL cannot be read.
    """
    try:
        # written when all shards are there, the other one last
        table, _ = (_content(place, name) for name in ("shards.parquet", "dataset.json"))
    except FileNotFoundError as error:
        raise UsageError(f"{place}: the dataset is not finished; build it to its end first") from error
    column = f"tiles_{split}" if split else "tiles"
    try:
        columns = pq.read_table(io.BytesIO(table))
    except pa.ArrowException as error:
        raise UsageError(f"{place}/shards.parquet is damaged ({error}); build the dataset again") from error
    if column not in columns.column_names:
        there = [name.removeprefix("tiles_") for name in columns.column_names if name.startswith("tiles_")]
        raise UsageError(
            f"{place}: the dataset has no split {split!r}{did_you_mean(split, there) or ';'} "
            f"there are: {', '.join(there) or 'none'}"
        )
    counts: np.ndarray = columns[column].to_numpy()
    return counts


def _content(place: Path | str, name: str) -> bytes:
    if isinstance(place, Path):
        return (place / name).read_bytes()
    try:
        return fetch(f"{place}/{name}")
    except RemoteError as error:
        if error.reason != "missing":
            raise
        raise FileNotFoundError(error) from error


def _tiles(shards: list[OpenShard], picks: np.ndarray, pool: ThreadPoolExecutor, most: int) -> Iterator[Tile]:
    """Tiles in the order of `Group.picks`, read ahead."""
    ahead: deque[Future[Tile]] = deque()
    for shard, number in picks.tolist():
        ahead.append(pool.submit(shards[shard].tile, number))
        if len(ahead) > most:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


@contextmanager
def _threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool that drops, when it is left, what has not begun."""
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
