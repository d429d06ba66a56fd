"""Files behind URLs (`s3://`, `gs://`, whatever fsspec knows), with retries; `file://` is a local path.

A request that fails in a passing way (no connection, timeout, HTTP 408, 429 or 5xx) is tried `ATTEMPTS` times, with
pauses that double from `FIRST_PAUSE` on and are shortened at random, so that many machines do not come back at once.
"""

from __future__ import annotations

import errno
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from noisegen.errors import NoisegenError, UsageError

__all__ = [
    "RemoteError",
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

ATTEMPTS = 7
FIRST_PAUSE = 0.5  # seconds; all pauses together are at most 31.5 seconds
# requests under way at once where many files are moved
CONNECTIONS = 16

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LOCAL = re.compile(r"(file|local)://", re.IGNORECASE)
_PACKAGES = {
    "s3": "noisegen[s3]",
    "s3a": "noisegen[s3]",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
}
_PASSING_STATUS = frozenset({408, 429})
# a copy cannot be written here
_LOCAL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class RemoteError(NoisegenError):
    """A file behind a URL cannot be read or written.

    Args:
        reason: ``missing``, ``forbidden``, ``bad_url`` or ``unreachable`` (still failing after the last attempt).
        message: what was wrong and what to do, without the URL.
        url: of the file.
    """

    def __init__(self, reason: str, message: str, url: str) -> None:
        super().__init__(f"{url}: {message}")
        self.reason = reason
        # all others are about the request, as a UsageError is
        self.exit_code = 1 if reason == "unreachable" else 2


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
        RemoteError: see there.
    """
    store, path = _connect(url)
    info = _retried(url, lambda: store.info(path), pause)
    if info.get("type") == "directory":
        raise _error("missing", url)
    size = info.get("size")
    return None if size is None else int(size)


def fetch(url: str, *, size: int | None = None, pause: Callable[[float], object] = time.sleep) -> bytes:
    """The content of a file; ``size`` is what `file_size` said, and fewer bytes count as a failed attempt.

    Raises:
        RemoteError: see there.
    """
    store, path = _connect(url)

    def read() -> bytes:
        data: bytes = store.cat_file(path)
        if size is not None and len(data) < size:
            raise ConnectionError(f"{len(data)} bytes of {size} came")
        return data

    return _retried(url, read, pause)


def download(url: str, path: Path) -> None:
    """Copies a file here, making folders. After an error the copy may be half there.

    Raises:
        RemoteError: see there.
        OSError: it cannot be written here.
    """
    store, remote = _connect(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    _retried(url, lambda: store.get_file(remote, str(path)), time.sleep)


def upload(path: Path, url: str, *, pause: Callable[[float], object] = time.sleep) -> None:
    """Copies a local file to a URL. Object stores show it whole or not at all.

    Raises:
        RemoteError: see there.
        FileNotFoundError: there is no local file.
    """
    path.stat()
    store, remote = _connect(url)
    try:
        _retried(url, lambda: store.put_file(str(path), remote), pause)
    except RemoteError as error:
        if error.reason != "missing":
            raise
        raise RemoteError("missing", "there is no such bucket; make it first", url) from error


def list_files(url: str) -> dict[str, int]:
    """Sizes of all files below a folder by their path within it; nothing where there is no such folder.

    Raises:
        RemoteError: see there.
    """
    store, root = _connect(url)

    def find() -> dict[str, Any]:
        store.invalidate_cache()
        try:
            found: dict[str, Any] = store.find(root, detail=True)
        except FileNotFoundError:
            found = {}
        return found

    start = len(root.rstrip("/")) + 1
    names = {
        name[start:]: int(entry.get("size") or 0) for name, entry in _retried(url, find, time.sleep).items()
    }
    # such names lead out of the folder once they are paths here
    return {name: size for name, size in names.items() if name and not {"", ".", ".."} & set(name.split("/"))}


def download_all(url: str, folder: Path, names: Iterable[str]) -> None:
    """Copies files below a URL to the same names below a folder, several at once.

    Raises:
        RemoteError: see there.
    """
    _each(lambda name: download(f"{url}/{name}", folder / name), names)


def upload_all(
    folder: Path, url: str, names: Iterable[str], *, pause: Callable[[float], object] = time.sleep
) -> None:
    """Copies files below a folder to the same names below a URL, several at once.

    Raises:
        RemoteError: see there.
    """
    _each(lambda name: upload(folder / name, f"{url}/{name}", pause=pause), names)


def delete_all(url: str, names: Iterable[str]) -> None:
    """Deletes files below a URL; those that are not there are no error.

    Raises:
        RemoteError: see there.
    """

    def delete(name: str) -> None:
        store, path = _connect(f"{url}/{name}")
        try:
            _retried(f"{url}/{name}", lambda: store.rm_file(path), time.sleep)
        except RemoteError as error:
            if error.reason != "missing":
                raise

    _each(delete, names)


def abort_uploads(url: str) -> int:
    """Gives back the space of uploads in parts to below an S3 folder that a killed process left; their number.

    Raises:
        RemoteError: see there.
    """
    store, root = _connect(f"{url}/")
    if not hasattr(store, "list_multipart_uploads"):
        return 0
    bucket, _, prefix = root.partition("/")
    left = [
        entry
        for entry in _retried(url, lambda: store.list_multipart_uploads(bucket), time.sleep)
        if entry["Key"].startswith(f"{prefix}/" if prefix else "")
    ]
    for entry in left:
        _retried(url, partial(store.abort_mpu, bucket, entry["Key"], entry["UploadId"]), time.sleep)
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


def _connect(url: str) -> tuple[Any, str]:
    """fsspec's file system behind a URL, and the path in it. No chained URLs: what a row names stays in its folder."""
    scheme = url.partition("://")[0]
    try:
        import fsspec

        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        package = _PACKAGES.get(scheme, "noisegen[remote]")
        raise UsageError(
            f"{url}: {scheme}:// needs a package more: pip install '{package}' ({error})"
        ) from error
    except ValueError as error:
        raise UsageError(
            f"{url}: {scheme}:// is not known to fsspec; use s3://, gs:// or another it knows"
        ) from error
    options = kind._get_kwargs_from_urls(url)
    return _file_system(scheme, tuple(sorted(options.items()))), kind._strip_protocol(url)


@cache
def _file_system(scheme: str, options: tuple[tuple[str, object], ...]) -> Any:
    """One for all threads; fsspec's own cache makes one for each."""
    import fsspec

    settings: dict[str, Any] = dict(options)
    if scheme in ("s3", "s3a"):
        # only the retries here count, or they would multiply
        stored = fsspec.config.conf.get(scheme, {}).get("config_kwargs", {})
        settings["config_kwargs"] = {"retries": {"max_attempts": 0}, **stored}
    store = fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True, **settings)
    if scheme in ("s3", "s3a"):
        store.retries = 1
    return store


def _retried(url: str, call: Callable[[], T], pause: Callable[[float], object]) -> T:
    longest = FIRST_PAUSE
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except Exception as error:  # every kind of store has its own
            if isinstance(error, OSError) and error.errno in _LOCAL_ERRORS:
                raise
            reason = _lasting_reason(error)
            if reason is not None:
                raise _error(reason, url, error) from error
            if attempt == ATTEMPTS or pause(longest * random.uniform(0.5, 1)):
                raise _error("unreachable", url, error, attempt) from error
            longest *= 2
    raise AssertionError("not reached")


def _lasting_reason(error: BaseException) -> str | None:
    """Why another attempt is pointless; None where it may help."""
    status, code = _response(error)
    if isinstance(error, TimeoutError) or code == "NoSuchUpload":  # the latter was aborted by another build
        return None
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError) or status in (404, 410):
        return "missing"
    name = type(error).__name__
    if isinstance(error, PermissionError) or status in (401, 403) or "Credential" in name:
        return "forbidden"
    if isinstance(error, ValueError | TypeError | NotImplementedError) or "Validation" in name:
        return "bad_url"
    if status is not None and 400 <= status < 500 and status not in _PASSING_STATUS:
        return "bad_url"
    return None


def _response(error: BaseException) -> tuple[int | None, str | None]:
    """HTTP status and the store's own code of the response that an error, or its cause, is about."""
    found: BaseException | None = error
    while found is not None:
        response = getattr(found, "response", None)
        if isinstance(response, dict):  # botocore
            return response.get("ResponseMetadata", {}).get("HTTPStatusCode"), response.get("Error", {}).get(
                "Code"
            )
        for name in ("status", "code"):  # aiohttp, gcsfs
            status = getattr(found, name, None)
            if isinstance(status, int):
                return status, None
        found = found.__cause__
    return None, None


def _error(reason: str, url: str, error: BaseException | None = None, attempts: int = 1) -> RemoteError:
    text = "" if error is None else f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
    messages = {
        "missing": "no such file; check the path and the manifest's folder",
        "forbidden": "not allowed; check the credentials in the environment and the rights they give",
        "bad_url": f"the store refuses this ({text}); correct the URL",
        "unreachable": f"failed {attempts} times ({text}); check network and server, then try again",
    }
    return RemoteError(reason, messages[reason], url)


def _each(act: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for future in [pool.submit(act, name) for name in names]:
            future.result()
