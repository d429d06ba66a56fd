"""Shards of a manifest, and what is recorded of a finished one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import overload

from noisegen.synthesis.files import FileRecord

__all__ = ["ConditionTotal", "Failure", "Marker", "Shard", "shards_of", "tile_key_name"]


@dataclass(frozen=True, slots=True)
class Shard:
    """A slice of the manifest, rows ``start`` to ``stop - 1``."""

    index: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.index:06d}"


@dataclass(frozen=True)
class _Shards(Sequence[Shard]):
    """The shards of a manifest of so many rows; maybe millions, so each is made when it is asked for."""

    rows: int
    rows_per_shard: int

    def __len__(self) -> int:
        return -(-self.rows // self.rows_per_shard)

    @overload
    def __getitem__(self, place: int) -> Shard: ...

    @overload
    def __getitem__(self, place: slice) -> list[Shard]: ...

    def __getitem__(self, place: int | slice) -> Shard | list[Shard]:
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        index = range(len(self))[place]
        start = index * self.rows_per_shard
        return Shard(index, start, min(start + self.rows_per_shard, self.rows))


def shards_of(rows: int, rows_per_shard: int) -> Sequence[Shard]:
    """Cuts the manifest into shards."""
    return _Shards(rows, rows_per_shard)


def tile_key_name(row: int, variant: int, y: int, x: int) -> str:
    """The tile's key, under which its files are found."""
    return f"{row:08d}-{variant:02d}-{y:05d}-{x:05d}"


@dataclass(frozen=True)
class Failure:
    """A manifest row that gave no tiles, and why."""

    row: int
    id: str
    path: str
    reason: str
    message: str


@dataclass(frozen=True)
class ConditionTotal:
    """The tiles of one split, camera and ISO in a shard, and the sum of their squared `noise_std`."""

    split: str
    camera: str
    iso: int
    tiles: int
    squares: float


@dataclass(frozen=True)
class Marker:
    """What a finished shard consists of.

    Attributes:
        shard: its slice of the manifest.
        tiles: number of tiles.
        conditions: of the tiles, sorted, so that the whole can be described without reading each table.
        failures: rows that gave none.
        left_out: number of tiles that the selection left out, by reason (each counts once, whatever the variants).
        files: path relative to the dataset -> size and hash.
    """

    shard: Shard
    tiles: int
    conditions: tuple[ConditionTotal, ...]
    failures: tuple[Failure, ...]
    left_out: dict[str, int]
    files: dict[str, FileRecord]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "shard": self.shard.name,
            "rows": [self.shard.start, self.shard.stop],
            "tiles": self.tiles,
            "conditions": [list(astuple(total)) for total in self.conditions],
            "failures": [asdict(failure) for failure in self.failures],
            "left_out": self.left_out,
            "files": {path: asdict(record) for path, record in self.files.items()},
        }
