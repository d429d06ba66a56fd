"""The overlapped stages of a build: manifest rows, decoding, synthesis and encoding, handed on in order.

One thread (the caller's) walks the manifest and consumes results; a thread pool decodes photographs ahead,
another one makes and encodes tiles. Results are taken in the order of the manifest whatever finishes first,
and what is in flight is bounded: decoded photographs by their pixels, tiles by their number.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from noisegen.conditions import Condition
from noisegen.errors import InputError
from noisegen.images import probe, read_image
from noisegen.manifest import BadRow, Manifest, ManifestRow
from noisegen.synthesis.engine import CUDA_BATCH, Engine, TileJob, check_picture
from noisegen.synthesis.formats import format_named
from noisegen.synthesis.interrupt import StopRequest
from noisegen.synthesis.layout import Failure, Shard, tile_key_name
from noisegen.synthesis.plan import BuildConfig
from noisegen.synthesis.randomness import tile_key
from noisegen.synthesis.records import FinishedTile, TileRecord, noise_std, pixel_hash
from noisegen.tiles import Tile, tile_grid

__all__ = ["Event", "Pipeline", "RowDone", "RowFailed", "ShardBegins", "ShardEnds", "TilesDone"]

# Photographs are decoded ahead until these many pixels or rows are waiting.
AHEAD_PIXELS = 64_000_000
AHEAD_ROWS = 64


@dataclass(frozen=True)
class ShardBegins:
    shard: Shard


@dataclass(frozen=True)
class ShardEnds:
    shard: Shard


@dataclass(frozen=True)
class RowFailed:
    failure: Failure


@dataclass(frozen=True)
class RowDone:
    """All tiles of a row have been handed over; the last of them may come with the next row's."""


@dataclass(frozen=True)
class TilesDone:
    tiles: list[FinishedTile]


Event = ShardBegins | ShardEnds | RowFailed | RowDone | TilesDone


@dataclass(frozen=True)
class _ChosenCondition:
    condition: Condition
    rule: str
    drawn: bool


@dataclass(frozen=True)
class _OpenRow:
    """A row that looks good so far: its photograph is being decoded."""

    row: ManifestRow
    conditions: list[_ChosenCondition]  # one for each variant
    picture: Future[np.ndarray]
    pixels: int


@dataclass(frozen=True)
class _PlannedTile:
    row: ManifestRow
    variant: int
    tile: Tile
    chosen: _ChosenCondition
    job: TileJob


class Pipeline:
    """Turns shards of a manifest into a stream of events.

    Args:
        config: the resolved configuration.
        manifest: the rows.
        engine: makes the noisy tiles.
        decoders, makers: threads for photographs, and threads from `tile_threads` for tiles.
        batch_size: number of tiles given to a maker thread at once.
        in_flight: number of batches that may wait for their turn.
        stop: looked at between tiles.
    """

    def __init__(
        self,
        config: BuildConfig,
        manifest: Manifest,
        engine: Engine,
        *,
        decoders: ThreadPoolExecutor,
        makers: ThreadPoolExecutor,
        batch_size: int,
        in_flight: int,
        stop: StopRequest,
    ) -> None:
        self._config = config
        self._encode_picture = format_named(config.format).encode
        self._manifest = manifest
        self._engine = engine
        self._decoders = decoders
        self._makers = makers
        self._batch_size = batch_size
        self._in_flight = in_flight
        self._stop = stop

    def events(self, shards: Sequence[Shard]) -> Iterator[Event]:
        """What happens, in the order of the manifest.

        For each shard: ShardBegins; then RowFailed, RowDone and TilesDone; then ShardEnds.

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
        return TilesDone(self._stop.result(item)) if isinstance(item, Future) else item

    def _batches(self, shards: Sequence[Shard]) -> Iterator[Event | Future[list[FinishedTile]]]:
        """Hands tiles to the makers in batches; a batch may span rows, but not shards."""
        batch: list[_PlannedTile] = []
        for item in self._ahead(shards):
            if isinstance(item, _OpenRow):
                try:
                    picture = self._stop.result(item.picture)
                    grid = tile_grid(picture.shape[0], picture.shape[1], self._config.tile_size)
                except InputError as error:
                    yield self._failed(item.row, error)
                    continue
                for planned in self._tiles_of(item, picture, grid):
                    batch.append(planned)
                    if len(batch) == self._batch_size:
                        yield self._makers.submit(self._make, batch)
                        batch = []
                yield RowDone()
            else:
                if isinstance(item, ShardEnds) and batch:
                    yield self._makers.submit(self._make, batch)
                    batch = []
                yield item

    def _tiles_of(self, item: _OpenRow, picture: np.ndarray, grid: Sequence[Tile]) -> Iterator[_PlannedTile]:
        for variant, chosen in enumerate(item.conditions):
            key = tile_key(self._config.seed, item.row.id, variant)
            for t in grid:
                clean = picture[t.y : t.y + t.size, t.x : t.x + t.size]
                job = TileJob(clean, chosen.condition, key, t.y, t.x)
                yield _PlannedTile(item.row, variant, t, chosen, job)

    def _ahead(self, shards: Sequence[Shard]) -> Iterator[Event | _OpenRow]:
        """Lets photographs be decoded while earlier ones are worked on."""
        waiting: deque[Event | _OpenRow] = deque()
        pixels = 0
        for item in self._open_rows(shards):
            waiting.append(item)
            pixels += item.pixels if isinstance(item, _OpenRow) else 0
            while len(waiting) > AHEAD_ROWS or (pixels > AHEAD_PIXELS and len(waiting) > 1):
                first = waiting.popleft()
                pixels -= first.pixels if isinstance(first, _OpenRow) else 0
                yield first
        yield from waiting

    def _open_rows(self, shards: Sequence[Shard]) -> Iterator[Event | _OpenRow]:
        for shard in shards:
            yield ShardBegins(shard)
            for row in self._manifest.rows(shard.start, shard.stop):
                self._stop.check()
                if isinstance(row, BadRow):
                    yield RowFailed(Failure(row.index, row.id, row.path, row.reason, row.message))
                    continue
                try:
                    conditions = [self._choose(row, variant) for variant in range(self._config.variants)]
                    info = probe(row.path, max_pixels=self._config.max_pixels)
                except InputError as error:
                    yield self._failed(row, error)
                    continue
                picture = self._decoders.submit(self._decode, row)
                yield _OpenRow(row, conditions, picture, info.width * info.height)
            yield ShardEnds(shard)

    def _choose(self, row: ManifestRow, variant: int) -> _ChosenCondition:
        config, vocabulary = self._config, self._engine.model.vocabulary
        camera = config.camera if config.camera is not None else row.camera
        iso = config.iso if config.iso is not None else row.iso
        condition = vocabulary.draw(config.seed, row.id, variant, camera, iso)
        return _ChosenCondition(condition, vocabulary.resolve(condition).rule, camera is None or iso is None)

    def _failed(self, row: ManifestRow, error: InputError) -> RowFailed:
        base = self._manifest.base
        path = row.path.relative_to(base) if row.path.is_relative_to(base) else row.path
        # Where the photographs lie on this machine is no business of the dataset.
        message = str(error).replace(str(row.path), str(path))
        return RowFailed(Failure(row.index, row.id, str(path), error.reason, message))

    def _decode(self, row: ManifestRow) -> np.ndarray:
        try:
            picture = read_image(row.path, max_pixels=self._config.max_pixels)
            check_picture(self._engine.model, picture)
        except InputError:
            raise
        except Exception as error:  # whatever a decoder does to one file must not end the run
            raise InputError("internal", f"{row.path}: {type(error).__name__}: {error}") from error
        return picture

    def _make(self, planned: Sequence[_PlannedTile]) -> list[FinishedTile]:
        """Runs in a maker thread."""
        step = CUDA_BATCH if self._engine.device.type == "cuda" else 1
        finished: list[FinishedTile] = []
        for start in range(0, len(planned), step):
            if self._stop.given_up:
                return []
            group = planned[start : start + step]
            noisy = self._engine.run([p.job for p in group])
            finished += [self._encode(p, n) for p, n in zip(group, noisy, strict=True)]
        return finished

    def _encode(self, planned: _PlannedTile, noisy: np.ndarray) -> FinishedTile:
        row, tile, chosen = planned.row, planned.tile, planned.chosen
        pictures = (noisy, planned.job.clean)
        noisy_data, clean_data = (self._encode_picture(p, self._config.png_level) for p in pictures)
        record = TileRecord(
            key=tile_key_name(row.index, planned.variant, tile.y, tile.x),
            row=row.index,
            id=row.id,
            variant=planned.variant,
            split="",
            y=tile.y,
            x=tile.x,
            tile_size=tile.size,
            camera=chosen.condition.camera,
            iso=chosen.condition.iso,
            iso_rule=chosen.rule,
            drawn=chosen.drawn,
            seed=self._config.seed,
            noise_std=noise_std(noisy, planned.job.clean),
            noisy_pixels_xxh3=pixel_hash(noisy),
            clean_pixels_xxh3=pixel_hash(planned.job.clean),
            extra=json.dumps(row.extra, sort_keys=True, ensure_ascii=False),
        )
        return FinishedTile(noisy_data, clean_data, record)


def _is_ready(item: Event | Future[list[FinishedTile]]) -> bool:
    return not isinstance(item, Future) or item.done()
