"""Tar files for WebDataset: KEY.noisy.png, KEY.clean.png and KEY.json of each tile."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import xxhash

from noisegen.errors import InputError
from noisegen.png import decode_png
from noisegen.synthesis.files import FileRecord, json_bytes
from noisegen.synthesis.formats.shard_files import ShardFiles, encode, remove_shard_files, shard_files
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import FinishedTile
from noisegen.synthesis.shards import Shard

__all__ = ["SUFFIX", "TarTiles", "encode", "open_shard", "open_tiles", "remove_shards"]

SUFFIX = ".tar"
WRITEBACK_BYTES = 16 << 20
_EMPTY_HEADER = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)


class _TarFile:
    """The bytes that `tarfile` writes, without its work for each member."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._hash = xxhash.xxh3_128()
        self._size = self._begun = 0

    def add(self, tile: FinishedTile) -> None:
        key = tile.record.key
        record = json_bytes(tile.record.to_dict())
        members = ((".noisy.png", tile.noisy), (".clean.png", tile.clean), (".json", record))
        pieces: list[bytes] = []
        for suffix, data in members:
            pieces += [_header(key + suffix, len(data)), data, bytes(-len(data) % tarfile.BLOCKSIZE)]
        self._write(pieces)
        if self._size - self._begun >= WRITEBACK_BYTES:
            self._begin_writeback()

    def close(self) -> None:
        if self._file.closed:  # as it is where closing failed, on a full disk
            return
        with self._file:
            end = 2 * tarfile.BLOCKSIZE
            self._write([bytes(end + -(self._size + end) % tarfile.RECORDSIZE)])

    def record(self) -> FileRecord:
        return FileRecord(self._size, self._hash.hexdigest())

    def _write(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self._file.write(piece)
            self._hash.update(piece)
            self._size += len(piece)

    def _begin_writeback(self) -> None:
        """Lets the system take to the disk what is there, so that nobody waits for all of it at the shard's end."""
        if hasattr(os, "posix_fadvise"):
            place = self._begun, self._size - self._begun
            os.posix_fadvise(self._file.fileno(), *place, os.POSIX_FADV_DONTNEED)
        self._begun = self._size


def _header(name: str, size: int) -> bytes:
    """As `tarfile` makes it of a `TarInfo` with its defaults: mtime, uid and gid 0, no names."""
    header = bytearray(_EMPTY_HEADER)
    header[: len(name)] = name.encode("ascii")
    header[124:135] = b"%011o" % size
    header[148:155] = b"%06o\0" % sum(header[:148], sum(header[156:], 8 * ord(" ")))
    return bytes(header)


def open_shard(folder: DatasetFolder, shard: Shard) -> ShardFiles:
    """See `noisegen.synthesis.formats`."""
    return ShardFiles(folder, shard, SUFFIX, _TarFile)


class TarTiles:
    """Knows where each file lies in the tars, from one pass over their headers.

    Raises:
        InputError: one is damaged.
        OSError: one cannot be read.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._places: dict[str, tuple[Path, int, int]] = {}
        for path in paths:
            try:
                with tarfile.open(path, "r:") as tar:
                    places = [(member.name, member.offset_data, member.size) for member in tar]
            except tarfile.TarError as error:
                raise InputError("unreadable", f"{path}: {error}") from error
            self._places |= {name: (path, offset, size) for name, offset, size in places}

    @property
    def keys(self) -> list[str]:
        """Of all tiles, in the order of the tars."""
        return [name.partition(".")[0] for name in self._places if name.endswith(".json")]

    def read(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        noisy, clean = (decode_png(data) for data in self.files(key))
        return noisy, clean

    def files(self, key: str) -> tuple[bytes, bytes]:
        """The (noisy, clean) PNG files of a tile.

        Raises:
            KeyError: there is no such tile.
            OSError: it cannot be read.
        """
        noisy, clean = (self._content(*self._places[f"{key}.{side}.png"]) for side in ("noisy", "clean"))
        return noisy, clean

    def close(self) -> None:
        pass

    def _content(self, path: Path, offset: int, size: int) -> bytes:
        # opened for each file: training reads from more shards than a process may hold open
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)


def open_tiles(folder: DatasetFolder, shard: Shard) -> TarTiles:
    """See `noisegen.synthesis.formats`."""
    return TarTiles(shard_files(folder, shard, SUFFIX).values())


def remove_shards(folder: DatasetFolder, shards: Sequence[Shard]) -> None:
    """See `noisegen.synthesis.formats`."""
    remove_shard_files(folder, shards, SUFFIX)
