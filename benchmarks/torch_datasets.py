"""Items a second of the datasets for PyTorch, with and without workers of a DataLoader, and what bounds them.

    python benchmarks/torch_datasets.py DATASET PHOTOS

DATASET is a folder that `noisegen build-dataset` wrote, PHOTOS a folder of clean photographs. Files are in the
system's cache after the first turn, which does not count. Contestants run in turns; the numbers are medians over turns,
for a second of processor time, that of the workers included.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from noisegen import NoisyPairs, SynthesisDataset
from noisegen.datasets.built import BuiltDataset

BATCH, PATCH, CROPS = 32, 64, 8


def processor_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def counted(items: Iterable[object]) -> int:
    return sum(1 for _ in items)


def batches(data: torch.utils.data.Dataset, workers: int) -> Callable[[], int]:
    """All items of a dataset in random order."""
    loader: DataLoader = DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=workers)
    return lambda: sum(len(batch.key) for batch in loader)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    built = BuiltDataset.open(arguments.dataset)
    whole, raw, patches = (
        NoisyPairs(arguments.dataset, split="", **options)
        for options in ({}, {"raw": True}, {"patch": PATCH, "augment": True})
    )
    fresh = SynthesisDataset(arguments.photographs, patch=PATCH, crops=CROPS)
    cut = fresh.clean_patches()
    contestants: dict[str, Callable[[], int]] = {
        "decoding of tiles alone": lambda: counted(built.load(key) for key, _ in built.tiles),
        "NoisyPairs[i], whole tiles": lambda: counted(whole),
        "NoisyPairs[i], raw": lambda: counted(raw),
        f"NoisyPairs[i], patches of {PATCH}": lambda: counted(patches),
        f"SynthesisDataset[i], patches of {PATCH}": lambda: counted(fresh),
        "... without noise": lambda: counted(cut[index] for index in range(len(fresh))),
    }
    for workers in (0, 2):
        for name, data in (
            ("NoisyPairs, whole tiles", whole),
            ("NoisyPairs, raw", raw),
            (f"NoisyPairs, patches of {PATCH}", patches),
            (f"SynthesisDataset, patches of {PATCH}", fresh),
            ("... without noise", cut),
        ):
            contestants[f"{name}, {workers} workers"] = batches(data, workers)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(arguments.turns + 1):
        for name, run in contestants.items():
            start = processor_seconds()
            count = run()
            rates[name].append(count / (processor_seconds() - start))
    for name, found in rates.items():
        print(f"{name:50s} {statistics.median(found[1:]):8.0f} a second")


if __name__ == "__main__":
    main()
