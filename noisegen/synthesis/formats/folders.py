"""Two folders with the same file names, for example lq/KEY.png and gt/KEY.png, as most training code reads them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from noisegen.png import decode_png
from noisegen.synthesis.choices import LAYOUTS
from noisegen.synthesis.files import FileRecord, make_folder, sync
from noisegen.synthesis.formats.shard_files import encode
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import FinishedTile
from noisegen.synthesis.shards import Shard

__all__ = ["encode", "open_shard", "open_tiles", "remove_shards"]


class _FolderShard:
    def __init__(self, folder: DatasetFolder, shard: Shard) -> None:
        self._folder = folder
        self._sides = _sides(folder)
        self._temporary = folder.temporary / shard.name
        self._files: dict[str, FileRecord] = {}

    def add(self, tile: FinishedTile) -> None:
        at = self._folder.split_folder(tile.record.split).relative_to(self._folder.root)
        for side, data in zip(self._sides, (tile.noisy, tile.clean), strict=True):
            name = at / side / f"{tile.record.key}.png"
            (self._temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (self._temporary / name).write_bytes(data)
            self._files[name.as_posix()] = FileRecord.of(data)

    def finish(self) -> dict[str, FileRecord]:
        root = self._folder.root
        for name in self._files:
            sync(self._temporary / name)
        places = sorted({(root / name).parent for name in self._files})
        for place in places:
            make_folder(place)
        for name in self._files:
            (self._temporary / name).replace(root / name)
        for place in places:
            sync(place)
        shutil.rmtree(self._temporary, ignore_errors=True)
        return self._files

    def abort(self) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)


def open_shard(folder: DatasetFolder, shard: Shard) -> _FolderShard:
    """See `noisegen.synthesis.formats`."""
    return _FolderShard(folder, shard)


class _FolderTiles:
    def __init__(self, folder: DatasetFolder) -> None:
        self._places = list(folder.split_folders().values())
        self._sides = _sides(folder)

    def read(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        for place in self._places:
            noisy, clean = (place / side / f"{key}.png" for side in self._sides)
            if noisy.exists():
                return decode_png(noisy.read_bytes()), decode_png(clean.read_bytes())
        raise KeyError(key)

    def close(self) -> None:
        pass


def open_tiles(folder: DatasetFolder, shard: Shard) -> _FolderTiles:
    """See `noisegen.synthesis.formats`."""
    return _FolderTiles(folder)


def remove_shards(folder: DatasetFolder, shards: Sequence[Shard]) -> None:
    """See `noisegen.synthesis.formats`. Finds what a killed build had put in place before its marker, too."""
    rows = {row for shard in shards for row in range(shard.start, shard.stop)}
    if not rows:
        return
    for place in (base / side for base in folder.split_folders().values() for side in _sides(folder)):
        if not place.is_dir():
            continue
        with os.scandir(place) as entries:
            for entry in entries:
                row = entry.name.split("-", 1)[0]
                if row.isdecimal() and int(row) in rows:
                    Path(entry.path).unlink()


def _sides(folder: DatasetFolder) -> tuple[str, str]:
    return LAYOUTS[folder.read_run()["config"]["layout"]]
