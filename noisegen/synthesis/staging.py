"""Datasets behind URLs: shards are made in a local staging folder, uploaded, and forgotten there.

What lies at the URL is the truth; nothing in the staging folder outlives a build. A shard's files go up first and
its marker last. Two builds with the same settings at one URL write the same bytes and only waste work; of two with
different settings, the one whose run.json was overwritten stops at its next shard.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash

from noisegen.errors import NoisegenError, UsageError
from noisegen.remote import (
    abort_uploads,
    as_place,
    delete_all,
    download_all,
    fetch,
    file_size,
    list_files,
    upload,
    upload_all,
)
from noisegen.stores import RemoteError
from noisegen.synthesis.interrupt import Interrupted, StopRequest
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.shards import Marker, Shard

__all__ = ["StagedFolder", "dataset_at", "opened_dataset"]

# how long an interrupted build waits for the upload under way, in seconds
PATIENCE = 4.0

# what is read here before anything else; markers are many, and are read when they are asked for
_FETCHED_AT_ONCE = re.compile(
    r"run\.json|state/run\.xxh3|state/(host|noisy_pool)\.json|state/\d+\.(bad|retry)\.json"
)

# a file of a shard
_SHARD_FILE = re.compile(r".+/(\d{6,})\.[^/]*")
# a file of one tile or of a noisy version of a photograph, see `noisegen.synthesis.shards.tile_key_name`
_TILE_FILE = re.compile(r".+/(\d{8,})-\d{2,}(-\d{5,}-\d{5,})?\.[^/]*")


@dataclass(frozen=True)
class StagedFolder(DatasetFolder):
    """The staging folder of a dataset at a URL.

    Attributes:
        url: of the dataset, without a slash at its end.
        sizes: of the files there, by their path within the dataset.
        strays: files there of tiles of unfinished shards, by the shard's number.
    """

    url: str
    sizes: dict[str, int] = field(default_factory=dict, repr=False)
    strays: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list), repr=False)

    @property
    def shared(self) -> bool:
        return False

    @property
    def place(self) -> str:
        return self.url

    def holds(self, name: str) -> bool:
        return any(known == name or known.startswith(f"{name}/") for known in self.sizes)

    def size_of(self, name: str) -> int:
        if name not in self.sizes:
            raise FileNotFoundError(f"{self.url}/{name}")
        return self.sizes[name]

    def pull(self) -> None:
        self.discard()
        self.sizes.update(list_files(self.url))
        self.fetch(name for name in self.sizes if _FETCHED_AT_ONCE.fullmatch(name))

    def pull_run(self) -> None:
        self.discard()
        download_all(self.url, self.root, map(self._name, (self.run_file, self.run_hash_file)))

    def look_again(self, shards: Iterable[Shard]) -> None:
        for shard in shards:
            name = self._name(self.marker_file(shard))
            with suppress(RemoteError):  # mostly because there is none; then the shard is made again
                self.sizes[name] = file_size(f"{self.url}/{name}") or 0
                # which was uploaded last
                if marker := self.read_marker(shard):
                    self.sizes.update({path: record.size for path, record in marker.files.items()})

    def remove_strays(self) -> None:
        self._delete(name for names in self.strays.values() for name in names)
        self.strays.clear()

    def read_marker(self, shard: Shard) -> Marker | None:
        self.fetch([self._name(self.marker_file(shard))])
        return super().read_marker(shard)

    @contextmanager
    def markers_at_hand(self, shards: Sequence[Shard]) -> Iterator[None]:
        with self._at_hand([self.marker_file(shard) for shard in shards]):
            yield

    def state_files(self) -> Iterator[str]:
        return (name.removeprefix("state/") for name in self.sizes if name.startswith("state/"))

    def fetch(self, names: Iterable[str]) -> None:
        absent = [name for name in names if name in self.sizes and not (self.root / name).exists()]
        download_all(self.url, self.root, absent)

    @contextmanager
    def at_hand(self, shard: Shard, files: Sequence[Path] = ()) -> Iterator[None]:
        try:
            marker = self.read_marker(shard)
        except UsageError:
            marker = None
        with self._at_hand(files or [self.root / name for name in (marker.files if marker else ())]):
            yield

    @contextmanager
    def _at_hand(self, files: Iterable[Path]) -> Iterator[None]:
        """Fetches what is not here yet, and removes it afterwards."""
        fetched = [name for name in map(self._name, files) if not (self.root / name).exists()]
        try:
            self.fetch(fetched)
            yield
        finally:
            self._forget(fetched)

    def set_bad(self, shard: Shard, problems: Sequence[str]) -> None:
        super().set_bad(shard, problems)
        name = self._name(self.bad_file(shard))
        if problems:
            self._send([name])
        elif name in self.sizes:
            self._delete([name])

    def remove(self, path: Path) -> None:
        super().remove(path)
        if self._name(path) in self.sizes:
            self._delete([self._name(path)])

    def withdraw(self, shards: Sequence[Shard]) -> None:
        indices = {shard.index for shard in shards}
        rows_per_shard = int(self.read_run()["config"]["rows_per_shard"])
        # leftovers cost space only; not everybody may list them, and not every store can
        with suppress(RemoteError):
            abort_uploads(self.url, lambda name: _shard_of(name, rows_per_shard) in indices)
        markers = [self._name(self.marker_file(shard)) for shard in shards]
        self._delete(name for name in markers if name in self.sizes)
        names = {shard.name for shard in shards}
        self._delete(
            [name for name in self.sizes if name.startswith("state/") and name[6:].split(".")[0] in names]
        )
        for name in self.sizes:
            index = _shard_of(name, rows_per_shard)
            if index in indices and _TILE_FILE.fullmatch(name):
                self.strays[index].append(name)

    def write_run(self, run: Mapping[str, Any]) -> None:
        super().write_run(run)
        self._send(map(self._name, (self.run_hash_file, self.run_file)))

    def publish(self) -> None:
        names = {path.name for path in self.root.glob("*") if path.is_file() and path.name[0] != "."}
        told = (
            *(self.state / "host.json", self.noisy_pool_file),
            *(self.profile_file, self.trace_file, self.failures_file),
        )
        names |= {self._name(path) for path in told if path.exists()}
        # last what says that all is there
        self._send(sorted(names - {"run.json"}, key=lambda name: (name == "dataset.json", name)))

    @contextmanager
    def outbox(self, stop: StopRequest) -> Iterator[Callable[[Marker], None]]:
        outbox = _Outbox(self, stop)
        try:
            yield outbox.send
            outbox.wait()
        except Interrupted:
            outbox.abandon()
            raise
        except BaseException:
            with suppress(NoisegenError, OSError):
                outbox.wait()
            raise

    def discard(self) -> None:
        self.sizes.clear()
        self.strays.clear()
        for path in [*self.root.glob("*"), *self.state.glob("*")]:
            if path.is_dir() and path != self.state:
                shutil.rmtree(path)
            elif path.is_file() and path != self.state / "lock":
                path.unlink()

    def upload_shard(self, marker: Marker, pause: Callable[[float], object]) -> None:
        """Uploads a finished shard, its marker last, and forgets its data here.

        Raises:
            RemoteError: it cannot be uploaded.
            UsageError: a build with other settings has taken over the URL.
        """
        upload_all(self.root, self.url, marker.files, pause=pause)
        strays = set(self.strays.pop(marker.shard.index, ())) - set(marker.files)
        self._delete(strays)
        done = self.marker_file(marker.shard)
        beside = [self._name(path) for path in self.state.glob(f"{marker.shard.name}.*.json") if path != done]
        self._send(beside, pause)
        if fetch(f"{self.url}/run.json", pause=pause) != self.run_file.read_bytes():
            raise UsageError(
                f"another build with other settings writes to {self.url} since this one began; "
                "give one of them another place"
            )
        self._send([self._name(done)], pause)
        self.sizes.update({name: record.size for name, record in marker.files.items()})
        self._forget([*marker.files, *beside, self._name(done)])

    def _send(self, names: Iterable[str], pause: Callable[[float], object] = time.sleep) -> None:
        for name in names:
            upload(self.root / name, f"{self.url}/{name}", pause=pause)
            self.sizes[name] = (self.root / name).stat().st_size

    def _delete(self, names: Iterable[str]) -> None:
        gone = list(names)
        delete_all(self.url, gone)
        for name in gone:
            self.sizes.pop(name, None)

    def _forget(self, names: Iterable[str]) -> None:
        """Removes files here that are at the URL."""
        for name in names:
            if name in self.sizes:
                (self.root / name).unlink(missing_ok=True)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _shard_of(name: str, rows_per_shard: int) -> int | None:
    """The number of the shard that a file of the dataset is of."""
    if tile := _TILE_FILE.fullmatch(name):
        return int(tile[1]) // rows_per_shard
    shard = _SHARD_FILE.fullmatch(name)
    return int(shard[1]) if shard else None


class _Outbox:
    """Uploads one shard while the next is made."""

    def __init__(self, folder: StagedFolder, stop: StopRequest) -> None:
        self._folder = folder
        self._stop = stop
        self._abandoned = threading.Event()
        self._upload: Future[None] | None = None

    def send(self, marker: Marker) -> None:
        """Begins to upload a shard, once the one before it is there."""
        self.wait()
        self._upload = Future()
        # a daemon, so that a server that does not answer cannot keep an interrupted process alive
        threading.Thread(target=self._run, args=(self._upload, marker), daemon=True).start()

    def wait(self) -> None:
        """Waits for the upload under way, and raises its error."""
        if self._upload is not None:
            self._stop.result(self._upload)
            self._upload = None

    def abandon(self) -> None:
        """Gives the upload under way a moment, then leaves it alone."""
        self._abandoned.set()
        if self._upload is not None:
            with suppress(Exception):
                self._upload.result(PATIENCE)

    def _run(self, upload: Future[None], marker: Marker) -> None:
        try:
            self._folder.upload_shard(marker, self._abandoned.wait)
        except BaseException as error:  # handed to the thread that waits
            upload.set_exception(error)
        else:
            upload.set_result(None)


def dataset_at(place: str | Path, staging: str | Path | None = None, part: str = "") -> DatasetFolder:
    """The dataset at a path or URL, for a build.

    Args:
        place: where it is or will be.
        part: name of this process where it shares the dataset with others; each has a staging folder of its own.
        staging: folder that a staging folder is made in; by default one under the system's for temporary files.

    Raises:
        UsageError: the folder for temporary files cannot be used.
    """
    place = as_place(place)
    if isinstance(place, Path):
        return DatasetFolder(place, part=part)
    if staging is None:
        staging = Path(tempfile.gettempdir()) / f"noisegen-{os.getuid()}"
        try:
            staging.mkdir(mode=0o700, exist_ok=True)
            foreign = staging.stat().st_uid != os.getuid()
        except OSError as error:
            raise UsageError(
                f"cannot make {staging}: {error.strerror}; give a folder with --staging"
            ) from error
        if foreign:
            raise UsageError(f"{staging} belongs to another user; give a folder with --staging")
    name = "-".join(filter(None, ["staging", xxhash.xxh3_64_hexdigest(place.encode()), part]))
    return StagedFolder(Path(staging) / name, place, part=part)


@contextmanager
def opened_dataset(place: str | Path) -> Iterator[DatasetFolder]:
    """The dataset at a path or URL, for a look at it; what is fetched lasts as long as the block.

    Raises:
        RemoteError: the URL cannot be read.
    """
    place = as_place(place)
    if isinstance(place, Path):
        yield DatasetFolder(place)
        return
    with tempfile.TemporaryDirectory(prefix="noisegen-", ignore_cleanup_errors=True) as temporary:
        folder = StagedFolder(Path(temporary), place)
        folder.pull()
        yield folder
