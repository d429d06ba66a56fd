"""Output formats of a dataset: one module each, all with the same functions.

- ``encode(picture, png_level)`` gives a picture's bytes as the format keeps them; worker threads call it.
- ``open_shard(folder, shard)`` gives a `ShardWriter` that collects tiles under ``state/tmp``.
- ``open_tiles(folder, shard)`` gives a `TileReader` of a finished shard.
- ``remove_shards(folder, shards)`` removes what there is of the given shards under final names.

A format with files that are made of all shards together is an `Assembly`, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from noisegen.errors import UsageError
from noisegen.synthesis.files import FileRecord
from noisegen.synthesis.formats import folders, hdf5, lmdb, parquet, webdataset
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import FinishedTile
from noisegen.synthesis.shards import Shard

__all__ = ["FORMATS", "Assembly", "Format", "ShardWriter", "TileReader", "assembly_of", "format_named"]


class ShardWriter(Protocol):
    """Collects the tiles of one shard. Nothing is seen under a final name before `finish`."""

    def add(self, tile: FinishedTile) -> None:
        """Takes the next tile."""
        ...

    def finish(self) -> dict[str, FileRecord]:
        """Puts the files in place, on the disk, and describes them by their path relative to the dataset."""
        ...

    def abort(self) -> None:
        """Removes everything."""
        ...


class TileReader(Protocol):
    """Reads tiles of a finished shard in any order, from several threads at once."""

    def read(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """The (noisy, clean) pictures of a tile, each [H, W, C] uint8 or uint16.

        Raises:
            KeyError: the shard has no such tile.
            InputError: it is damaged.
            OSError: it cannot be read.
        """
        ...

    def close(self) -> None:
        """Closes what is open; `read` must not be called any more."""
        ...


class Format(Protocol):
    """What a module of a format offers."""

    def encode(self, picture: np.ndarray, png_level: str | None) -> bytes: ...

    def open_shard(self, folder: DatasetFolder, shard: Shard) -> ShardWriter: ...

    def open_tiles(self, folder: DatasetFolder, shard: Shard) -> TileReader:
        """Opens a shard for reading.

        Raises:
            InputError: it is damaged.
            OSError: it cannot be read.
        """
        ...

    def remove_shards(self, folder: DatasetFolder, shards: Sequence[Shard]) -> None: ...


class Assembly(Protocol):
    """Makes files from all finished shards."""

    def assemble(
        self, folder: DatasetFolder, shards: Sequence[Shard], check_stop: Callable[[], None]
    ) -> None:
        """Makes them anew where they are missing, damaged, or of other shards; ``check_stop`` may raise.

        Raises:
            NoisegenError: a shard is damaged, and now marked so that the next build redoes it.
        """
        ...

    def is_assembled(self, folder: DatasetFolder, shards: Sequence[Shard]) -> bool:
        """Whether they are there, have their sizes, are of these shards, and `problems` found none."""
        ...

    def problems(self, folder: DatasetFolder, shards: Sequence[Shard]) -> list[str]:
        """Reads them and says what is wrong; what is gets marked, so that the next build makes them anew."""
        ...


FORMATS: dict[str, Format] = {
    "webdataset": webdataset,
    "parquet": parquet,
    "folders": folders,
    "lmdb": lmdb,
    "hdf5": hdf5,
}
_ASSEMBLIES: dict[str, Assembly] = {"lmdb": lmdb}


def format_named(name: str) -> Format:
    """The module of a format.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in FORMATS:
        raise UsageError(f"format {name!r} is not known; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def assembly_of(name: str) -> Assembly | None:
    """What makes the files of the whole in this format; None where there are none."""
    return _ASSEMBLIES.get(name)
