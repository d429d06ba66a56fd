"""A shard from its first tile to its completion marker."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from noisegen.errors import NoisegenError
from noisegen.synthesis.files import record_file, sync, write_json
from noisegen.synthesis.formats import Format
from noisegen.synthesis.layout import DatasetFolder, Failure, Marker, Shard
from noisegen.synthesis.records import FinishedTile, TileRecord, write_index

__all__ = ["OpenShard", "disk_errors", "start_over"]


def start_over(folder: DatasetFolder, output_format: Format, shards: Sequence[Shard]) -> None:
    """Removes all traces of the given shards, markers first so that none is left without its files."""
    for shard in shards:
        folder.marker_file(shard).unlink(missing_ok=True)
    sync(folder.state)
    for shard in shards:
        for path in (folder.bad_file(shard), folder.timing_file(shard), folder.index_file(shard)):
            path.unlink(missing_ok=True)
    output_format.remove_shards(folder, shards)


class OpenShard:
    """Collects the tiles and failures of a shard; nothing counts before `finish` has written the marker."""

    def __init__(self, folder: DatasetFolder, output_format: Format, shard: Shard) -> None:
        self._folder = folder
        self._shard = shard
        self._records: list[TileRecord] = []
        self._failures: list[Failure] = []
        self._started = time.perf_counter()
        with disk_errors(folder):
            self._writer = output_format.open_shard(folder, shard)

    def add(self, tiles: Sequence[FinishedTile]) -> None:
        """Writes the next tiles."""
        with disk_errors(self._folder):
            for tile in tiles:
                self._writer.add(tile)
                self._records.append(tile.record)

    def fail(self, failure: Failure) -> None:
        """Notes a row that gives no tiles."""
        self._failures.append(failure)

    def finish(self) -> Marker:
        """Puts everything in place, index before marker."""
        with disk_errors(self._folder):
            index = self._folder.index_file(self._shard)
            temporary = self._folder.temporary / index.name
            write_index(temporary, self._records)
            sync(temporary)
            record = record_file(temporary)
            files = self._writer.finish()
            index.parent.mkdir(exist_ok=True)
            temporary.replace(index)
            sync(index.parent)
            files[index.relative_to(self._folder.root).as_posix()] = record
            failures = tuple(sorted(self._failures, key=lambda failure: failure.row))
            marker = Marker(self._shard, len(self._records), failures, files)
            self._folder.write_marker(marker)
            seconds = time.perf_counter() - self._started
            timing = {"seconds": round(seconds, 3), "tiles": len(self._records), "finished": time.time()}
            write_json(self._folder.timing_file(self._shard), timing)
        return marker

    def abort(self) -> None:
        """Removes what was written so far; where even that fails, on a full disk, the next build does it."""
        with suppress(OSError):
            self._writer.abort()
        shutil.rmtree(self._folder.temporary, ignore_errors=True)


@contextmanager
def disk_errors(folder: DatasetFolder) -> Iterator[None]:
    """Turns a full disk and the like, met while writing into the dataset, into a NoisegenError."""
    try:
        yield
    except OSError as error:
        raise NoisegenError(
            f"cannot write into {folder.root}: {error.strerror or error}; finished shards are kept, "
            "the same command resumes the build"
        ) from error
