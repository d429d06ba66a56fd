"""What `--halo` costs and mends, and what `--strength` does to the deviation of the noise; embedded model, CPU.

    python benchmarks/halo_and_strength.py

Printed for each halo: processor time of a tile relative to none (medians of tiles made in turns); the share of pixels
that differ when a photograph is cut into tiles of 160 instead of 256 pixels; the correlation of horizontal neighbours
across the seams of 256-pixel tiles, and elsewhere. For each strength: the noise's deviation relative to strength 1.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from noisegen.conditions import Condition
from noisegen.images import read_image
from noisegen.models import NoiseModel, load_noise_model, prepare_for_synthesis
from noisegen.synthesis.engine import Engine, keep_freed_memory, synthesize

TILE = 256
HALOS = (0, 4, 8, 16)
STRENGTHS = (0.25, 0.5, 2.0, 3.0)
PHOTOS = ("astronaut.png", "coffee.png", "rocket.jpg")
CONDITION = Condition("S6", 800)
CONDITIONS = (Condition("Canon80D", 12800), CONDITION, Condition("GP", 10000))
REPEATS = 25


def noise_of(
    model: NoiseModel,
    clean: np.ndarray,
    condition: Condition = CONDITION,
    *,
    tile_size: int = TILE,
    halo: int = 0,
    strength: float = 1.0,
) -> np.ndarray:
    """noisy - clean of a whole photograph."""
    noisy = synthesize(
        model,
        clean,
        condition,
        seed=0,
        image_id="photo",
        tile_size=tile_size,
        halo=halo,
        strength=strength,
    )
    return noisy.astype(np.int64) - clean


def tile_seconds(model: NoiseModel, clean: np.ndarray) -> dict[int, float]:
    """Median processor time of one tile by halo, on one thread."""
    torch.set_num_threads(1)
    engines = {halo: Engine(model, halo=halo) for halo in HALOS}
    seconds: dict[int, list[float]] = {halo: [] for halo in HALOS}
    for _ in range(REPEATS):
        for halo, engine in engines.items():
            started = time.process_time()
            engine.run([engine.job(clean, 64, 64, TILE, TILE, CONDITION, 0)])
            seconds[halo].append(time.process_time() - started)
    return {halo: statistics.median(values) for halo, values in seconds.items()}


def beside(noise: np.ndarray, columns: list[int]) -> float:
    """Mean correlation of the noise in these columns with that in the columns to their left."""
    pairs = ((noise[:, column - 1].ravel(), noise[:, column].ravel()) for column in columns)
    return float(np.mean([np.corrcoef(left, right)[0, 1] for left, right in pairs]))


def main() -> None:
    spec = importlib.util.find_spec("skimage")
    assert spec is not None and spec.origin is not None
    photos = [read_image(Path(spec.origin).parent / "data" / name) for name in PHOTOS]
    keep_freed_memory()
    model = prepare_for_synthesis(load_noise_model(), device="cpu")
    seconds = tile_seconds(model, photos[0])
    print("halo  time  pixels that differ  correlation at seams  elsewhere")
    for halo in HALOS:
        differ, seams, elsewhere = [], [], []
        for clean in photos:
            noise = noise_of(model, clean, halo=halo)
            differ.append(np.mean(noise != noise_of(model, clean, tile_size=160, halo=halo)))
            starts = list(range(TILE, clean.shape[1] - TILE + 1, TILE))
            seams.append(beside(noise, starts))
            # of the same parity: the mosaic makes even and odd columns different
            others = [c for c in range(TILE // 2, clean.shape[1], TILE // 4) if c % TILE]
            elsewhere.append(beside(noise, others))
        ratio = seconds[halo] / seconds[0]
        print(
            f"{halo:4}  {ratio:4.2f}  {np.mean(differ):18.2%}  {np.mean(seams):20.2f}  {np.mean(elsewhere):9.2f}"
        )
    print("\nstrength  " + "  ".join(f"{c.camera} {c.iso}" for c in CONDITIONS))
    base = [np.mean([noise_of(model, clean, c).std() for clean in photos]) for c in CONDITIONS]
    for strength in STRENGTHS:
        stds = [
            np.mean([noise_of(model, clean, c, strength=strength).std() for clean in photos])
            for c in CONDITIONS
        ]
        ratios = (f"{std / usual:.2f}" for std, usual in zip(stds, base, strict=True))
        print(f"{strength:8}  " + "  ".join(ratios))


if __name__ == "__main__":
    main()
