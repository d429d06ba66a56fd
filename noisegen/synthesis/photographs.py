"""Photographs as they go to the decoder: local ones by their path, remote ones fetched ahead into memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from noisegen.errors import InputError
from noisegen.images import EncodedPicture
from noisegen.manifest import ManifestRow
from noisegen.remote import RemoteError, fetch, file_size
from noisegen.synthesis.interrupt import StopRequest

__all__ = ["Coming", "Photographs", "get_photograph", "look_ahead"]

T = TypeVar("T")

# Photographs are asked for ahead until these many rows or bytes are waiting; the one that exceeds them is the last.
AHEAD_ROWS = 64
AHEAD_BYTES = 256 << 20
# No file of so many pixels needs more: 16-bit RGBA without compression, and its metadata.
BYTES_PER_PIXEL, METADATA_BYTES = 8, 64 << 20


def get_photograph(
    path: Path | str, max_pixels: int, *, pause: Callable[[float], object] = time.sleep
) -> Path | EncodedPicture:
    """What `noisegen.images` reads: the path, or what a URL holds.

    Args:
        path: of a `ManifestRow`.
        max_pixels: files too large for any picture of this size are refused unread.
        pause: see `noisegen.remote.fetch`.

    Raises:
        InputError: ``missing``, ``forbidden``, ``unreachable``, ``bad_url`` or ``too_large``.
    """
    if isinstance(path, Path):
        return path
    return _fetch(path, _checked_size(path, max_pixels, pause), pause)


@dataclass(frozen=True)
class Coming:
    """A row and its photograph: a path, or what will be fetched, or the InputError of `get_photograph`."""

    row: ManifestRow
    source: Path | Future[EncodedPicture]
    size: int = 0


@dataclass(frozen=True)
class Photographs:
    """Fetches the photographs of manifest rows while earlier ones are worked on.

    Attributes:
        fetchers: threads that wait for servers.
        max_pixels: see `get_photograph`.
        stop: ends attempts that nobody waits for.
    """

    fetchers: ThreadPoolExecutor
    max_pixels: int
    stop: StopRequest

    def ahead(self, items: Iterable[T | ManifestRow]) -> Iterator[T | Coming]:
        """Hands on rows, and what lies between them, in order; the photographs of the next ones are on their way."""
        # sizes first: only so can memory be bounded before the content comes
        asked: Iterator[T | Coming | _Asked] = look_ahead((self._ask(item) for item in items), lambda _: 0, 0)
        begun = (self._begin(item) for item in asked)
        return look_ahead(begun, lambda item: item.size if isinstance(item, Coming) else 0, AHEAD_BYTES)

    def _ask(self, item: T | ManifestRow) -> T | Coming | _Asked:
        if not isinstance(item, ManifestRow):
            return item
        if isinstance(item.path, Path):
            return Coming(item, item.path)
        size = self.fetchers.submit(_checked_size, item.path, self.max_pixels, self.stop.pause)
        return _Asked(item, item.path, size)

    def _begin(self, item: T | Coming | _Asked) -> T | Coming:
        if not isinstance(item, _Asked):
            return item
        try:
            size = self.stop.result(item.size)
        except InputError as error:
            failed: Future[EncodedPicture] = Future()
            failed.set_exception(error)
            return Coming(item.row, failed)
        return Coming(item.row, self.fetchers.submit(_fetch, item.url, size, self.stop.pause), size or 0)


@dataclass(frozen=True)
class _Asked:
    row: ManifestRow
    url: str
    size: Future[int | None]


def look_ahead(items: Iterable[T], weigh: Callable[[T], int], limit: int) -> Iterator[T]:
    """Takes items before they are asked for, until `AHEAD_ROWS` of them, or more than the limit's weight, wait."""
    waiting: deque[tuple[T, int]] = deque()
    total = 0
    for item in items:
        waiting.append((item, weigh(item)))
        total += waiting[-1][1]
        while len(waiting) > AHEAD_ROWS or (total > limit and len(waiting) > 1):
            first, weight = waiting.popleft()
            total -= weight
            yield first
    for item, _ in waiting:
        yield item


def _checked_size(url: str, max_pixels: int, pause: Callable[[float], object]) -> int | None:
    try:
        size = file_size(url, pause=pause)
    except RemoteError as error:
        raise InputError(error.reason, str(error)) from error
    limit = BYTES_PER_PIXEL * max_pixels + METADATA_BYTES
    if size is not None and size > limit:
        raise InputError(
            "too_large",
            f"{url}: {size} bytes, more than the limit of {limit} for {max_pixels} pixels; "
            "cut it into smaller pictures",
        )
    return size


def _fetch(url: str, size: int | None, pause: Callable[[float], object]) -> EncodedPicture:
    try:
        return EncodedPicture(url, fetch(url, size=size, pause=pause))
    except RemoteError as error:
        raise InputError(error.reason, str(error)) from error
