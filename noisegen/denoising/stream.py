"""The patches of each training step: a pure function of (seed, step, processes), read ahead by threads."""

from __future__ import annotations

import math
import os
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np

from noisegen.conditions import Condition
from noisegen.datasets.crops import turned
from noisegen.datasets.picture_cache import PictureCache
from noisegen.datasets.shard_tiles import Tile
from noisegen.denoising.sources import Source, TrainingPicture
from noisegen.denoising.streamed_tiles import StreamedTiles
from noisegen.errors import UsageError
from noisegen.images import ImageInfo
from noisegen.training.distributed import Ranks

__all__ = ["PatchBatch", "PatchStream"]

# Batches that wait for the device, beside those that threads are working on.
READY = 2
# Share of the machine's memory that decoded pictures may take.
CACHE_SHARE = 0.5


@dataclass(frozen=True)
class PatchBatch:
    """One process' part of a step's patches.

    Attributes:
        step: which one.
        noisy, clean: uint8 or uint16 [b, patch, patch, C]; `noisy` is the clean patch where noise is to be drawn.
        synthetic: the rows where it is, and
        conditions: their cameras and ISO settings.
    """

    step: int
    noisy: np.ndarray
    clean: np.ndarray
    synthetic: list[int]
    conditions: list[Condition]


class PatchStream:
    """Draws augmented patches from sources.

    Pictures are drawn at random for each patch. Of a streamed dataset, of which there is one at most, every tile comes
    once in an epoch and gives one patch; each process has tiles of its own, in the same number of each step's rows.

    Args:
        sources: where from, in proportion to their weights.
        patch: side in pixels.
        batch: patches per step.
        seed: of all draws.
        balance: cameras with their ISO settings equally often, then pictures; otherwise in proportion to area.
        magnify: range of factors by which photographs of a manifest are enlarged (cubic), drawn for each patch.
        ranks: the processes that train together, each with a part of the batch; None for one alone.
        cache_bytes: of decoded pictures that are kept; None for half of the machine's memory.

    Raises:
        UsageError: a picture is smaller than the patch, or a streamed dataset cannot be shared out.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        patch: int,
        batch: int,
        seed: int,
        balance: bool,
        magnify: tuple[float, float] = (1.0, 1.0),
        ranks: Ranks | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        self.patch, self.size, self.seed, self.magnify = patch, batch, seed, magnify
        ranks = ranks or Ranks()
        self.part = ranks.part(batch)
        self._streamed = StreamedTiles.of(sources, batch=batch, seed=seed, ranks=ranks)
        if self._streamed is not None:
            self._check_size(str(self._streamed.source.spec.place), self._streamed.dataset.info)
        drawn = [source for source in sources if source.stream is None]
        self.pictures = [picture for source in drawn for picture in source.pictures]
        for picture in self.pictures:
            self._check_size(picture.name, picture.info)
        total = sum(source.spec.weight for source in drawn)
        self.probabilities = np.concatenate(
            [np.empty(0)]
            + [source.spec.weight / total * self._within(source.pictures, balance) for source in drawn]
        )
        self._cache: PictureCache[tuple[np.ndarray | None, np.ndarray]] = PictureCache(
            _default_cache_bytes() if cache_bytes is None else cache_bytes
        )

    @property
    def patches(self) -> int:
        """Patches on grids of step patch / 2 over all pictures: the paper's epoch."""
        streamed = self._streamed
        tiles = 0 if streamed is None else streamed.dataset.tiles * self._grid(streamed.dataset.info)
        return tiles + sum(self._grid(picture.info) for picture in self.pictures)

    def batch(self, step: int) -> PatchBatch:
        """The patches of a step: random pictures, positions, flips and quarter turns, the same for both sides.

        Raises:
            UsageError: a picture cannot be read.
        """
        if self._streamed is None:
            return self._batch(step, [])
        with closing(self._streamed.tiles(step, threads=1)) as tiles:
            return self._batch(step, list(islice(tiles, self._streamed.count(step))))

    def _batch(self, step: int, tiles: Sequence[Tile]) -> PatchBatch:
        """The patches of a step; the first are those of the tiles."""
        rng = np.random.default_rng([self.seed, step])
        chosen = np.zeros(self.size, np.int64)
        if self.pictures:
            chosen = rng.choice(len(self.pictures), size=self.size, p=self.probabilities)
        places = rng.random((self.size, 3))
        turns = rng.integers(8, size=self.size)
        factors = rng.uniform(*self.magnify, self.size)
        noisy, clean, synthetic, conditions = [], [], [], []
        for number, row in enumerate(range(self.size)[self.part]):
            picture = None if number < len(tiles) else self.pictures[chosen[row]]
            pixels = tiles[number][:2] if picture is None else self._cache.get(id(picture), picture.load)
            # The square that becomes the patch
            side = self.patch
            if picture is not None and picture.photograph:
                side = min(self.patch, math.ceil(self.patch / factors[row]))
            y, x = (
                int(place * (length - side + 1))
                for place, length in zip(places[row], pixels[-1].shape[:2], strict=False)
            )
            cuts = [values[y : y + side, x : x + side] for values in pixels if values is not None]
            patches = [turned(self._enlarged(cut), int(turns[row])) for cut in cuts]
            noisy.append(patches[0])
            clean.append(patches[-1])
            if picture is not None and picture.noisy is None:
                synthetic.append(len(clean) - 1)
                conditions.append(picture.conditions[int(places[row, 2] * len(picture.conditions))])
        return PatchBatch(step, np.stack(noisy), np.stack(clean), synthetic, conditions)

    def batches(self, start: int, stop: int, *, workers: int) -> Generator[PatchBatch]:
        """The batches of steps ``start`` to ``stop - 1`` in order; so many threads read ahead.

        Close what this returns, so that copies of remote shards are removed where it is left early.
        """
        streamed = self._streamed
        with ThreadPoolExecutor(workers, thread_name_prefix="patches") as pool, ExitStack() as stack:
            tiles: Iterator[Tile] = iter(())
            if streamed is not None:
                tiles = stack.enter_context(closing(streamed.tiles(start, threads=workers)))
            ahead: deque[Future[PatchBatch]] = deque()
            try:
                for step in range(start, stop):
                    given = list(islice(tiles, 0 if streamed is None else streamed.count(step)))
                    ahead.append(pool.submit(self._batch, step, given))
                    if len(ahead) > workers + READY:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def _check_size(self, name: str, info: ImageInfo) -> None:
        if min(info.height, info.width) < self.patch:
            raise UsageError(
                f"{name} is {info.width}x{info.height}, smaller than the {self.patch} pixel patch; choose a smaller "
                "--patch or leave it out"
            )

    def _enlarged(self, cut: np.ndarray) -> np.ndarray:
        if len(cut) == self.patch:
            return cut
        # Cubic interpolation overshoots at edges; of 12 bits in 16 that would leave the range.
        resized = cv2.resize(cut, (self.patch, self.patch), interpolation=cv2.INTER_CUBIC)
        return np.minimum(resized.reshape(self.patch, self.patch, -1), cut.max())

    def _within(self, pictures: Sequence[TrainingPicture], balance: bool) -> np.ndarray:
        """The probability of each picture of one source."""
        if balance:
            counts = Counter(picture.conditions for picture in pictures)
            weights = np.array([1 / counts[picture.conditions] for picture in pictures])
        else:
            weights = np.array([self._grid(picture.info) for picture in pictures], dtype=np.float64)
        return weights / weights.sum()

    def _grid(self, info: ImageInfo) -> int:
        step = max(self.patch // 2, 1)
        rows, columns = ((side - self.patch) // step + 1 for side in (info.height, info.width))
        return rows * columns


def _default_cache_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(CACHE_SHARE * memory / int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
