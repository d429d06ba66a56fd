"""Parquet files for Hugging Face `datasets`: columns `noisy` and `clean` are Image features, then the tile's record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisegen.errors import InputError
from noisegen.png import decode_png
from noisegen.synthesis.files import FileRecord, record_file
from noisegen.synthesis.formats.shard_files import ShardFiles, encode, remove_shard_files, shard_files
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import SCHEMA as RECORD_SCHEMA
from noisegen.synthesis.records import FinishedTile, record_columns
from noisegen.synthesis.shards import Shard

__all__ = ["encode", "open_shard", "open_tiles", "remove_shards"]

SUFFIX = ".parquet"
SIDES = ("noisy", "clean")
# Tiles are read one by one, and a row group is the least that can be.
ROW_GROUP_TILES = 8
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_TYPE_NAMES = {pa.string(): "string", pa.int64(): "int64", pa.float64(): "float64", pa.bool_(): "bool"}


def _schema() -> pa.Schema:
    features: dict[str, dict[str, str]] = {side: {"_type": "Image"} for side in SIDES}
    for field in RECORD_SCHEMA:
        features[field.name] = {"dtype": _TYPE_NAMES[field.type], "_type": "Value"}
    described = json.dumps({"info": {"features": features}})
    return pa.schema(
        [*((side, _IMAGE) for side in SIDES), *RECORD_SCHEMA], metadata={"huggingface": described}
    )


_SCHEMA = _schema()


class _ParquetFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        # neither dictionaries nor minima and maxima are of use for pictures
        self._writer = pq.ParquetWriter(
            path,
            _SCHEMA,
            compression="NONE",
            use_dictionary=RECORD_SCHEMA.names,
            write_statistics=RECORD_SCHEMA.names,
        )
        self._tiles: list[FinishedTile] = []

    def add(self, tile: FinishedTile) -> None:
        self._tiles.append(tile)
        if len(self._tiles) == ROW_GROUP_TILES:
            self._flush()

    def close(self) -> None:
        if self._tiles:
            self._flush()
        self._writer.close()

    def record(self) -> FileRecord:
        return record_file(self._path)

    def _flush(self) -> None:
        tiles, self._tiles = self._tiles, []
        names = pa.array([f"{tile.record.key}.png" for tile in tiles], pa.string())
        images = [
            pa.StructArray.from_arrays([pa.array(pictures, pa.binary()), names], fields=list(_IMAGE))
            for pictures in ([tile.noisy for tile in tiles], [tile.clean for tile in tiles])
        ]
        columns = record_columns([tile.record for tile in tiles])
        table = pa.Table.from_pydict({**dict(zip(SIDES, images, strict=True)), **columns}, schema=_SCHEMA)
        self._writer.write_table(table, row_group_size=len(tiles))


def open_shard(folder: DatasetFolder, shard: Shard) -> ShardFiles:
    """See `noisegen.synthesis.formats`."""
    return ShardFiles(folder, shard, SUFFIX, _ParquetFile)


class _ParquetTiles:
    """Knows the row of each tile, and reads row groups; threads share nothing but the footers."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._places: dict[str, tuple[Path, pq.FileMetaData, int, int]] = {}
        for path in paths:
            try:
                with pq.ParquetFile(path) as file:
                    footer = file.metadata
                    for group in range(file.num_row_groups):
                        keys = file.read_row_group(group, columns=["key"])["key"].to_pylist()
                        for row, key in enumerate(keys):
                            self._places[key] = (path, footer, group, row)
            except pa.ArrowException as error:
                raise InputError("unreadable", f"{path}: {error}") from error

    def read(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        path, footer, group, row = self._places[key]
        try:
            with pq.ParquetFile(path, metadata=footer) as file:
                table = file.read_row_group(
                    group, columns=[f"{side}.bytes" for side in SIDES], use_threads=False
                )
        except pa.ArrowException as error:
            raise InputError("unreadable", f"{path}: {error}") from error
        noisy, clean = (decode_png(table[side][row].as_py()["bytes"]) for side in SIDES)
        return noisy, clean

    def close(self) -> None:
        pass


def open_tiles(folder: DatasetFolder, shard: Shard) -> _ParquetTiles:
    """See `noisegen.synthesis.formats`."""
    return _ParquetTiles(shard_files(folder, shard, SUFFIX).values())


def remove_shards(folder: DatasetFolder, shards: Sequence[Shard]) -> None:
    """See `noisegen.synthesis.formats`."""
    remove_shard_files(folder, shards, SUFFIX)
