"""What the formats with one file for each shard (and split) have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from noisegen.png import encode_png
from noisegen.synthesis.files import FileRecord, put_in_place, sync
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import FinishedTile
from noisegen.synthesis.shards import Shard

__all__ = ["ShardFiles", "TileFile", "encode", "remove_shard_files", "shard_files"]


class TileFile(Protocol):
    """A file that tiles are appended to."""

    def add(self, tile: FinishedTile) -> None: ...

    def close(self) -> None: ...

    def record(self) -> FileRecord:
        """What the closed file is."""
        ...


class ShardFiles:
    """A `ShardWriter` with a file for each split that the shard has tiles of.

    Args:
        folder: the dataset.
        shard: the shard.
        suffix: of the files' names.
        create: opens a new file for writing.
    """

    def __init__(
        self, folder: DatasetFolder, shard: Shard, suffix: str, create: Callable[[Path], TileFile]
    ) -> None:
        self._folder = folder
        self._name = f"{shard.name}{suffix}"
        self._create = create
        self._open: dict[str, TileFile] = {}

    def add(self, tile: FinishedTile) -> None:
        split = tile.record.split
        if split not in self._open:
            temporary = self._temporary(split)
            temporary.parent.mkdir(parents=True, exist_ok=True)
            self._open[split] = self._create(temporary)
        self._open[split].add(tile)

    def finish(self) -> dict[str, FileRecord]:
        for file in self._open.values():
            file.close()
        records: dict[str, FileRecord] = {}
        for split, file in self._open.items():
            temporary = self._temporary(split)
            final = self._folder.split_folder(split) / "shards" / self._name
            sync(temporary)
            records[final.relative_to(self._folder.root).as_posix()] = file.record()
            put_in_place(temporary, final)
        return records

    def abort(self) -> None:
        for split, file in self._open.items():
            # a full disk lets closing fail, too
            with contextlib.suppress(OSError):
                file.close()
            self._temporary(split).unlink(missing_ok=True)

    def _temporary(self, split: str) -> Path:
        return self._folder.temporary / f"{split}{self._name}"


def shard_files(folder: DatasetFolder, shard: Shard, suffix: str) -> dict[str, Path]:
    """The files of a shard that are in place, by split."""
    name = f"{shard.name}{suffix}"
    paths = {split: place / "shards" / name for split, place in folder.split_folders().items()}
    return {split: path for split, path in paths.items() if path.exists()}


def remove_shard_files(folder: DatasetFolder, shards: Sequence[Shard], suffix: str) -> None:
    """Removes them."""
    for shard in shards:
        for path in shard_files(folder, shard, suffix).values():
            path.unlink()


def encode(picture: np.ndarray, png_level: str | None) -> bytes:
    """As a PNG file."""
    assert png_level is not None
    return encode_png(picture, level=png_level)
