"""Output formats of a dataset: one module each, all with the same three functions.

- ``open_shard(folder, shard)`` gives a `ShardWriter` that collects tiles under ``state/tmp``.
- ``open_tiles(folder, shard)`` gives a `TileReader` of a finished shard.
- ``remove_shards(folder, shards)`` removes what there is of the given shards under final names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from noisegen.errors import UsageError
from noisegen.synthesis.files import FileRecord
from noisegen.synthesis.formats import folders, webdataset
from noisegen.synthesis.layout import DatasetFolder, Shard
from noisegen.synthesis.records import FinishedTile

__all__ = ["FORMATS", "Format", "ShardWriter", "TileReader", "format_named"]


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

    def read(self, key: str) -> tuple[bytes, bytes]:
        """The (noisy, clean) PNG files of a tile.

        Raises:
            KeyError: the shard has no such tile.
            OSError: it cannot be read.
        """
        ...

    def close(self) -> None:
        """Closes what is open; `read` must not be called any more."""
        ...


class Format(Protocol):
    """What a module of a format offers."""

    def open_shard(self, folder: DatasetFolder, shard: Shard) -> ShardWriter: ...

    def open_tiles(self, folder: DatasetFolder, shard: Shard) -> TileReader:
        """Opens a shard for reading.

        Raises:
            OSError, tarfile.TarError: it cannot be read.
        """
        ...

    def remove_shards(self, folder: DatasetFolder, shards: Sequence[Shard]) -> None: ...


FORMATS: dict[str, Format] = {"webdataset": webdataset, "folders": folders}


def format_named(name: str) -> Format:
    """The module of a format.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in FORMATS:
        raise UsageError(f"format {name!r} is not known; known: {', '.join(FORMATS)}")
    return FORMATS[name]
