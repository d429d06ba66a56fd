"""Remote photographs, asked for while earlier ones are worked on, so that nobody waits for a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from noisegen.errors import InputError
from noisegen.images import EncodedPicture
from noisegen.manifest import ManifestRow
from noisegen.photographs import AHEAD_BYTES, fetch_photograph, look_ahead, photograph_size
from noisegen.remote import Connections
from noisegen.synthesis.interrupt import StopRequest
from noisegen.synthesis.stages import StageClock

__all__ = ["Coming", "Photographs"]

T = TypeVar("T")


@dataclass(frozen=True)
class Coming:
    """A row and its photograph: a local path, or what is being fetched (or fails with an InputError).

    Attributes:
        row: of the manifest.
        source: the photograph.
        size: of what is being fetched, in bytes, as far as known.
    """

    row: ManifestRow
    source: Path | Future[EncodedPicture]
    size: int = 0


@dataclass(frozen=True)
class _Asked:
    row: ManifestRow
    url: str
    size: Future[int | None]


@dataclass(frozen=True)
class Photographs:
    """Fetches the photographs of manifest rows.

    Attributes:
        connections: what they are fetched by.
        max_pixels: see `noisegen.photographs.get_photograph`.
        stop: ends attempts that nobody waits for.
        clock: counts the time that threads wait for servers.
    """

    connections: Connections
    max_pixels: int
    stop: StopRequest
    clock: StageClock

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
        size = self.connections.submit(photograph_size, item.path, self.max_pixels, pause=self.stop.pause)
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
        return Coming(item.row, self.connections.submit(self._fetch, item.row, item.url, size), size or 0)

    def _fetch(self, row: ManifestRow, url: str, size: int | None) -> EncodedPicture:
        with self.clock.stage("fetch", row=row.index, id=row.id, bytes=size):
            return fetch_photograph(url, size, pause=self.stop.pause)
