"""Two folders with the same file names, noisy/KEY.png and clean/KEY.png, as most training code reads them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from noisegen.synthesis.files import FileRecord, sync
from noisegen.synthesis.layout import DatasetFolder, Shard
from noisegen.synthesis.records import FinishedTile

__all__ = ["open_shard", "open_tiles", "remove_shards"]

SIDES = ("noisy", "clean")


class _FolderShard:
    def __init__(self, folder: DatasetFolder, shard: Shard) -> None:
        self._root = folder.root
        self._temporary = folder.temporary / shard.name
        self._files: dict[str, FileRecord] = {}
        for side in SIDES:
            (self._temporary / side).mkdir(parents=True)

    def add(self, tile: FinishedTile) -> None:
        for side, data in zip(SIDES, (tile.noisy, tile.clean), strict=True):
            name = f"{side}/{tile.record.key}.png"
            (self._temporary / name).write_bytes(data)
            self._files[name] = FileRecord.of(data)

    def finish(self) -> dict[str, FileRecord]:
        for name in self._files:
            sync(self._temporary / name)
        for side in SIDES:
            (self._root / side).mkdir(exist_ok=True)
        for name in self._files:
            (self._temporary / name).replace(self._root / name)
        for side in SIDES:
            sync(self._root / side)
        shutil.rmtree(self._temporary)
        return self._files

    def abort(self) -> None:
        shutil.rmtree(self._temporary)


def open_shard(folder: DatasetFolder, shard: Shard) -> _FolderShard:
    """See `noisegen.synthesis.formats`."""
    return _FolderShard(folder, shard)


class _FolderTiles:
    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, key: str) -> tuple[bytes, bytes]:
        noisy, clean = ((self._root / side / f"{key}.png").read_bytes() for side in SIDES)
        return noisy, clean

    def close(self) -> None:
        pass


def open_tiles(folder: DatasetFolder, shard: Shard) -> _FolderTiles:
    """See `noisegen.synthesis.formats`."""
    return _FolderTiles(folder.root)


def remove_shards(folder: DatasetFolder, shards: Sequence[Shard]) -> None:
    """See `noisegen.synthesis.formats`. Finds what a killed build had put in place before its marker, too."""
    rows = {row for shard in shards for row in range(shard.start, shard.stop)}
    for side in SIDES:
        if not rows or not (folder.root / side).is_dir():
            continue
        with os.scandir(folder.root / side) as entries:
            for entry in entries:
                row = entry.name.split("-", 1)[0]
                if row.isdecimal() and int(row) in rows:
                    Path(entry.path).unlink()
