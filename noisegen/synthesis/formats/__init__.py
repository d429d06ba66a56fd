"""Output formats of a dataset: one module each, all with the same three functions.

- ``open_shard(folder, shard)`` gives a `ShardWriter` that collects tiles under ``state/tmp``.
- ``read_tiles(folder, shard, keys)`` yields (key, noisy PNG, clean PNG) of tiles of a finished shard.
- ``remove_shards(folder, shards)`` removes what there is of the given shards under final names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from noisegen.errors import UsageError
from noisegen.synthesis.files import FileRecord
from noisegen.synthesis.formats import folders, webdataset
from noisegen.synthesis.layout import DatasetFolder, Shard
from noisegen.synthesis.records import FinishedTile

__all__ = ["FORMATS", "Format", "ShardWriter", "format_named"]


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


class Format(Protocol):
    """What a module of a format offers."""

    def open_shard(self, folder: DatasetFolder, shard: Shard) -> ShardWriter: ...

    def read_tiles(
        self, folder: DatasetFolder, shard: Shard, keys: Sequence[str]
    ) -> Iterator[tuple[str, bytes, bytes]]: ...

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
