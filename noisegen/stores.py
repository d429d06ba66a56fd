"""Connections to the file systems behind URLs (fsspec), and attempts at what may fail in passing.

A request that fails in a passing way (no connection, timeout, HTTP 408, 429 or 5xx) is tried `ATTEMPTS` times, with
pauses that double from `FIRST_PAUSE` on and are shortened at random, so that many machines do not come back at once.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from noisegen.errors import NoisegenError, UsageError

__all__ = ["RemoteError", "connect", "file_system", "retried"]

T = TypeVar("T")

ATTEMPTS = 7
FIRST_PAUSE = 0.5  # seconds; all pauses together are at most 31.5 seconds

_PACKAGES = {
    "s3": "noisegen[s3]",
    "s3a": "noisegen[s3]",
    "gs": "noisegen[gcs]",
    "gcs": "noisegen[gcs]",
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


def connect(url: str) -> tuple[Any, str]:
    """fsspec's file system behind a URL, and the path in it. No chained URLs: what a row names stays in its folder.

    Raises:
        UsageError: fsspec does not know the protocol, a package is missing, or the URL makes no sense.
    """
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
    try:
        options = kind._get_kwargs_from_urls(url)
        return file_system(scheme, tuple(sorted(options.items()))), kind._strip_protocol(url)
    except Exception as error:  # each kind of store has its own
        raise UsageError(f"{url}: {type(error).__name__}: {error}; correct the URL") from error


@cache
def file_system(scheme: str, options: tuple[tuple[str, object], ...]) -> Any:
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


# Connections belong to the process that made them; a DataLoader's worker makes its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=file_system.cache_clear)


def retried(url: str, call: Callable[[], T], pause: Callable[[float], object]) -> T:
    """What the call returns, at one of its attempts.

    Args:
        url: for messages.
        call: a request to a store.
        pause: waits for so many seconds; what it returns, if true, ends the attempts.

    Raises:
        RemoteError: the last attempt failed, or one in a way that lasts.
        OSError: the local disk is full or cannot be written.
    """
    longest = FIRST_PAUSE
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except Exception as error:  # every kind of store has its own
            if isinstance(error, OSError) and error.errno in _LOCAL_ERRORS:
                raise
            reason = _lasting_reason(error)
            if reason is not None:
                raise _error(reason, url, error, attempt) from error
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
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return status, response.get("Error", {}).get("Code")
        for name in ("status", "code"):  # aiohttp, gcsfs
            status = getattr(found, name, None)
            if isinstance(status, int):
                return status, None
        found = found.__cause__
    return None, None


def _error(reason: str, url: str, error: Exception, attempts: int) -> RemoteError:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
    messages = {
        "missing": "no such file; check the path and the manifest's folder",
        "forbidden": "not allowed; check the credentials in the environment and the rights they give",
        "bad_url": f"the store refuses this ({text}); correct the URL",
        "unreachable": f"failed {attempts} times ({text}); check network and server, then try again",
    }
    return RemoteError(reason, messages[reason], url)
