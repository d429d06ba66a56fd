"""Built datasets for people's own training loops in PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.data import IterableDataset, get_worker_info

from noisegen.datasets.noisy_pair import NoisyPair, in_unit, pixel_tensor
from noisegen.datasets.shard_tiles import Tile
from noisegen.datasets.streamed import GROUP, StreamedDataset
from noisegen.datasets.tile_order import TileOrder, deal
from noisegen.errors import UsageError
from noisegen.synthesis.threads import usable_cores

__all__ = ["TileStream"]


class TileStream(IterableDataset[NoisyPair]):
    """The tiles of a built dataset, in any format, streamed to the processes of a training.

    One iteration is an epoch. Every process, and in it every worker of a DataLoader, reads other shards, so that each
    file is read once. All get the same number of tiles: those over are left out, other ones in each epoch. The order is
    a function of seed, epoch, group, processes and workers; call `set_epoch` before each epoch for a new one. The tiles
    of `group` shards at a time are mixed. From a URL, whole shards are copied to a temporary folder (below `TMPDIR`)
    ahead of need, at most twice `group` for each process and worker, and removed when they were read.

    >>> import tempfile
    >>> import pyarrow as pa, pyarrow.parquet as pq, skimage
    >>> import noisegen
    >>> folder = tempfile.TemporaryDirectory()
    >>> manifest, dataset = f"{folder.name}/manifest.parquet", f"{folder.name}/dataset"
    >>> photograph = f"{skimage.data_dir}/astronaut.png"
    >>> pq.write_table(pa.table({"path": [photograph], "camera": ["S6"], "iso": [800]}), manifest)
    >>> summary = noisegen.build_dataset(manifest, dataset, allow_outside=True, quiet=True)
    >>> stream = noisegen.TileStream(dataset)
    >>> [pair.noisy.shape for pair in stream]
    [torch.Size([3, 256, 256]), torch.Size([3, 256, 256]), torch.Size([3, 256, 256]), torch.Size([3, 256, 256])]
    >>> folder.cleanup()

    Args:
        place: folder or URL of a finished dataset.
        split: that is wanted; None for "train" where the dataset has it, else all; "" for all.
        seed: of the order, 0 or more.
        rank, world_size: this process, from 0, and how many train; None for those of torch.distributed or torchrun.
        group: shards whose tiles are mixed.
        threads: that decode tiles in each process or worker; None for the cores there are for each, up to 8.
        raw: uint8 or uint16 pixel values instead of float32 from 0 to 1.

    Raises:
        UsageError: there is no dataset, it is not finished, it has no such tiles, or too few shards; a number makes no
            sense.
        RemoteError: the URL cannot be read.
    """

    def __init__(
        self,
        place: str | Path,
        *,
        split: str | None = None,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        group: int = GROUP,
        threads: int | None = None,
        raw: bool = False,
    ) -> None:
        joined_rank, joined_size = _joined()
        self.rank = joined_rank if rank is None else rank
        self.world_size = joined_size if world_size is None else world_size
        if not 0 <= self.rank < self.world_size:
            raise UsageError(f"rank {self.rank} is not one of 0 to {self.world_size - 1}")
        if seed < 0 or group < 1 or (threads is not None and threads < 1):
            raise UsageError(f"seed {seed} must be 0 or more, group {group} and threads {threads} 1 or more")
        self.seed, self.group, self.threads, self.raw = seed, group, threads, raw
        self.dataset = StreamedDataset.open(place, split)
        # Shared, so that workers that a DataLoader keeps alive see it change: epoch, and tiles already had of it.
        self._position = torch.zeros(2, dtype=torch.int64).share_memory_()
        self.tiles()

    def set_epoch(self, epoch: int, done: int = 0) -> None:
        """Chooses what the next iteration gives.

        Args:
            epoch: number of the pass, from 0.
            done: tiles that this process has had of it already, for a training that continues; with workers a multiple
                of their number times the batch, so that each of them has given the same.
        """
        self._position.copy_(torch.tensor([epoch, done]))

    def tiles(self, *, epoch: int = 0, workers: int = 1) -> int:
        """Tiles that every process gets in an epoch, with so many workers of a DataLoader in each.

        Raises:
            UsageError: there are fewer shards than processes and workers.
        """
        readers = self.world_size * max(1, workers)
        return max(1, workers) * deal(self.dataset.counts, readers, seed=self.seed, epoch=epoch)[0].tiles

    def __iter__(self) -> Iterator[NoisyPair]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        epoch, done = self._position.tolist()
        if done % workers:
            raise UsageError(
                f"{done} tiles cannot have come from {workers} workers alike; continue with as many as before"
            )
        order = TileOrder(
            self.dataset.counts,
            seed=self.seed,
            reader=self.rank * workers + worker,
            readers=self.world_size * workers,
            group=self.group,
        )
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) * workers
        threads = self.threads or max(1, min(8, usable_cores() // beside))
        for tile in self.dataset.read(order.groups(epoch, done // workers), threads=threads):
            yield self._pair(tile)

    def _pair(self, tile: Tile) -> NoisyPair:
        noisy, clean = pixel_tensor(tile.noisy), pixel_tensor(tile.clean)
        if not self.raw:
            noisy, clean = (in_unit(side, self.dataset.bit_depth) for side in (noisy, clean))
        return NoisyPair(noisy, clean, tile.camera, tile.iso, tile.key)


def _joined() -> tuple[int, int]:
    """Rank and number of the processes that train together."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
