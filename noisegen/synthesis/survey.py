"""One pass over the markers of a dataset: its totals, its failures, and a table of its shards.

shards.parquet has a row for each shard: ``shard`` (its number), ``first_row`` and ``rows`` (its slice of the manifest),
``tiles``, ``failures`` (rows that gave none), ``bytes`` (of its files), all int64, and where the dataset is split
``tiles_NAME`` for each split.
"""

from __future__ import annotations

import io
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisegen.synthesis.files import json_bytes
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.shards import Marker

__all__ = ["Survey", "Totals", "surveyed"]

MEMORY_FOR_FAILURES = 16 << 20


@dataclass
class Totals:
    """What finished shards add up to.

    Attributes:
        shards, tiles: their number.
        failures: rows that gave no tiles, by reason.
        left_out: tiles that the selection left out, by reason.
        conditions: (camera, ISO) -> number of tiles, and sum of their squared `noise_std`.
    """

    shards: int = 0
    tiles: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    conditions: dict[tuple[str, int], tuple[int, float]] = field(default_factory=dict)

    def add(self, marker: Marker) -> None:
        """Counts a shard."""
        self.shards += 1
        self.tiles += marker.tiles
        self.failures.update(failure.reason for failure in marker.failures)
        self.left_out.update(marker.left_out)
        for total in marker.conditions:
            tiles, squares = self.conditions.get((total.camera, total.iso), (0, 0.0))
            self.conditions[total.camera, total.iso] = (tiles + total.tiles, squares + total.squares)

    def merge(self, other: Totals) -> None:
        """Counts what others are the totals of."""
        self.shards += other.shards
        self.tiles += other.tiles
        self.failures.update(other.failures)
        self.left_out.update(other.left_out)
        for key, (more, more_squares) in other.conditions.items():
            tiles, squares = self.conditions.get(key, (0, 0.0))
            self.conditions[key] = (tiles + more, squares + more_squares)

    def to_dict(self, tile_size: int) -> dict[str, Any]:
        """As dataset.json has it."""
        return {
            "shards": self.shards,
            "tiles": self.tiles,
            "tile_size": tile_size,
            "megapixels": self.tiles * tile_size**2 / 1e6,
            "conditions": [
                {
                    "camera": camera,
                    "iso": iso,
                    "tiles": tiles,
                    "noise_std": round(math.sqrt(squares / tiles), 4),
                }
                for (camera, iso), (tiles, squares) in sorted(self.conditions.items())
            ],
            "failures": dict(sorted(self.failures.items())),
            "left_out": dict(sorted(self.left_out.items())),
        }


@dataclass(frozen=True)
class Survey:
    """What the finished shards say.

    Attributes:
        totals: of all of them.
        shards: a row for each, as in shards.parquet.
        failures: the failed rows, one line of JSON each, in the order of the manifest.
    """

    totals: Totals
    shards: pa.Table
    failures: IO[bytes]

    def failure_lines(self) -> Iterator[bytes]:
        """The lines from the first on."""
        self.failures.seek(0)
        return iter(self.failures)

    def shards_file(self) -> bytes:
        """shards.parquet."""
        out = io.BytesIO()
        pq.write_table(self.shards, out, compression="zstd")
        return out.getvalue()


@contextmanager
def surveyed(folder: DatasetFolder, check_stop: Callable[[], None] = lambda: None) -> Iterator[Survey]:
    """Reads the markers of all finished shards once; memory is about a hundred bytes for each.

    Args:
        folder: the dataset.
        check_stop: called for each shard; may raise.

    Raises:
        UsageError: a marker is damaged.
    """
    totals = Totals()
    splits = sorted(folder.read_run()["config"]["split"] or ())
    names = (
        "shard",
        "first_row",
        "rows",
        "tiles",
        "failures",
        "bytes",
        *(f"tiles_{name}" for name in splits),
    )
    numbers = np.zeros((len(names), 1024), np.int64)
    with tempfile.SpooledTemporaryFile(MEMORY_FOR_FAILURES) as failures:
        for marker in folder.markers():
            check_stop()
            if totals.shards == numbers.shape[1]:
                numbers = np.concatenate([numbers, np.zeros_like(numbers)], axis=1)
            numbers[:, totals.shards] = _numbers(marker, splits)
            totals.add(marker)
            failures.writelines(json_bytes(asdict(failure)) for failure in marker.failures)
        columns = [pa.array(column[: totals.shards]) for column in numbers]
        yield Survey(totals, pa.table(columns, names=list(names)), failures)


def _numbers(marker: Marker, splits: Iterable[str]) -> list[int]:
    shard = marker.shard
    rows, size = shard.stop - shard.start, sum(file.size for file in marker.files.values())
    of_split = [sum(total.tiles for total in marker.conditions if total.split == name) for name in splits]
    return [shard.index, shard.start, rows, marker.tiles, len(marker.failures), size, *of_split]
