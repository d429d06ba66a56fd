"""Photographs as they go to the decoder: local ones by their path, remote ones as bytes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from noisegen.errors import InputError, UsageError
from noisegen.images import EncodedPicture
from noisegen.remote import fetch, file_size
from noisegen.stores import RemoteError

__all__ = ["AHEAD_BYTES", "check_size", "fetch_photograph", "get_photograph", "look_ahead", "photograph_size"]

T = TypeVar("T")

# Photographs are asked for ahead until these many of them or bytes are waiting; the one that exceeds them is the last.
AHEAD_ROWS = 64
AHEAD_BYTES = 256 << 20
# No file of so many pixels needs more: 16-bit RGBA without compression, and its metadata.
BYTES_PER_PIXEL, METADATA_BYTES = 8, 64 << 20


def get_photograph(path: Path | str, max_pixels: int) -> Path | EncodedPicture:
    """What `noisegen.images` reads: the path, or what a URL holds.

    Args:
        path: of a manifest's row.
        max_pixels: files too large for any picture of this size are refused unread.

    Raises:
        InputError: ``missing``, ``forbidden``, ``unreachable``, ``bad_url`` or ``too_large``.
    """
    if isinstance(path, Path):
        return path
    return fetch_photograph(path, photograph_size(path, max_pixels))


def photograph_size(
    url: str, max_pixels: int, *, pause: Callable[[float], object] = time.sleep
) -> int | None:
    """Size of a photograph's file in bytes, None where the server does not tell it.

    Raises:
        InputError: as `get_photograph`.
    """
    try:
        size = file_size(url, pause=pause)
    except (RemoteError, UsageError) as error:
        raise _input_error(error) from error
    check_size(url, size, max_pixels)
    return size


def check_size(url: str, size: int | None, max_pixels: int) -> None:
    """Keeps files out that cannot be pictures of so many pixels, for they would fill the memory.

    Raises:
        InputError: ``too_large``.
    """
    limit = BYTES_PER_PIXEL * max_pixels + METADATA_BYTES
    if size is not None and size > limit:
        raise InputError(
            "too_large",
            f"{url}: {size} bytes, more than the limit of {limit} for {max_pixels} pixels; "
            "cut it into smaller pictures",
        )


def fetch_photograph(
    url: str, size: int | None, *, pause: Callable[[float], object] = time.sleep
) -> EncodedPicture:
    """The content of a photograph's file, see `noisegen.remote.fetch`.

    Raises:
        InputError: as `get_photograph`.
    """
    try:
        return EncodedPicture(url, fetch(url, size=size, pause=pause))
    except (RemoteError, UsageError) as error:
        raise _input_error(error) from error


def _input_error(error: RemoteError | UsageError) -> InputError:
    return InputError(error.reason if isinstance(error, RemoteError) else "bad_url", str(error))


def look_ahead(items: Iterable[T], weigh: Callable[[T], int], limit: int) -> Iterator[T]:
    """Takes items before they are asked for, until `AHEAD_ROWS` of them, or more than the limit's weight, wait."""
    waiting: deque[tuple[T, int]] = deque()
    total = 0
    for item in items:
        waiting.append((item, weigh(item)))
        total += waiting[-1][1]
        while len(waiting) > AHEAD_ROWS or (total > limit and len(waiting) > 1):
            total -= waiting[0][1]
            yield waiting.popleft()[0]
    while waiting:
        yield waiting.popleft()[0]
