"""`export_dataset` and `merge_datasets`: tiles of finished datasets go into a new one, nothing is synthesized.

A shard of the new dataset is a function of the sources' rows and the configuration, as in a build, and it is written,
marked, resumed and verified in the same way.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from noisegen.errors import InputError, NoisegenError, UsageError
from noisegen.progress import Progress
from noisegen.synthesis.choices import OutputChoice
from noisegen.synthesis.copy_sources import SourceDataset, check_alike, check_photographs, open_sources
from noisegen.synthesis.files import write_json
from noisegen.synthesis.formats import TileReader, assembly_of, format_named
from noisegen.synthesis.interrupt import StopRequest, stop_on_signals
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.locks import locked
from noisegen.synthesis.making import Built
from noisegen.synthesis.plan import (
    FORMAT_VERSION,
    adopt_run,
    host_record,
    stored_rows_per_shard,
    writer_versions,
)
from noisegen.synthesis.rank import Rank
from noisegen.synthesis.records import FinishedTile, TileRecord, pixel_hash
from noisegen.synthesis.shards import Failure, Shard
from noisegen.synthesis.stages import StageClock
from noisegen.synthesis.summary import BuildSummary, write_summary
from noisegen.synthesis.threads import usable_cores, worker_threads
from noisegen.synthesis.writing import OpenShard, disk_errors, start_over

__all__ = ["CopyConfig", "export_dataset", "merge_datasets"]


@dataclass(frozen=True)
class CopyConfig:
    """The resolved configuration: with the sources, every setting that some byte of the new dataset depends on.

    Attributes:
        format, layout, png_level: see `noisegen.synthesis.choices.OutputChoice`.
        tile_size: of the sources.
        rows_per_shard: rows in a shard.
        split: names of the sources' splits; empty where they have none.
        license: of the sources.
    """

    format: str
    layout: str | None
    png_level: str | None
    tile_size: int
    rows_per_shard: int
    split: tuple[str, ...]
    license: str


def export_dataset(
    source: str | Path,
    output: str | Path,
    *,
    format: str,
    layout: str | None = None,
    png_level: str | None = None,
    rows_per_shard: int | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> BuildSummary:
    """Writes a finished dataset again in another format, with the same keys, records and pixels.

    Every tile's pixels are compared with their hashes on the way. An interrupted export continues when the same call
    is made again.

    Args:
        source: the dataset's folder.
        output: the new dataset's folder, made if missing.
        format, layout, png_level: as of `noisegen.build_dataset`.
        rows_per_shard: rows in a shard; default: as in the source.
        workers: threads; default one for each core.
        quiet: show no progress.

    Raises:
        UsageError: the request cannot be carried out; the message says why.
        Interrupted: SIGINT or SIGTERM; the same call resumes.
        NoisegenError: a tile of the source is damaged, or the new dataset cannot be written.
    """
    choice = OutputChoice.resolve(format, layout, png_level)
    return _copy("export", open_sources([Path(source)]), Path(output), choice, rows_per_shard, workers, quiet)


def merge_datasets(
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    format: str | None = None,
    layout: str | None = None,
    png_level: str | None = None,
    rows_per_shard: int | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> BuildSummary:
    """Joins finished datasets into one, for example the parts of a manifest that several machines built.

    Rows, and with them keys, are numbered anew: those of the second dataset follow those of the first. What each was a
    function of is kept in run.json under ``sources``. Failed rows are taken over, too.

    Args:
        sources: the datasets' folders, two at least.
        output: the new dataset's folder, made if missing.
        format, layout, png_level: as of `noisegen.build_dataset`; without a format, as in the first source.
        rows_per_shard: rows in a shard; default: the largest of the sources.
        workers: threads; default one for each core.
        quiet: show no progress.

    Raises:
        UsageError: as `export_dataset`; or the sources differ in tile size, bit depth or channels, one id names two
            photographs, or the same noisy tiles are in two sources.
        Interrupted, NoisegenError: as `export_dataset`.
    """
    if len(sources) < 2:
        raise UsageError("give two datasets at least; one alone can be copied with noisegen export")
    opened = open_sources([Path(source) for source in sources])
    if format is None:
        first = opened[0].run["config"]
        format = first["format"]
        layout, png_level = layout or first["layout"], png_level or first["png_level"]
    choice = OutputChoice.resolve(format, layout, png_level)
    check_alike(opened)
    check_photographs(opened)
    return _copy("merge", opened, Path(output), choice, rows_per_shard, workers, quiet)


def _copy(
    command: str,
    sources: Sequence[SourceDataset],
    output: Path,
    choice: OutputChoice,
    rows_per_shard: int | None,
    workers: int | None,
    quiet: bool,
) -> BuildSummary:
    started = time.perf_counter()
    folder = DatasetFolder(output)
    for name, value in (("rows-per-shard", rows_per_shard), ("workers", workers)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, not {value}")
    with stop_on_signals() as stop, locked(folder), disk_errors(folder):
        configs = [source.run["config"] for source in sources]
        if rows_per_shard is None:
            largest = max(int(config["rows_per_shard"]) for config in configs)
            rows_per_shard = stored_rows_per_shard(folder) or largest
        config = CopyConfig(
            **asdict(choice),
            tile_size=configs[0]["tile_size"],
            rows_per_shard=rows_per_shard,
            split=tuple(sorted({name for config in configs for name in config["split"] or ()})),
            license=", ".join(sorted({config["license"] for config in configs})),
        )
        adopt_run(folder, _fingerprint(command, config, sources))
        workers = workers or usable_cores()
        write_json(folder.state / "host.json", host_record(workers=workers))
        folder.remove_leftovers()
        with stop.between_steps(), worker_threads(workers, "copier") as pool:
            copier = _Copier(config, sources, pool, 4 * workers, stop, StageClock(workers))
            try:
                copied = _copy_shards(folder, copier, command, quiet)
            finally:
                stop.give_up()
        if assembly := assembly_of(config.format):
            with stop.between_steps():
                assembly.assemble(folder, folder.shards(), stop.check)
        totals = write_summary(folder)
        folder.remove_leftovers()
    seconds = time.perf_counter() - started
    return BuildSummary.of(folder, config.tile_size, Built(totals, copied), Rank(), True, seconds)


def _fingerprint(command: str, config: CopyConfig, sources: Sequence[SourceDataset]) -> dict[str, Any]:
    """As `noisegen.synthesis.plan.fingerprint`, of a copy."""
    return {
        "command": command,
        "format_version": FORMAT_VERSION,
        "config": asdict(config),
        "rows": sum(source.rows for source in sources),
        "bit_depth": sources[0].run["bit_depth"],
        "channels": sources[0].run["channels"],
        "sources": [source.provenance() for source in sources],
        "versions": writer_versions(config.format),
    }


def _copy_shards(folder: DatasetFolder, copier: _Copier, command: str, quiet: bool) -> int:
    """Makes what is not there yet; returns the number of shards made."""
    pending: list[Shard] = []
    done = 0
    for shard, marker in folder.finished_ones(folder.shards()):
        if marker is None:
            pending.append(shard)
        else:
            done += marker.tiles
    start_over(folder, copier.format, pending)
    total = sum(source.tiles for source in copier.sources) - done
    pixels = copier.sources[0].run["config"]["tile_size"] ** 2
    with Progress(total, "tile", command, quiet=quiet) as progress:
        for shard in pending:
            written = OpenShard(folder, copier.format, shard, copier.clock)
            try:
                for failure in copier.failures(shard):
                    written.fail(failure)
                for left_out in copier.left_out(shard):
                    written.leave_out(left_out)
                for tile in copier.tiles(shard):
                    written.add([tile])
                    progress.update(1, pixels=pixels)
                written.finish()
            except BaseException:
                written.abort()
                raise
    return len(pending)


class _Copier:
    """Gives the failures and tiles of the sources in order; reads, checks and encodes tiles in threads."""

    def __init__(
        self,
        config: CopyConfig,
        sources: Sequence[SourceDataset],
        pool: ThreadPoolExecutor,
        in_flight: int,
        stop: StopRequest,
        clock: StageClock,
    ) -> None:
        self.sources = sources
        self.format = format_named(config.format)
        self._png_level = config.png_level
        self._pool = pool
        self._in_flight = in_flight
        self._stop = stop
        self.clock = clock

    def failures(self, shard: Shard) -> Iterator[Failure]:
        """The failed rows of a shard of the new dataset."""
        for source in self.sources:
            for part in source.shards_within(shard.start, shard.stop):
                yield from (f for f in source.failures(part) if shard.start <= f.row < shard.stop)

    def left_out(self, shard: Shard) -> Iterator[dict[str, int]]:
        """Tiles that the selection left out, counted with the first row of their shard in the source."""
        for source in self.sources:
            for part in source.shards_within(shard.start, shard.stop):
                if shard.start <= part.start + source.offset < shard.stop:
                    yield source.left_out(part)

    def tiles(self, shard: Shard) -> Iterator[FinishedTile]:
        """The tiles of a shard of the new dataset.

        Raises:
            NoisegenError: one is damaged.
            Interrupted: a signal came.
        """
        for source in self.sources:
            for part in source.shards_within(shard.start, shard.stop):
                yield from self._part(source, part, shard)

    def _part(self, source: SourceDataset, part: Shard, shard: Shard) -> Iterator[FinishedTile]:
        waiting: deque[Future[FinishedTile]] = deque()
        with closing(_open_tiles(source, part)) as reader:
            try:
                for key, record in source.records(part):
                    if shard.start <= record.row < shard.stop:
                        waiting.append(self._pool.submit(self._tile, source, reader, key, record))
                    if len(waiting) > self._in_flight:
                        tile = self._stop.result(waiting[0])
                        waiting.popleft()
                        yield tile
                while waiting:
                    tile = self._stop.result(waiting[0])
                    waiting.popleft()
                    yield tile
            finally:
                # the reader must not be closed under a thread
                for future in waiting:
                    if not future.cancel():
                        future.exception()

    def _tile(self, source: SourceDataset, reader: TileReader, key: str, record: TileRecord) -> FinishedTile:
        try:
            with self.clock.stage("read"):
                noisy, clean = reader.read(key)
        except (InputError, KeyError, OSError) as error:
            raise _damaged(source, key, str(error)) from error
        if (pixel_hash(noisy), pixel_hash(clean)) != (record.noisy_pixels_xxh3, record.clean_pixels_xxh3):
            raise _damaged(source, key, "its pixels have another hash than the index table says")
        with self.clock.stage("encode"):
            noisy_data, clean_data = (self.format.encode(p, self._png_level) for p in (noisy, clean))
        return FinishedTile(noisy_data, clean_data, record)


def _open_tiles(source: SourceDataset, part: Shard) -> TileReader:
    try:
        return format_named(source.run["config"]["format"]).open_tiles(source.folder, part)
    except (InputError, OSError) as error:
        raise _damaged(source, part.name, str(error)) from error


def _damaged(source: SourceDataset, what: str, problem: str) -> NoisegenError:
    root = source.folder.root
    return NoisegenError(
        f"{root}: {what} is damaged ({problem}); run noisegen verify {root}, make it anew with the command that built "
        "it, then give this command again"
    )
