"""The overlapped stages of a build: manifest rows, decoding, synthesis and encoding, handed on in order.

One thread (the caller's) walks the manifest and consumes results; a thread pool decodes photographs ahead and
chooses their tiles, another one makes and encodes tiles. Results are taken in the order of the manifest whatever
finishes first, and what is in flight is bounded: decoded photographs by their pixels, tiles by their number.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from noisegen.downscaling import downscale
from noisegen.errors import InputError
from noisegen.images import EncodedPicture, probe, read_image
from noisegen.manifest import BadRow, Manifest, ManifestRow
from noisegen.models.pictures import check_picture
from noisegen.photographs import look_ahead
from noisegen.remote import Connections
from noisegen.synthesis.duplicates import RepeatedIds
from noisegen.synthesis.engine import Engine, TileJob, tile_threads
from noisegen.synthesis.events import (
    Event,
    RowDone,
    RowFailed,
    ShardBegins,
    ShardEnds,
    TilesDone,
    TilesLeftOut,
)
from noisegen.synthesis.fetching import Coming, Photographs
from noisegen.synthesis.formats import format_named
from noisegen.synthesis.interrupt import StopRequest
from noisegen.synthesis.plan import BuildConfig
from noisegen.synthesis.randomness import tile_key
from noisegen.synthesis.records import FinishedTile, TileRecord, noise_std, pixel_hash
from noisegen.synthesis.resolve import ResolvedBuild
from noisegen.synthesis.row_conditions import ChosenCondition, ConditionChoice
from noisegen.synthesis.selection import TileSelection
from noisegen.synthesis.shards import Failure, Shard, tile_key_name
from noisegen.synthesis.splits import split_of
from noisegen.synthesis.stages import StageClock
from noisegen.synthesis.threads import worker_threads
from noisegen.tiles import Tile

__all__ = ["Pipeline", "open_pipeline", "thread_counts"]

# Photographs are decoded ahead until so many bytes wait for each worker; the one that exceeds them is the last.
AHEAD_BYTES = 32 << 20


@dataclass(frozen=True)
class _Cut:
    """A decoded photograph and the tiles that it is to give."""

    picture: np.ndarray
    tiles: list[Tile]
    left_out: dict[str, int]


@dataclass(frozen=True)
class _OpenRow:
    """A row that looks good so far: its photograph is being decoded."""

    row: ManifestRow
    conditions: list[ChosenCondition]  # one for each variant
    cut: Future[_Cut]
    size: int  # of the photograph's pixels, in bytes


@dataclass(frozen=True)
class _Version:
    """What the records of all tiles of one noisy version of a photograph share."""

    row: ManifestRow
    variant: int
    chosen: ChosenCondition
    split: str
    extra: str


@dataclass(frozen=True)
class _PlannedTile:
    version: _Version
    tile: Tile
    job: TileJob

    @property
    def key(self) -> str:
        return tile_key_name(self.version.row.index, self.version.variant, self.tile.y, self.tile.x)


class Pipeline:
    """Turns shards of a manifest into a stream of events.

    Args:
        config: the resolved configuration.
        manifest: the rows.
        engine: makes the noisy tiles.
        photographs: fetches the remote ones.
        decoders, makers: threads for photographs, and threads from `tile_threads` for tiles.
        batch_size: number of tiles given to a maker thread at once.
        in_flight: number of batches that may wait for their turn.
        ahead_bytes: photographs are decoded ahead until so much is waiting.
        stop: looked at between tiles.
        clock: counts where the time goes.
        repeated: rows that fail because their id is another row's.
    """

    def __init__(
        self,
        config: BuildConfig,
        manifest: Manifest,
        engine: Engine,
        photographs: Photographs,
        *,
        decoders: ThreadPoolExecutor,
        makers: ThreadPoolExecutor,
        batch_size: int,
        in_flight: int,
        ahead_bytes: int,
        stop: StopRequest,
        clock: StageClock,
        repeated: RepeatedIds,
    ) -> None:
        self._config = config
        self._repeated = repeated
        self._selection = TileSelection(config.min_sharpness, config.max_flat, config.max_saturated)
        self._conditions = ConditionChoice(config, engine.model)
        self._encode_picture = format_named(config.format).encode
        self._manifest = manifest
        self._engine = engine
        self._photographs = photographs
        self._decoders = decoders
        self._makers = makers
        self._batch_size = batch_size
        self._in_flight = in_flight
        self._ahead_bytes = ahead_bytes
        self._stop = stop
        self._clock = clock

    def events(self, shards: Iterable[Shard]) -> Generator[Event, None, None]:
        """What happens, in the order of the manifest.

        For each shard: ShardBegins; then RowFailed, RowDone, TilesLeftOut and TilesDone; then ShardEnds.

        Raises:
            Interrupted: a signal came.
        """
        waiting: deque[Event | Future[list[FinishedTile]]] = deque()
        batches = 0
        for item in self._batches(shards):
            waiting.append(item)
            batches += isinstance(item, Future)
            while waiting and (batches > self._in_flight or _is_ready(waiting[0])):
                batches -= isinstance(waiting[0], Future)
                yield self._event(waiting.popleft())
        while waiting:
            yield self._event(waiting.popleft())

    def _event(self, item: Event | Future[list[FinishedTile]]) -> Event:
        if not isinstance(item, Future):
            return item
        with self._clock.stage("idle", "wait for tiles"):
            tiles = self._stop.result(item)
        self._clock.count("tiles in flight", -len(tiles))
        return TilesDone(tiles)

    def _batches(self, shards: Iterable[Shard]) -> Iterator[Event | Future[list[FinishedTile]]]:
        """Hands tiles to the makers in batches; a batch may span rows, but not shards."""
        batch: list[_PlannedTile] = []
        for item in self._ahead(shards):
            if isinstance(item, _OpenRow):
                try:
                    with self._clock.stage("idle", "wait for decoding"):
                        cut = self._stop.result(item.cut)
                except InputError as error:
                    yield self._failed(item.row, error)
                    continue
                self._clock.count("photographs decoded ahead", -1)
                if cut.left_out:
                    yield TilesLeftOut(cut.left_out)
                for planned in self._tiles_of(item, cut):
                    batch.append(planned)
                    if len(batch) == self._batch_size:
                        yield self._submit(batch)
                        batch = []
                # the photograph, before the next one is waited for
                del cut
                yield RowDone()
            else:
                if isinstance(item, ShardEnds) and batch:
                    yield self._submit(batch)
                    batch = []
                yield item

    def _submit(self, batch: Sequence[_PlannedTile]) -> Future[list[FinishedTile]]:
        self._clock.count("tiles in flight", len(batch))
        return self._makers.submit(self._make, batch)

    def _tiles_of(self, item: _OpenRow, cut: _Cut) -> Iterator[_PlannedTile]:
        row, seed = item.row, self._config.seed
        split = split_of(self._config.split, seed, row.id)
        extra = json.dumps(row.extra, sort_keys=True, ensure_ascii=False)
        for variant, chosen in enumerate(item.conditions):
            version = _Version(row, variant, chosen, split, extra)
            key = tile_key(seed, row.id, variant)
            for t in cut.tiles:
                job = self._engine.job(cut.picture, t.y, t.x, t.size, t.size, chosen.condition, key)
                # a copy, so that tiles on their way do not keep the whole photograph in memory
                yield _PlannedTile(version, t, replace(job, clean=job.clean.copy()))

    def _ahead(self, shards: Iterable[Shard]) -> Iterator[Event | _OpenRow]:
        """Lets photographs be decoded while earlier ones are worked on."""
        return look_ahead(self._open_rows(shards), _size, self._ahead_bytes)

    def _open_rows(self, shards: Iterable[Shard]) -> Iterator[Event | _OpenRow]:
        items: Iterator[Event | Coming] = self._photographs.ahead(self._rows(shards))
        for item in items:
            if not isinstance(item, Coming):
                yield item
                continue
            row, source = item.row, item.source
            try:
                conditions = self._conditions.choose(row)
                picture = source if isinstance(source, Path) else self._fetched(source)
                with self._clock.stage("read", "header", row=row.index, id=row.id):
                    info = probe(picture, max_pixels=self._config.max_pixels)
            except InputError as error:
                yield self._failed(row, error)
                continue
            size = info.width * info.height * info.channels * info.bits // 8
            yield _OpenRow(row, conditions, self._decoders.submit(self._cut, row, picture), size)

    def _fetched(self, source: Future[EncodedPicture]) -> EncodedPicture:
        with self._clock.stage("idle", "wait for fetching"):
            return self._stop.result(source)

    def _rows(self, shards: Iterable[Shard]) -> Iterator[Event | ManifestRow]:
        rows = self._manifest.reader()
        for shard in shards:
            yield ShardBegins(shard)
            for row in rows(shard.start, shard.stop):
                self._stop.check()
                if isinstance(row, BadRow):
                    yield RowFailed(Failure(row.index, row.id, row.path, row.reason, row.message))
                elif repeated := self._repeated.failure(row, self._manifest.relative(row.path)):
                    yield RowFailed(repeated)
                else:
                    yield row
            yield ShardEnds(shard)

    def _failed(self, row: ManifestRow, error: InputError) -> RowFailed:
        path = self._manifest.relative(row.path)
        # Where the photographs lie on this machine is no business of the dataset.
        message = str(error).replace(str(row.path), path)
        return RowFailed(Failure(row.index, row.id, path, error.reason, message))

    def _cut(self, row: ManifestRow, source: Path | EncodedPicture) -> _Cut:
        """Runs in a decoder thread."""
        config, model = self._config, self._engine.model
        try:
            with self._clock.stage("read", "decode", row=row.index, id=row.id) as span:
                picture = read_image(source, max_pixels=config.max_pixels)
                span.pixels = picture.shape[0] * picture.shape[1]
                check_picture(model, picture)
                grid = config.tiles_of(picture.shape[0], picture.shape[1])
                picture = downscale(picture, config.downscale)
                cut = _Cut(picture, *self._selection.choose(picture, grid, model.bit_depth))
            self._clock.count("photographs decoded ahead", 1)
            return cut
        except InputError:
            raise
        except Exception as error:  # whatever a decoder does to one file must not end the run
            raise InputError("internal", f"{source}: {type(error).__name__}: {error}") from error

    def _make(self, planned: Sequence[_PlannedTile]) -> list[FinishedTile]:
        """Runs in a maker thread."""
        step = self._engine.tiles_at_once(self._config.tile_size)
        finished: list[FinishedTile] = []
        for start in range(0, len(planned), step):
            if self._stop.given_up:
                return []
            group = planned[start : start + step]
            first = group[0].key
            pixels = len(group) * group[0].tile.size ** 2
            with self._clock.stage("synthesize", pixels=pixels, tiles=len(group), first=first):
                noisy = self._engine.run([p.job for p in group])
            with self._clock.stage("encode", pixels=pixels, tiles=len(group), first=first):
                finished += [self._encode(p, n) for p, n in zip(group, noisy, strict=True)]
        return finished

    def _encode(self, planned: _PlannedTile, noisy: np.ndarray) -> FinishedTile:
        version, tile, clean = planned.version, planned.tile, planned.job.tile
        row, chosen = version.row, version.chosen
        noisy_data, clean_data = (self._encode_picture(p, self._config.png_level) for p in (noisy, clean))
        record = TileRecord(
            key=planned.key,
            row=row.index,
            id=row.id,
            variant=version.variant,
            split=version.split,
            y=tile.y,
            x=tile.x,
            tile_size=tile.size,
            camera=chosen.condition.camera,
            iso=chosen.condition.iso,
            iso_rule=chosen.rule,
            drawn=chosen.drawn,
            seed=self._config.seed,
            noise_std=noise_std(noisy, clean),
            noisy_pixels_xxh3=pixel_hash(noisy),
            clean_pixels_xxh3=pixel_hash(clean),
            extra=version.extra,
        )
        return FinishedTile(noisy_data, clean_data, record)


def thread_counts(workers: int) -> dict[str, int]:
    """Threads of a build by their kind, see `noisegen.synthesis.stages.Work`."""
    return {"maker": workers, "decoder": max(1, workers // 2), "writer": 1}


@contextmanager
def open_pipeline(
    resolved: ResolvedBuild,
    config: BuildConfig,
    stop: StopRequest,
    clock: StageClock,
    repeated: RepeatedIds,
) -> Iterator[Pipeline]:
    """A pipeline with its threads; on leaving, work that nobody has taken is given up.

    Args:
        resolved: photographs, model, and the number of threads.
        config: the settings.
        stop: looked at between tiles.
        clock: counts where the time goes.
        repeated: rows that fail because their id is another row's.
    """
    threads = thread_counts(resolved.workers)
    with (
        Connections() as connections,
        worker_threads(threads["decoder"], "decoder") as decoders,
        tile_threads(threads["maker"]) as makers,
    ):
        try:
            yield Pipeline(
                config,
                resolved.manifest,
                resolved.engine,
                Photographs(connections, config.max_pixels, stop, clock),
                decoders=decoders,
                makers=makers,
                batch_size=resolved.batch_size,
                in_flight=2 * threads["maker"] + 2,
                ahead_bytes=AHEAD_BYTES * threads["maker"],
                stop=stop,
                clock=clock,
                repeated=repeated,
            )
        finally:
            stop.give_up()


def _is_ready(item: Event | Future[list[FinishedTile]]) -> bool:
    return not isinstance(item, Future) or item.done()


def _size(item: Event | _OpenRow) -> int:
    return item.size if isinstance(item, _OpenRow) else 0
