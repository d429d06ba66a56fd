"""Tar files for WebDataset: KEY.noisy.png, KEY.clean.png and KEY.json of each tile."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from noisegen.synthesis.files import FileRecord, json_bytes, record_file, sync
from noisegen.synthesis.layout import DatasetFolder, Shard
from noisegen.synthesis.records import FinishedTile

__all__ = ["open_shard", "read_tiles", "remove_shards"]


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


def read_tiles(
    folder: DatasetFolder, shard: Shard, keys: Sequence[str]
) -> Iterator[tuple[str, bytes, bytes]]:
    """See `noisegen.synthesis.formats`.

    Raises:
        KeyError: the tar has no such tile.
        tarfile.TarError, OSError: it cannot be read.
    """
    with tarfile.open(_path(folder, shard), "r:") as tar:
        for key in keys:
            yield key, _content(tar, f"{key}.noisy.png"), _content(tar, f"{key}.clean.png")


def remove_shards(folder: DatasetFolder, shards: Sequence[Shard]) -> None:
    """See `noisegen.synthesis.formats`."""
    for shard in shards:
        _path(folder, shard).unlink(missing_ok=True)


def _path(folder: DatasetFolder, shard: Shard) -> Path:
    return folder.root / "shards" / f"{shard.name}.tar"


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    if member is None:
        raise KeyError(name)
    return member.read()
