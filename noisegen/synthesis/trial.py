"""A build of a few seconds into a temporary folder: how fast it is here, and how large tiles become."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from noisegen.errors import UsageError
from noisegen.synthesis.choices import OutputChoice
from noisegen.synthesis.duplicates import RepeatedIds
from noisegen.synthesis.events import ShardBegins, ShardEnds, TilesDone
from noisegen.synthesis.files import write_json
from noisegen.synthesis.formats import FORMATS, assembly_of, format_named
from noisegen.synthesis.interrupt import StopRequest
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.pipeline import Pipeline, open_pipeline
from noisegen.synthesis.plan import BuildConfig
from noisegen.synthesis.records import FinishedTile
from noisegen.synthesis.resolve import ResolvedBuild
from noisegen.synthesis.shards import Shard
from noisegen.synthesis.stages import StageClock
from noisegen.synthesis.writing import OpenShard

__all__ = ["Range", "Trial", "run_trial"]

SIZED_TILES_PER_ROW, SIZED_ROWS, SIZING_SECONDS = 8, 16, 20.0
TIMED_SECONDS, TIMED_TILES = 10.0, 2000
WINDOWS = 4


@dataclass(frozen=True)
class Range:
    """An estimate, and between which values it is likely to lie."""

    low: float
    expected: float
    high: float

    def times(self, other: Range) -> Range:
        """The product of two quantities that are not negative."""
        return Range(self.low * other.low, self.expected * other.expected, self.high * other.high)


@dataclass(frozen=True)
class Trial:
    """What was measured.

    Attributes:
        photographs: from which tiles were made, to see their sizes.
        tiles, seconds: that were timed, after warming up.
        megapixels_per_second: of noisy pixels read, made, encoded and written; low and high are the slowest and the
            fastest quarter of the time.
        bytes_per_tile: of the format asked for; low and high are two standard errors away.
        bytes_by_format: bytes of a tile in each output format that keeps pictures as the one asked for does.
        disk_per_tile: what a tile in the format asked for occupies, in the file system's blocks.
    """

    photographs: int
    tiles: int
    seconds: float
    megapixels_per_second: Range
    bytes_per_tile: Range
    bytes_by_format: dict[str, float]
    disk_per_tile: float


class Moment(NamedTuple):
    """Seconds since the start, and tiles written until then."""

    seconds: float
    tiles: int


def run_trial(
    resolved: ResolvedBuild,
    config: BuildConfig,
    rows: Sequence[int],
    shards: Sequence[Shard],
    stop: StopRequest,
) -> Trial | None:
    """Runs the stages of a build on some photographs.

    Args:
        resolved: photographs and model.
        config: the settings, with the number of rows in a shard.
        rows: of the manifest, whose tiles are looked at for their size.
        shards: of the dataset, which are timed from the middle one on, again from the first after the last.
        stop: looked at between tiles.

    Returns:
        None where no tile was made.

    Raises:
        Interrupted: a signal came.
    """
    clock = StageClock(resolved.workers)
    with tempfile.TemporaryDirectory(prefix="noisegen-plan-") as temporary:
        root = Path(temporary)
        with open_pipeline(resolved, config, stop, clock, RepeatedIds.none()) as pipeline:
            groups = _tiles_to_size(pipeline, rows)
            if not groups:
                return None
            folder = _begun(
                root / "timed", OutputChoice(config.format, config.layout, config.png_level), resolved
            )
            moments = _timed(folder, config, pipeline, shards, clock)
        tiles = [tile for group in groups for tile in group]
        sizes = {}
        for name in FORMATS:
            choice = _alike(config, name)
            if choice is not None:
                folder = _begun(root / name, choice, resolved)
                sizes[name] = _occupied(folder, name, tiles, clock)
    warm = _after_warm_up(moments, in_flight=(2 * resolved.workers + 2) * resolved.batch_size)
    if warm[-1][1] == warm[0][1]:
        return None
    per_photograph = [fmean(len(tile.noisy) + len(tile.clean) for tile in group) for group in groups]
    error = 2 * stdev(per_photograph) / math.sqrt(len(groups)) if len(groups) > 1 else 0.0
    size, disk = (value / len(tiles) for value in sizes[config.format])
    return Trial(
        photographs=len(groups),
        tiles=warm[-1][1] - warm[0][1],
        seconds=round(warm[-1][0] - warm[0][0], 3),
        megapixels_per_second=_rate(warm, config.tile_size**2 / 1e6),
        bytes_per_tile=Range(max(0.0, size - error), size, size + error),
        bytes_by_format={name: total / len(tiles) for name, (total, _) in sizes.items()},
        disk_per_tile=disk,
    )


def _alike(config: BuildConfig, name: str) -> OutputChoice | None:
    """How a dataset in another format is written; None where that keeps pictures otherwise or is not installed."""
    if format_named(name).encode is not format_named(config.format).encode:
        return None
    with suppress(UsageError):
        return OutputChoice.resolve(name, config.layout if name == config.format else None, config.png_level)
    return None


def _begun(root: Path, choice: OutputChoice, resolved: ResolvedBuild) -> DatasetFolder:
    """An empty dataset, with as much of a run.json as formats look at."""
    folder = DatasetFolder(root)
    folder.state.mkdir(parents=True)
    write_json(folder.run_file, {"config": asdict(choice), "bit_depth": resolved.engine.model.bit_depth})
    return folder


def _tiles_to_size(pipeline: Pipeline, rows: Sequence[int]) -> list[list[FinishedTile]]:
    """The first tiles of some photographs; photographs without any are left out."""
    groups: list[list[FinishedTile]] = []
    started = time.perf_counter()
    for row in rows:
        with closing(_tiles(pipeline, row)) as tiles:
            group = [tile for _, tile in zip(range(SIZED_TILES_PER_ROW), tiles, strict=False)]
        if group:
            groups.append(group)
        if len(groups) == SIZED_ROWS or time.perf_counter() - started > SIZING_SECONDS:
            break
    return groups


def _tiles(pipeline: Pipeline, row: int) -> Generator[FinishedTile, None, None]:
    with closing(pipeline.events([Shard(0, row, row + 1)])) as events:
        for event in events:
            if isinstance(event, TilesDone):
                yield from event.tiles


def _timed(
    folder: DatasetFolder, config: BuildConfig, pipeline: Pipeline, shards: Sequence[Shard], clock: StageClock
) -> list[Moment]:
    """Builds for some seconds; what had been done after each batch."""
    output_format = format_named(config.format)
    started = time.perf_counter()
    moments = [Moment(0.0, 0)]
    shard: OpenShard | None = None
    with closing(pipeline.events(_cycle(shards))) as events:
        for event in events:
            if isinstance(event, ShardBegins):
                shard = OpenShard(folder, output_format, event.shard, clock)
            elif isinstance(event, ShardEnds) and shard is not None:
                shard.finish()
                shard = None
            elif isinstance(event, TilesDone) and shard is not None:
                shard.add(event.tiles)
                moments.append(Moment(time.perf_counter() - started, moments[-1].tiles + len(event.tiles)))
            if time.perf_counter() - started > TIMED_SECONDS or moments[-1].tiles > TIMED_TILES:
                break
    if shard is not None:
        shard.abort()
    return moments


def _cycle(shards: Sequence[Shard]) -> Iterator[Shard]:
    """From the middle on and around without end, numbered anew."""
    for number in itertools.count():
        shard = shards[(len(shards) // 2 + number) % len(shards)]
        yield Shard(number, shard.start, shard.stop)


def _after_warm_up(moments: list[Moment], *, in_flight: int) -> list[Moment]:
    """Without the time until every worker is busy, but never less than three quarters of the tiles."""
    least = min(in_flight, moments[-1].tiles // 4)
    return [moment for moment in moments if moment.tiles >= least]


def _rate(moments: list[Moment], megapixels: float) -> Range:
    """The mean, and that of the slowest and the fastest quarter of the time."""
    (start, first), (end, last) = moments[0], moments[-1]
    rates = []
    for i in range(WINDOWS):
        limits = start + (end - start) * i / WINDOWS, start + (end - start) * (i + 1) / WINDOWS
        inside = [m for m in moments if limits[0] <= m.seconds <= limits[1]]
        if len(inside) > 1:
            rates.append((inside[-1].tiles - inside[0].tiles) / (inside[-1].seconds - inside[0].seconds))
    mean = (last - first) / (end - start)
    return Range(*(round(megapixels * rate, 4) for rate in (min([mean, *rates]), mean, max([mean, *rates]))))


def _occupied(
    folder: DatasetFolder, name: str, tiles: Sequence[FinishedTile], clock: StageClock
) -> tuple[int, int]:
    """Bytes of a dataset of these tiles, and bytes that its blocks on the disk have."""
    rows = Shard(0, 0, 1 + max(t.record.row for t in tiles))
    shard = OpenShard(folder, format_named(name), rows, clock)
    shard.add(tiles)
    shard.finish()
    if assembly := assembly_of(name):
        assembly.assemble(folder, [rows], lambda: None)
    found = [path.stat() for path in folder.root.rglob("*") if path.is_file()]
    return sum(status.st_size for status in found), sum(512 * status.st_blocks for status in found)
