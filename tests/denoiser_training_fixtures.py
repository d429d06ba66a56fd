"""Small pictures to train denoisers on, and a recipe of seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from synthesis_fixtures import photograph, save_photograph
from training_fixtures import write_table

from noisegen.denoising.config import DenoiserConfig

# Both are known to the model of `synthesis_fixtures.save_tiny_model`.
CAMERAS = {"one": ("S6", 100), "two": ("N6", 3200)}


def tiny_recipe(**changes: Any) -> DenoiserConfig:
    """A DnCNN of 4 x 6 and a few steps."""
    small = DenoiserConfig(layers=4, width=6, steps=6, batch=3, patch=16, validate_every=2)
    return replace(small, **changes)


def write_pairs(folder: Path, *, std: float = 20.0, splits: bool = True, bits: int = 8) -> Path:
    """pairs.csv of one pair of each camera in each split: a picture of slopes with white noise of `std` levels."""
    rows: dict[str, Any] = {}
    for number, (name, condition) in enumerate(CAMERAS.items()):
        for split in ("train", "val") if splits else ("",):
            label = f"{name}_{split}"
            clean = photograph(40, 56, seed=number + 10 * len(split), bits=bits)
            rng = np.random.default_rng([number, len(split)])
            largest = 2**bits - 1
            noisy = (clean + rng.normal(0, std, clean.shape)).round().clip(0, largest).astype(clean.dtype)
            save_photograph(folder / f"{label}_noisy.png", noisy)
            save_photograph(folder / f"{label}_clean.png", clean)
            rows[label] = (*condition, split) if splits else condition
    return write_table(folder, rows)


def write_manifest(folder: Path) -> Path:
    """manifest.parquet of a photograph with camera and ISO and one without."""
    for number in range(2):
        save_photograph(folder / f"photo{number}.png", photograph(48, 64, seed=20 + number))
    rows = [
        {"path": "photo0.png", "camera": "S6", "iso": 400},
        {"path": "photo1.png", "camera": None, "iso": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    return folder / "manifest.parquet"
