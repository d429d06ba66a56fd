"""Tar files for WebDataset: KEY.noisy.png, KEY.clean.png and KEY.json of each tile."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

from noisegen.synthesis.files import FileRecord, json_bytes, record_file, sync
from noisegen.synthesis.layout import DatasetFolder, Shard
from noisegen.synthesis.records import FinishedTile

__all__ = ["open_shard", "open_tiles", "remove_shards"]


class _TarShard:
    def __init__(self, folder: DatasetFolder, shard: Shard) -> None:
        self._final = _path(folder, shard)
        self._root = folder.root
        self._temporary = folder.temporary / self._final.name
        self._temporary.parent.mkdir(parents=True, exist_ok=True)
        self._tar = tarfile.open(self._temporary, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 (until finish)

    def add(self, tile: FinishedTile) -> None:
        key = tile.record.key
        self._member(f"{key}.noisy.png", tile.noisy)
        self._member(f"{key}.clean.png", tile.clean)
        self._member(f"{key}.json", json_bytes(tile.record.to_dict()))

    def finish(self) -> dict[str, FileRecord]:
        self._tar.close()
        sync(self._temporary)
        record = record_file(self._temporary)
        self._final.parent.mkdir(exist_ok=True)
        self._temporary.replace(self._final)
        sync(self._final.parent)
        return {self._final.relative_to(self._root).as_posix(): record}

    def abort(self) -> None:
        self._tar.close()
        self._temporary.unlink(missing_ok=True)

    def _member(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)  # its defaults: mtime, uid and gid 0, no names
        info.mode = 0o644
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))


def open_shard(folder: DatasetFolder, shard: Shard) -> _TarShard:
    """See `noisegen.synthesis.formats`."""
    return _TarShard(folder, shard)


class _TarTiles:
    """Knows where each file lies in the tar, from one pass over its headers."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path, "r:") as tar:
            self._places = {member.name: (member.offset_data, member.size) for member in tar}
        self._file = os.open(path, os.O_RDONLY)

    def read(self, key: str) -> tuple[bytes, bytes]:
        return self._content(f"{key}.noisy.png"), self._content(f"{key}.clean.png")

    def close(self) -> None:
        os.close(self._file)

    def _content(self, name: str) -> bytes:
        offset, size = self._places[name]
        return os.pread(self._file, size, offset)


def open_tiles(folder: DatasetFolder, shard: Shard) -> _TarTiles:
    """See `noisegen.synthesis.formats`."""
    return _TarTiles(_path(folder, shard))


def remove_shards(folder: DatasetFolder, shards: Sequence[Shard]) -> None:
    """See `noisegen.synthesis.formats`."""
    for shard in shards:
        _path(folder, shard).unlink(missing_ok=True)


def _path(folder: DatasetFolder, shard: Shard) -> Path:
    return folder.root / "shards" / f"{shard.name}.tar"
