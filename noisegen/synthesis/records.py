"""What is recorded of each tile, and the index table of a shard."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

__all__ = [
    "FinishedTile",
    "TileRecord",
    "noise_std",
    "pixel_hash",
    "read_index",
    "record_columns",
    "write_index",
]


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
        return {**vars(self), "extra": json.loads(self.extra)}


@dataclass(frozen=True)
class FinishedTile:
    """A tile as it goes to the writer: two pictures as `Format.encode` made them, and the record."""

    noisy: bytes
    clean: bytes
    record: TileRecord


# so many squared differences of 16 bits add up in a double without rounding
EXACT_SAMPLES = 1 << 20
_ARROW_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
SCHEMA = pa.schema([(field.name, _ARROW_TYPES[str(field.type)]) for field in fields(TileRecord)])


def write_index(path: Path, records: Sequence[TileRecord]) -> None:
    """Writes the index table; the same records give the same bytes."""
    table = pa.Table.from_pydict(record_columns(records), schema=SCHEMA)
    pq.write_table(table, path, compression="zstd")


def record_columns(records: Sequence[TileRecord]) -> dict[str, list[Any]]:
    """The records' values by field."""
    return {name: [getattr(record, name) for record in records] for name in SCHEMA.names}


def read_index(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The index table's rows, as plain values."""
    rows: list[dict[str, Any]] = pq.read_table(path, columns=columns and list(columns)).to_pylist()
    return rows


def noise_std(noisy: np.ndarray, clean: np.ndarray) -> float:
    """Standard deviation of noisy - clean in grey levels, from exact integer sums."""
    n, total, squares = noisy.size, _sum(noisy) - _sum(clean), 0
    rows = max(1, EXACT_SAMPLES // max(1, n // len(noisy)))
    for top in range(0, len(noisy), rows):
        squares += round(cv2.norm(noisy[top : top + rows], clean[top : top + rows], cv2.NORM_L2SQR))
    return math.sqrt(n * squares - total * total) / n


def _sum(picture: np.ndarray) -> int:
    return int(sum(cv2.sumElems(picture)))


def pixel_hash(picture: np.ndarray) -> str:
    """xxh3_128 (hex) of the pixels in row order, channels last, 16-bit values little-endian."""
    pixels = np.ascontiguousarray(picture, dtype=picture.dtype.newbyteorder("<"))
    return xxhash.xxh3_128_hexdigest(pixels.data)
