"""A shard from its first tile to its completion marker."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from noisegen.errors import NoisegenError
from noisegen.synthesis.files import json_bytes, record_file, sync, write_atomically
from noisegen.synthesis.formats import Format
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import FinishedTile, TileRecord, write_index
from noisegen.synthesis.shards import ConditionTotal, Failure, Marker, Shard
from noisegen.synthesis.stages import StageClock

__all__ = ["OpenShard", "condition_totals", "disk_errors", "start_over"]

logger = logging.getLogger(__name__)


def start_over(folder: DatasetFolder, output_format: Format, shards: Sequence[Shard]) -> None:
    """Removes all traces of the given shards, markers first so that none is left without its files.

    dataset.json goes before them: it says that all is there.
    """
    if shards:
        folder.remove(folder.root / "dataset.json")
    folder.withdraw(shards)
    for shard in shards:
        folder.marker_file(shard).unlink(missing_ok=True)
    sync(folder.state)
    for shard in shards:
        for path in (folder.bad_file(shard), folder.timing_file(shard), folder.index_file(shard)):
            path.unlink(missing_ok=True)
    output_format.remove_shards(folder, shards)


class OpenShard:
    """Collects the tiles and failures of a shard; nothing counts before `finish` has written the marker.

    Args:
        folder: the dataset.
        output_format: its format.
        shard: to be written. Where it is there and whole, it stays so until `finish`.
        clock: counts the time spent on writing.
    """

    def __init__(self, folder: DatasetFolder, output_format: Format, shard: Shard, clock: StageClock) -> None:
        self._folder = folder
        self._format = output_format
        self._clock = clock
        self._started = time.perf_counter()
        self._standing = folder.finished(shard)
        self._shard = shard
        self._records: list[TileRecord] = []
        self._failures: list[Failure] = []
        self._left_out: Counter[str] = Counter()
        with disk_errors(folder):
            self._writer = output_format.open_shard(folder, shard)

    def add(self, tiles: Sequence[FinishedTile]) -> None:
        """Writes the next tiles."""
        pixels = sum(tile.record.tile_size**2 for tile in tiles)
        size = sum(len(tile.noisy) + len(tile.clean) for tile in tiles)
        with (
            self._clock.stage("write", pixels=pixels, tiles=len(tiles), bytes=size),
            disk_errors(self._folder),
        ):
            for tile in tiles:
                self._writer.add(tile)
                self._records.append(tile.record)
        self._clock.reached("first tile")

    def fail(self, failure: Failure) -> None:
        """Notes a row that gives no tiles."""
        self._failures.append(failure)

    def leave_out(self, tiles: Mapping[str, int]) -> None:
        """Notes tiles that are not wanted, counted by reason."""
        self._left_out.update(tiles)

    @property
    def lost(self) -> list[Failure]:
        """Rows that fail now but have tiles in the shard that is still in place."""
        if self._standing is None:
            return []
        before = {failure.row for failure in self._standing.failures}
        return [failure for failure in self._failures if failure.row not in before]

    def finish(self) -> Marker:
        """Puts everything in place, index before marker."""
        with (
            self._clock.stage("write", "finish shard", shard=self._shard.name),
            disk_errors(self._folder),
        ):
            index = self._folder.index_file(self._shard)
            temporary = self._folder.temporary / f"index-{index.name}"
            temporary.parent.mkdir(parents=True, exist_ok=True)
            write_index(temporary, self._records)
            sync(temporary)
            record = record_file(temporary)
            if self._standing is not None:
                start_over(self._folder, self._format, [self._shard])
            files = self._writer.finish()
            index.parent.mkdir(exist_ok=True)
            temporary.replace(index)
            sync(index.parent)
            files[index.relative_to(self._folder.root).as_posix()] = record
            failures = tuple(sorted(self._failures, key=lambda failure: failure.row))
            totals = condition_totals((r.split, r.camera, r.iso, r.noise_std) for r in self._records)
            marker = Marker(self._shard, len(self._records), totals, failures, dict(self._left_out), files)
            self._folder.write_marker(marker)
            self._folder.retry_file(self._shard).unlink(missing_ok=True)
        self._clock.reached("first shard")
        size = sum(record.size for record in files.values())
        self._show("shard", tiles=marker.tiles, bytes=size)
        logger.info("shard %s written: %d tiles, %.1f MB", self._shard.name, marker.tiles, size / 1e6)
        timing = self._clock.lap(len(self._records))
        with disk_errors(self._folder):
            path = self._folder.timing_file(self._shard)
            write_atomically(path, json_bytes(timing.to_dict(), indent=1), lasting=False)
        return marker

    def keep_standing(self) -> Marker:
        """Gives up what was written for the shard that is in place."""
        assert self._standing is not None
        self.abort()
        self._folder.retry_file(self._shard).unlink(missing_ok=True)
        return self._standing

    def abort(self) -> None:
        """Removes what was written so far; where even that fails, on a full disk, the next build does it."""
        self._show("shard given up", tiles=len(self._records))
        with suppress(OSError):
            self._writer.abort()
        shutil.rmtree(self._folder.temporary, ignore_errors=True)

    def _show(self, name: str, **details: object) -> None:
        """Puts the shard into the trace, from its opening on."""
        rows = self._shard.stop - self._shard.start
        self._clock.record(
            f"{name} {self._shard.name}",
            self._started,
            time.perf_counter(),
            track="shards",
            photographs=rows,
            failures=len(self._failures),
            **details,
        )


def condition_totals(tiles: Iterable[tuple[str, str, int, float]]) -> tuple[ConditionTotal, ...]:
    """What a marker says of the tiles of a shard, of each its split, camera, ISO and `noise_std`."""
    squares: dict[tuple[str, str, int], list[float]] = {}
    for split, camera, iso, noise_std in tiles:
        squares.setdefault((split, camera, iso), []).append(noise_std**2)
    return tuple(ConditionTotal(*key, len(of), math.fsum(of)) for key, of in sorted(squares.items()))


@contextmanager
def disk_errors(folder: DatasetFolder) -> Iterator[None]:
    """Turns a full disk and the like, met while writing into the dataset, into a NoisegenError."""
    try:
        yield
    except OSError as error:
        raise NoisegenError(
            f"cannot write into {folder.root}: {error.strerror or error}; finished shards are kept, "
            "the same command resumes"
        ) from error
