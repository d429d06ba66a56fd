"""Files behind URLs (`s3://`, `gs://`, whatever fsspec knows); `file://` is a local path.

Requests that fail in passing are repeated, see `noisegen.stores`.
"""

from __future__ import annotations

import queue
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from noisegen.errors import UsageError
from noisegen.stores import RemoteError, connect, retried

__all__ = [
    "Connections",
    "abort_uploads",
    "as_place",
    "delete_all",
    "download",
    "download_all",
    "fetch",
    "file_size",
    "is_url",
    "list_files",
    "local_copy",
    "parent_url",
    "upload",
    "upload_all",
]

T = TypeVar("T")

# requests under way at once where many files are moved
CONNECTIONS = 16

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LOCAL = re.compile(r"(file|local)://", re.IGNORECASE)


def is_url(place: str | Path) -> bool:
    """Whether this names a file by a URL (`file://` included) rather than by a path."""
    return isinstance(place, str) and _URL.match(place) is not None


def as_place(place: str | Path) -> Path | str:
    """A path, also where it was given as `file://`; or the URL, without slashes at its end."""
    if not isinstance(place, str) or not is_url(place):
        return Path(place)
    if local := _LOCAL.match(place):
        return Path(place[local.end() :])
    scheme, _, rest = place.partition("://")
    return f"{scheme.lower()}://{rest.rstrip('/')}"


def parent_url(url: str) -> str:
    """The folder that a file behind a URL lies in."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('/')[0]}"


def file_size(url: str, *, pause: Callable[[float], object] = time.sleep) -> int | None:
    """Size in bytes, None where the server does not tell it.

    Args:
        url: of a file.
        pause: waits for so many seconds; what it returns, if true, ends the attempts.

    Raises:
        RemoteError, UsageError: see `noisegen.stores`.
    """
    store, path = connect(url)
    info = retried(url, lambda: store.info(path), pause)
    if info.get("type") == "directory":
        raise RemoteError("missing", "a folder, no file; give the path of a file", url)
    size = info.get("size")
    return None if size is None else int(size)


def fetch(url: str, *, size: int | None = None, pause: Callable[[float], object] = time.sleep) -> bytes:
    """The content of a file; ``size`` is what `file_size` said, and fewer bytes count as a failed attempt.

    Raises:
        RemoteError, UsageError: see `noisegen.stores`.
    """
    store, path = connect(url)

    def read() -> bytes:
        data: bytes = store.cat_file(path)
        if size is not None and len(data) < size:
            raise ConnectionError(f"{len(data)} bytes of {size} came")
        return data

    return retried(url, read, pause)


def download(url: str, path: Path) -> None:
    """Copies a file here, making folders. After an error the copy may be half there.

    Raises:
        RemoteError, UsageError: see `noisegen.stores`.
        OSError: it cannot be written here.
    """
    store, remote = connect(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    retried(url, lambda: store.get_file(remote, str(path)), time.sleep)


def upload(path: Path, url: str, *, pause: Callable[[float], object] = time.sleep) -> None:
    """Copies a local file to a URL. Object stores show it whole or not at all.

    Raises:
        RemoteError, UsageError: see `noisegen.stores`.
        FileNotFoundError: there is no local file.
    """
    path.stat()
    store, remote = connect(url)
    try:
        retried(url, lambda: store.put_file(str(path), remote), pause)
    except RemoteError as error:
        if error.reason != "missing":
            raise
        raise RemoteError("missing", "there is no such bucket; make it first", url) from error


def list_files(url: str) -> dict[str, int]:
    """Sizes of all files below a folder by their path within it; nothing where there is no such folder.

    Raises:
        RemoteError, UsageError: see `noisegen.stores`.
    """
    store, root = connect(url)

    def find() -> dict[str, Any]:
        store.invalidate_cache()
        try:
            found: dict[str, Any] = store.find(root, detail=True)
        except FileNotFoundError:
            found = {}
        return found

    start = len(root.rstrip("/")) + 1
    names = {
        name[start:]: int(entry.get("size") or 0) for name, entry in retried(url, find, time.sleep).items()
    }
    # such names lead out of the folder once they are paths here
    return {name: size for name, size in names.items() if name and not {"", ".", ".."} & set(name.split("/"))}


def download_all(url: str, folder: Path, names: Iterable[str]) -> None:
    """Copies files below a URL to the same names below a folder, several at once.

    Raises:
        RemoteError, UsageError: see `noisegen.stores`.
    """
    _each(lambda name: download(f"{url}/{name}", folder / name), names)


def upload_all(
    folder: Path, url: str, names: Iterable[str], *, pause: Callable[[float], object] = time.sleep
) -> None:
    """Copies files below a folder to the same names below a URL, several at once.

    Raises:
        RemoteError, UsageError: see `noisegen.stores`.
    """
    _each(lambda name: upload(folder / name, f"{url}/{name}", pause=pause), names)


def delete_all(url: str, names: Iterable[str]) -> None:
    """Deletes files below a URL; those that are not there are no error.

    Raises:
        RemoteError, UsageError: see `noisegen.stores`.
    """

    def delete(name: str) -> None:
        store, path = connect(f"{url}/{name}")
        try:
            retried(f"{url}/{name}", lambda: store.rm_file(path), time.sleep)
        except RemoteError as error:
            if error.reason != "missing":
                raise

    _each(delete, names)


def abort_uploads(url: str, unwanted: Callable[[str], bool]) -> int:
    """Gives back the space of uploads in parts to below an S3 folder that a killed process left; their number.

    Args:
        url: of the folder.
        unwanted: whether those of a file, given by its path within the folder, are not of somebody who is at work.

    Raises:
        RemoteError, UsageError: see `noisegen.stores`.
    """
    store, root = connect(f"{url}/")
    if not hasattr(store, "list_multipart_uploads"):
        return 0
    bucket, _, prefix = root.partition("/")
    start = f"{prefix}/" if prefix else ""
    left = [
        entry
        for entry in retried(url, lambda: store.list_multipart_uploads(bucket), time.sleep)
        if (name := entry["Key"]).startswith(start) and unwanted(name.removeprefix(start))
    ]
    for entry in left:
        retried(url, partial(store.abort_mpu, bucket, entry["Key"], entry["UploadId"]), time.sleep)
    return len(left)


@contextmanager
def local_copy(place: str | Path) -> Iterator[Path]:
    """The path itself, or for a URL a copy under the same name in a temporary folder that lasts as long as the block.

    Raises:
        UsageError: the URL cannot be read.
    """
    place = as_place(place)
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="noisegen-") as folder:
        path = Path(folder) / place.rpartition("/")[2]
        try:
            download(place, path)
        except RemoteError as error:
            raise UsageError(str(error)) from error
        yield path


class Connections:
    """Threads that wait for servers, as a context; leaving it drops what has not begun and waits for nothing.

    They are daemons, so that a server that does not answer cannot keep an interrupted process alive.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        for _thread in self._threads:
            self._work.put(None)

    def submit(self, act: Callable[..., T], *arguments: object, **options: object) -> Future[T]:
        """Has ``act`` called by one of the threads."""
        future: Future[T] = Future()
        self._work.put((future, partial(act, *arguments, **options)))
        if len(self._threads) < CONNECTIONS:
            name = f"connection_{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._run, name=name, daemon=True))
            self._threads[-1].start()
        return future

    def _run(self) -> None:
        while entry := self._work.get():
            future, act = entry
            if self._closed:
                future.cancel()
                continue
            try:
                future.set_result(act())
            except BaseException as error:  # handed to the one who waits
                future.set_exception(error)


def _each(act: Callable[[str], None], names: Iterable[str]) -> None:
    with Connections() as connections:
        for future in [connections.submit(act, name) for name in names]:
            future.result()
