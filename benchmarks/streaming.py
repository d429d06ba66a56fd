"""Tiles a second for a denoiser's training, streamed shard by shard against drawn by random access.

    taskset -c 0 python benchmarks/streaming.py DATASET

DATASET is a folder that `noisegen build-dataset` wrote. Its files are in the system's cache after the first turn, which
does not count, so what is compared is work and not disks. Random access keeps no decoded pictures, as where a dataset
is larger than the memory. Contestants run in turns; the numbers are medians over turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from noisegen.datasets.built import BuiltDataset
from noisegen.datasets.streamed import GROUP, StreamedDataset
from noisegen.datasets.tile_order import TileOrder
from noisegen.denoising.sources import open_source, parse_source
from noisegen.denoising.stream import PatchStream


def patches(text: str, steps: int) -> Callable[[], int]:
    """The patches of a training: one of each tile."""
    source = open_source(parse_source(text), split="", noise_model=None)
    stream = PatchStream([source], patch=64, batch=16, seed=0, balance=False, cache_bytes=0)
    return lambda: sum(len(batch.clean) for batch in stream.batches(0, steps, workers=1))


def random_tiles(dataset: Path) -> Callable[[], int]:
    built = BuiltDataset.open(dataset)
    keys = [built.tiles[i][0] for i in np.random.default_rng(0).permutation(len(built.tiles))]
    return lambda: len([built.load(key)[0].shape for key in keys])


def streamed_tiles(dataset: Path) -> Callable[[], int]:
    streamed = StreamedDataset.open(dataset, "")
    order = TileOrder(streamed.counts, seed=0, reader=0, readers=1, group=GROUP)
    return lambda: sum(1 for _ in streamed.read(order.groups(0), threads=1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    steps = max(1, StreamedDataset.open(arguments.dataset, "").tiles // 16)
    contestants = {
        "tiles, random access": random_tiles(arguments.dataset),
        "tiles, streamed": streamed_tiles(arguments.dataset),
        "patches of train-denoiser, random access": patches(str(arguments.dataset), steps),
        "patches of train-denoiser, streamed": patches(f"stream:{arguments.dataset}", steps),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    counts = {}
    for _ in range(arguments.turns + 1):
        for name, run in contestants.items():
            start = time.process_time()
            counts[name] = run()
            seconds[name].append(time.process_time() - start)
    for name, times in seconds.items():
        print(f"{name:42s} {counts[name] / statistics.median(times[1:]):8.0f} a second of processor time")


if __name__ == "__main__":
    main()
