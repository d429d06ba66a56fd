"""Speed of `build-dataset` and of the models alone, as ratios to a naive loop measured in the same run.

The naive loop is what one would write first: read the photograph, run the eager float32 paper-size model on one
tile, write both PNG files with cv2.imwrite; all cores by PyTorch's own threads.

    python benchmarks/synthesis.py                      photographs that come with scikit-image
    python benchmarks/synthesis.py --photos FOLDER      your own

Contestants run in turns, `--repeats` times, and medians are compared, so that a busy machine disturbs all alike.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from noisegen.conditions import Condition, Vocabulary
from noisegen.devices import resolve_precision
from noisegen.manifest import Manifest
from noisegen.models import (
    Randomness,
    load_noise_model,
    nm_flowgan_checkpoint,
    prepare_for_synthesis,
)
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.nm_flowgan.config import PRESETS
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.engine import Engine, TileJob, keep_freed_memory, tile_threads
from noisegen.synthesis.threads import usable_cores
from noisegen.tiles import tile_grid

TILE = 256
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "retina.jpg", "rocket.jpg")
CONDITION = Condition("S6", 800)


def paper_checkpoint(folder: Path) -> Path:
    """A checkpoint of the paper's size; its random weights cost the same as trained ones."""
    torch.manual_seed(0)
    vocabulary = Vocabulary.grid(["GP", "S6"], [100, 800])
    path = folder / "paper.safetensors"
    write_checkpoint(path, nm_flowgan_checkpoint(NMFlowGAN(PRESETS["paper"], vocabulary).eval(), {}))
    return path


def bundled_photos() -> list[Path]:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise SystemExit("install scikit-image (pip install 'noisegen[demo]') or give --photos FOLDER")
    return [Path(spec.origin).parent / "data" / name for name in PHOTOS]


def naive_loop(checkpoint: Path, photos: list[Path], tiles: int, out: Path) -> float:
    """Megapixels per second of the loop one would write first; loading the model is not counted."""
    model = load_noise_model(checkpoint)
    start, done = time.perf_counter(), 0
    while done < tiles:
        for photo in photos:
            picture = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
            for tile in tile_grid(picture.shape[0], picture.shape[1], TILE):
                clean = picture[tile.y : tile.y + TILE, tile.x : tile.x + TILE]
                batch = torch.from_numpy(clean).permute(2, 0, 1)[None].float()
                noise = Randomness(torch.randn(batch.shape), torch.rand(batch.shape))
                noisy = model.sample(batch, [CONDITION], noise=noise)[0].permute(1, 2, 0).numpy()
                cv2.imwrite(str(out / f"{done}.clean.png"), cv2.cvtColor(clean, cv2.COLOR_RGB2BGR))
                noisy_bgr = cv2.cvtColor(noisy.astype(np.uint8), cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(out / f"{done}.noisy.png"), noisy_bgr)
                done += 1
                if done == tiles:
                    return done * TILE**2 / 1e6 / (time.perf_counter() - start)
    return 0.0


def build(manifest: Path, model: str | Path, out: Path, limit: int | None = None) -> float:
    """Megapixels per second of `build-dataset`, start-up of the process excluded, everything else included."""
    summary = build_dataset(
        manifest,
        out,
        model=model,
        camera=CONDITION.camera,
        iso=CONDITION.iso,
        limit=limit,
        allow_outside=True,
        quiet=True,
    )
    return summary.megapixels / summary.seconds


def model_alone(source: str | Path, tiles: int) -> float:
    """Megapixels per second of the engine alone: random numbers and model, tiles in memory, all cores."""
    precision = resolve_precision("auto", "cpu")
    engine = Engine(
        prepare_for_synthesis(load_noise_model(source), device="cpu", precision=precision), device="cpu"
    )
    clean = np.random.default_rng(0).integers(0, 256, (TILE, TILE, 3), dtype=np.uint8)
    jobs = [[TileJob(clean, CONDITION, 1, 0, TILE * i)] for i in range(tiles)]
    with tile_threads(usable_cores()) as pool:
        list(pool.map(engine.run, jobs[:4]))
        start = time.perf_counter()
        list(pool.map(engine.run, jobs))
        return tiles * TILE**2 / 1e6 / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="folder of photographs instead of scikit-image's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--naive-tiles", type=int, default=16)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    keep_freed_memory()
    photos = (
        bundled_photos()
        if arguments.photos is None
        else sorted(p for p in arguments.photos.iterdir() if p.is_file())
    )
    # In a process of its own, so that it does not profit from how a build sets up memory allocation.
    naive = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with naive, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paper = paper_checkpoint(folder)
        manifest, small = folder / "manifest.parquet", folder / "small.parquet"
        pq.write_table(pa.table({"path": [str(p) for p in photos] * 12}), manifest)
        pq.write_table(pa.table({"path": [str(p) for p in photos] * 2}), small)
        print(
            f"{Manifest.open(manifest, allow_outside=True).num_rows} photographs, {usable_cores()} cores",
            flush=True,
        )
        contestants: dict[str, Callable[[int], float]] = {
            "naive loop, paper size": lambda _: naive.submit(
                naive_loop, paper, photos, arguments.naive_tiles, folder
            ).result(),
            "build-dataset, paper size": lambda n: build(small, paper, folder / f"paper{n}"),
            "build-dataset, embedded": lambda n: build(manifest, "default", folder / f"embedded{n}"),
            "model alone, paper size": lambda _: model_alone(paper, 8),
            "model alone, embedded": lambda _: model_alone("default", 32),
        }
        rates: dict[str, list[float]] = {title: [] for title in contestants}
        for repeat in range(arguments.repeats):
            for title, run in contestants.items():
                rates[title].append(run(repeat))
                print(f"  {repeat + 1}/{arguments.repeats} {title}: {rates[title][-1]:.3f} MP/s", flush=True)
    medians = {title: statistics.median(values) for title, values in rates.items()}
    base = medians["naive loop, paper size"]
    print("\n| | MP/s | ratio to the naive loop |\n|---|---|---|")
    for title, rate in medians.items():
        print(f"| {title} | {rate:.3f} | {rate / base:.1f} |")
    if arguments.json:
        record = {
            "machine": platform.processor() or platform.machine(),
            "cores": usable_cores(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "precision": resolve_precision("auto", "cpu"),
            "torch": torch.__version__,
            "megapixels_per_second": rates,
            "medians": medians,
        }
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
