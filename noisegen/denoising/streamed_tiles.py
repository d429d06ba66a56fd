"""The tiles of a streamed dataset that a process has in each step of a training."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from noisegen.datasets.shard_tiles import Tile
from noisegen.datasets.streamed import GROUP, StreamedDataset
from noisegen.datasets.tile_order import TileOrder
from noisegen.denoising.sources import Source
from noisegen.errors import UsageError
from noisegen.training.distributed import Ranks

__all__ = ["StreamedTiles"]


@dataclass(frozen=True)
class StreamedTiles:
    """This process' tiles of a streamed dataset.

    Attributes:
        source: of the tiles.
        dataset: likewise.
        rows: that each step has of them on average.
        order: in which they come.
    """

    source: Source
    dataset: StreamedDataset
    rows: float
    order: TileOrder

    @classmethod
    def of(cls, sources: Sequence[Source], *, batch: int, seed: int, ranks: Ranks) -> StreamedTiles | None:
        """None where no source is streamed.

        Raises:
            UsageError: several are, the processes have unequal parts of a batch, or there are too few shards.
        """
        streams = [source for source in sources if source.stream is not None]
        if not streams:
            return None
        if len(streams) > 1:
            raise UsageError(
                f"{len(streams)} datasets are to be streamed, which one at most can be; make them one with noisegen "
                "merge, or give the others without stream:"
            )
        if batch % ranks.size:
            raise UsageError(
                f"a batch of {batch} has no equal parts for {ranks.size} processes, as a streamed dataset needs; "
                "choose a multiple for --batch"
            )
        (source,) = streams
        assert source.stream is not None
        order = TileOrder(source.stream.counts, seed=seed, reader=ranks.rank, readers=ranks.size, group=GROUP)
        share = source.spec.weight / sum(other.spec.weight for other in sources)
        return cls(source, source.stream, share * (batch // ranks.size), order)

    def count(self, step: int) -> int:
        """Tiles of a step."""
        return self._before(step + 1) - self._before(step)

    def tiles(self, step: int, *, threads: int) -> Generator[Tile]:
        """All tiles from a step on, epoch after epoch."""
        return self.dataset.read(self.order.endless(self._before(step)), threads=threads)

    def _before(self, step: int) -> int:
        return int(step * self.rows)
