"""LMDB as BasicSR reads it: lq.lmdb and gt.lmdb with equal keys, beside the tar files that they are made of.

A shard must be a function of its rows alone, and an LMDB holds all shards; so shards are written as tar files, and when
all are there, the databases are made of them in order.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from noisegen.errors import NoisegenError, UsageError
from noisegen.synthesis.files import FileRecord, put_in_place, read_json, record_file, sync, write_json
from noisegen.synthesis.formats.shard_files import shard_files
from noisegen.synthesis.formats.webdataset import (
    SUFFIX,
    TarTiles,
    encode,
    open_shard,
    open_tiles,
    remove_shards,
)
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.shards import Marker, Shard

if TYPE_CHECKING:
    import lmdb

__all__ = ["assemble", "encode", "is_assembled", "open_shard", "open_tiles", "problems", "remove_shards"]

NAMES = ("lq.lmdb", "gt.lmdb")
FILES = ("data.mdb", "meta_info.txt")
COMMIT_BYTES = 1 << 26
# the third word of a line of meta_info.txt; readers do not use it
COMPRESSION = {"stored": 0, "fast": 1, "small": 3}


def assemble(folder: DatasetFolder, shards: Sequence[Shard], check_stop: Callable[[], None]) -> None:
    """See `noisegen.synthesis.formats.Assembly`."""
    if is_assembled(folder, shards):
        return
    _start_over(folder)
    temporary = folder.temporary / "lmdb"
    try:
        with _as_os_errors():
            finals = _write_all(folder, shards, temporary, check_stop)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    files: dict[str, FileRecord] = {}
    for written, final in finals.items():
        for name in FILES:
            files[(final / name).relative_to(folder.root).as_posix()] = record_file(written / name)
        put_in_place(written, final)
    write_json(_state_file(folder), asdict(_State(_content(folder, shards), files)))
    shutil.rmtree(temporary, ignore_errors=True)


def is_assembled(folder: DatasetFolder, shards: Sequence[Shard]) -> bool:
    """See `noisegen.synthesis.formats.Assembly`."""
    state = _read_state(folder)
    if state is None or _bad_file(folder).exists() or state.content != _content(folder, shards):
        return False
    try:
        return all((folder.root / name).stat().st_size == file.size for name, file in state.files.items())
    except OSError:
        return False


def problems(folder: DatasetFolder, shards: Sequence[Shard]) -> list[str]:
    """See `noisegen.synthesis.formats.Assembly`."""
    state = _read_state(folder)
    found: list[str] = []
    if state is None or state.content != _content(folder, shards):
        found.append("lq.lmdb and gt.lmdb are not of these shards, or the build has not come to its end")
    for name, file in state.files.items() if state else ():
        try:
            if record_file(folder.root / name) != file:
                found.append(f"{name} has another content than when it was written")
        except OSError as error:
            found.append(f"{name} cannot be read: {error.strerror}")
    try:
        if found:
            write_json(_bad_file(folder), {"problems": found})
        elif _bad_file(folder).exists():
            _bad_file(folder).unlink()
    except OSError as error:  # a dataset that can only be read
        found.append(f"the mark of the databases cannot be changed: {error.strerror}")
    return found


@dataclass(frozen=True)
class _State:
    """What was assembled: a hash of the shards, and the files by their path relative to the dataset."""

    content: str
    files: dict[str, FileRecord]


class _Database:
    """One *.lmdb folder that is being written; the same pictures give the same bytes."""

    def __init__(self, path: Path, map_size: int, compression: int) -> None:
        import lmdb

        path.mkdir(parents=True)
        self._path = path
        # Without the lock file, which would tell who wrote when.
        self._env = lmdb.open(str(path), map_size=map_size, lock=False, sync=False, metasync=False)
        self._transaction: lmdb.Transaction = self._env.begin(write=True)
        self._lines = (path / "meta_info.txt").open("w", encoding="ascii")
        self._compression = compression
        self._uncommitted = 0

    def put(self, key: str, data: bytes) -> None:
        if not self._transaction.put(key.encode("ascii"), data, overwrite=False):
            raise NoisegenError(f"tile {key} is in more than one shard")
        width, height, _, colour = struct.unpack(">IIBB", data[16:26])  # of a PNG's header
        channels = 1 if colour == 0 else 3
        self._lines.write(f"{key}.png ({height},{width},{channels}) {self._compression}\n")
        self._uncommitted += len(data)
        if self._uncommitted > COMMIT_BYTES:
            self._transaction.commit()
            self._transaction, self._uncommitted = self._env.begin(write=True), 0

    def close(self) -> None:
        self._transaction.commit()
        self._env.sync(True)
        self._env.close()
        self._lines.close()
        for name in FILES:
            sync(self._path / name)
        sync(self._path)

    def abandon(self) -> None:
        self._transaction.abort()
        self._env.close()
        self._lines.close()


def _write_all(
    folder: DatasetFolder, shards: Sequence[Shard], temporary: Path, check_stop: Callable[[], None]
) -> dict[Path, Path]:
    """Writes the databases of all splits; gives the place of each and where it belongs."""
    databases: dict[Path, _Database] = {}
    finals: dict[Path, Path] = {}
    # at most so much room for the pages of pictures, whose last one is not full, and for the tree
    tars = [path for shard in shards for path in shard_files(folder, shard, SUFFIX).values()]
    map_size = 4 * sum(path.stat().st_size for path in tars) + (1 << 26)
    compression = COMPRESSION[folder.read_run()["config"]["png_level"]]
    try:
        for shard in shards:
            check_stop()
            marker = folder.read_marker(shard)
            for split, path in shard_files(folder, shard, SUFFIX).items():
                _check_tar(folder, marker, path)
                pair = [temporary / split / name for name in NAMES]
                for written in pair:
                    if written not in databases:
                        databases[written] = _Database(written, map_size, compression)
                        finals[written] = folder.split_folder(split) / written.name
                with contextlib.closing(TarTiles([path])) as tar:
                    for key in tar.keys:
                        for written, data in zip(pair, tar.files(key), strict=True):
                            databases[written].put(key, data)
        for written in list(databases):
            databases.pop(written).close()
    finally:
        for database in databases.values():
            database.abandon()
    return finals


def _check_tar(folder: DatasetFolder, marker: Marker | None, path: Path) -> None:
    """A damaged tar must not become a database that looks whole."""
    name = path.relative_to(folder.root).as_posix()
    if marker is None or marker.files.get(name) != record_file(path):
        shard = path.stem
        write_json(folder.state / f"{shard}.bad.json", {"shard": shard, "problems": [f"{name} is damaged"]})
        raise NoisegenError(f"{path} is damaged; the same command makes this shard anew and goes on")


def _content(folder: DatasetFolder, shards: Sequence[Shard]) -> str:
    """A hash of what the databases are made of."""
    content = xxhash.xxh3_128()
    for shard in shards:
        marker = folder.read_marker(shard)
        content.update(repr(marker and sorted(marker.files.items())).encode())
    return content.hexdigest()


def _start_over(folder: DatasetFolder) -> None:
    for path in (_state_file(folder), _bad_file(folder)):
        path.unlink(missing_ok=True)
    sync(folder.state)
    for place in folder.split_folders().values():
        for name in NAMES:
            if (place / name).exists():
                shutil.rmtree(place / name)


def _state_file(folder: DatasetFolder) -> Path:
    return folder.state / "lmdb.json"


def _bad_file(folder: DatasetFolder) -> Path:
    return folder.state / "lmdb.bad.json"


def _read_state(folder: DatasetFolder) -> _State | None:
    """None where nothing was assembled, or what was is not known any more."""
    path = _state_file(folder)
    if not path.exists():
        return None
    try:
        value = read_json(path)
        return _State(value["content"], {name: FileRecord(**file) for name, file in value["files"].items()})
    except (UsageError, KeyError, TypeError, AttributeError):
        return None


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    """So that a full disk is reported as with the other formats."""
    import lmdb

    try:
        yield
    except lmdb.Error as error:
        raise OSError(f"{error} (as LMDB puts it; maybe the disk is full, or a file too large)") from error
