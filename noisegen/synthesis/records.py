"""What is recorded of each tile, and the index table of a shard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

__all__ = ["FinishedTile", "TileRecord", "noise_std", "pixel_hash", "read_index", "write_index"]


@dataclass(frozen=True)
class TileRecord:
    """A row of the index table.

    Attributes:
        key: the name under which the tile's files are found.
        row, id: of the photograph in the manifest.
        variant: number of the noisy version.
        split: that the photograph belongs to; "" where none was asked for.
        y, x: upper left pixel in the photograph, after its downscaling.
        tile_size: side in pixels.
        camera, iso: the condition of the noise.
        iso_rule: how the ISO was handled, see `noisegen.conditions.ConditionMix.rule`.
        drawn: whether camera or ISO were drawn at random.
        seed: the run's seed.
        noise_std: of noisy - clean over all channels, in grey levels of the picture's own depth.
        noisy_pixels_xxh3, clean_pixels_xxh3: of the pixels, however they are encoded, see `pixel_hash`.
        extra: the manifest's other columns, JSON.
    """

    key: str
    row: int
    id: str
    variant: int
    split: str
    y: int
    x: int
    tile_size: int
    camera: str
    iso: int
    iso_rule: str
    drawn: bool
    seed: int
    noise_std: float
    noisy_pixels_xxh3: str
    clean_pixels_xxh3: str
    extra: str

    def to_dict(self) -> dict[str, object]:
        """Plain values for the JSON file beside a tile, with the manifest's other columns unpacked."""
        return {**asdict(self), "extra": json.loads(self.extra)}


@dataclass(frozen=True)
class FinishedTile:
    """A tile as it goes to the writer: two pictures as `Format.encode` made them, and the record."""

    noisy: bytes
    clean: bytes
    record: TileRecord


_ARROW_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
SCHEMA = pa.schema([(field.name, _ARROW_TYPES[str(field.type)]) for field in fields(TileRecord)])


def write_index(path: Path, records: Sequence[TileRecord]) -> None:
    """Writes the index table; the same records give the same bytes."""
    table = pa.Table.from_pylist([asdict(record) for record in records], schema=SCHEMA)
    pq.write_table(table, path, compression="zstd")


def read_index(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The index table's rows, as plain values."""
    rows: list[dict[str, Any]] = pq.read_table(path, columns=columns and list(columns)).to_pylist()
    return rows


def noise_std(noisy: np.ndarray, clean: np.ndarray) -> float:
    """Standard deviation of noisy - clean in grey levels, from exact integer sums."""
    noise = noisy.astype(np.int64) - clean
    n, total, squares = noise.size, int(noise.sum()), int(np.square(noise).sum())
    return float(np.sqrt(n * squares - total * total) / n)


def pixel_hash(picture: np.ndarray) -> str:
    """xxh3_128 (hex) of the pixels in row order, channels last, 16-bit values little-endian."""
    pixels = np.ascontiguousarray(picture, dtype=picture.dtype.newbyteorder("<"))
    return xxhash.xxh3_128_hexdigest(pixels.data)
