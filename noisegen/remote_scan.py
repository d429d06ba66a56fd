"""Finding the photographs behind a URL, as rows of a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial

from noisegen.errors import InputError
from noisegen.images import DEFAULT_MAX_PIXELS, EncodedPicture
from noisegen.manifest_scan import SUFFIXES, ScannedPhoto, SkippedFile, look_at, wanted
from noisegen.photographs import AHEAD_BYTES, check_size, fetch_photograph, look_ahead
from noisegen.remote import Connections, list_files

__all__ = ["scan_url"]


def scan_url(
    url: str,
    *,
    include: Iterable[str] = (),
    conditions: str = "exif",
    camera_map: Mapping[str, str] | None = None,
) -> Iterator[ScannedPhoto | SkippedFile]:
    """Looks at every photograph below a URL, which is fetched for it; else as `scan_folder`. Paths are URLs.

    Raises:
        RemoteError: the URL cannot be listed.
    """
    patterns = tuple(include)
    look = partial(look_at, conditions=conditions, camera_map=camera_map or {})
    sizes = {
        name: size
        for name, size in list_files(url).items()
        if name.lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in name.split("/"))
    }
    with Connections() as connections:

        def ask(name: str) -> tuple[str, Future[EncodedPicture]]:
            return name, connections.submit(_fetch, f"{url}/{name}", sizes[name])

        names = (name for name in sorted(sizes, key=_walk_order) if wanted(name, patterns))
        for name, content in look_ahead(map(ask, names), lambda asked: sizes[asked[0]], AHEAD_BYTES):
            path = f"{url}/{name}"
            try:
                yield look(content.result(), name, path)
            except InputError as error:
                yield SkippedFile(path, error.reason, str(error))


def _fetch(url: str, size: int) -> EncodedPicture:
    check_size(url, size, DEFAULT_MAX_PIXELS)
    return fetch_photograph(url, size)


def _walk_order(name: str) -> list[tuple[bool, str]]:
    """Sorts as `_files` does: a folder's own files before those of the folders in it."""
    *folders, file = name.split("/")
    return [*((True, folder) for folder in folders), (False, file)]
