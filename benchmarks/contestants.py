"""What `synthesis.py` compares; each function runs in a process of its own and returns megapixels per second."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from noisegen.conditions import Condition, Vocabulary
from noisegen.devices import synthesis_precision
from noisegen.models import Randomness, checkpoint_of_model, load_noise_model, prepare_for_synthesis
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.sizes import PRESETS
from noisegen.png import encode_png
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.engine import Engine, TileJob, keep_freed_memory, tile_threads
from noisegen.synthesis.memory import peak_resident_bytes
from noisegen.synthesis.threads import usable_cores
from noisegen.tiles import tile_grid

TILE = 256
BATCH = 16
CONDITION = Condition("S6", 800)


def paper_checkpoint(folder: Path) -> Path:
    """A checkpoint of the paper's size; its random weights cost the same as trained ones."""
    torch.manual_seed(0)
    vocabulary = Vocabulary.grid(["GP", "S6"], [100, 800])
    path = folder / "paper.safetensors"
    write_checkpoint(
        path, checkpoint_of_model("nm-flowgan", NMFlowGAN(PRESETS["paper"], vocabulary).eval(), {})
    )
    return path


def operations_per_pixel(source: str | Path) -> float:
    """Multiplications and additions of a model's convolutions in their direct form."""
    from torch.utils.flop_counter import FlopCounterMode

    model = load_noise_model(source)
    clean = torch.zeros(1, model.channels, TILE, TILE)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.steps(clean, model.encode([CONDITION]), Randomness(clean, clean))
    return counter.get_total_flops() / TILE**2


def naive_model(checkpoint: Path, tiles: int) -> float:
    """The eager float32 model, one tile after the other, on all cores by PyTorch's own threads."""
    model = load_noise_model(checkpoint)
    batch = torch.randint(0, 256, (1, 3, TILE, TILE)).float()
    for counted in (1, tiles):
        start = time.perf_counter()
        for _ in range(counted):
            noise = Randomness(torch.randn(batch.shape), torch.rand(batch.shape))
            model.sample(batch, [CONDITION], noise=noise)
    return tiles * TILE**2 / 1e6 / (time.perf_counter() - start)


def naive_loop(checkpoint: Path, photos: list[Path], tiles: int, out: Path) -> float:
    """The same from photographs to PNG files with OpenCV; loading the model is not counted."""
    model = load_noise_model(checkpoint)
    start, done = time.perf_counter(), 0
    while True:
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


def model_alone(source: str | Path, batches: int) -> float:
    """The engine alone, random numbers and model: batches of tiles in memory, all cores."""
    keep_freed_memory()
    model = load_noise_model(source)
    precision = synthesis_precision("auto", "cpu", latent=model.sizes.latent)
    engine = Engine(prepare_for_synthesis(model, device="cpu", precision=precision), device="cpu")
    clean = np.random.default_rng(0).integers(0, 256, (TILE, TILE, 3), dtype=np.uint8)
    tiles = [TileJob(clean, CONDITION, 1, 0, TILE * i) for i in range(BATCH * batches)]
    step = engine.tiles_at_once(TILE)
    jobs = [tiles[start : start + step] for start in range(0, len(tiles), step)]
    with tile_threads(usable_cores()) as pool:
        list(pool.map(engine.run, jobs[: usable_cores()]))
        start = time.perf_counter()
        list(pool.map(engine.run, jobs))
        return len(tiles) * TILE**2 / 1e6 / (time.perf_counter() - start)


def encode_alone(photos: list[Path], tiles: int) -> float:
    """Both PNG files of a tile, all cores; the noisy one has noise of the strength of a phone's."""
    rng = np.random.default_rng(0)
    pairs = []
    while len(pairs) < BATCH:
        picture = cv2.cvtColor(cv2.imread(str(photos[len(pairs) % len(photos)])), cv2.COLOR_BGR2RGB)
        clean = np.ascontiguousarray(picture[:TILE, :TILE])
        pairs.append((clean, (clean + rng.normal(0, 14, clean.shape)).clip(0, 255).astype(np.uint8)))

    def encode(index: int) -> None:
        for picture in pairs[index % BATCH]:
            encode_png(picture)

    with tile_threads(usable_cores()) as pool:
        list(pool.map(encode, range(BATCH)))
        start = time.perf_counter()
        list(pool.map(encode, range(tiles)))
        return tiles * TILE**2 / 1e6 / (time.perf_counter() - start)


def build(manifest: Path, model: str | Path, out: Path) -> float:
    """`build-dataset`, all that a call does included."""
    summary = build_dataset(
        manifest,
        out,
        model=model,
        camera=CONDITION.camera,
        iso=CONDITION.iso,
        allow_outside=True,
        quiet=True,
    )
    if summary.failures:
        raise RuntimeError(f"{summary.failures} rows failed: see {out}/failures.jsonl")
    return summary.megapixels / summary.seconds


def matrix_product(size: int) -> float:
    """Ceiling of the arithmetic: float32 operations per second of PyTorch's matrix product, all cores."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    torch.mm(a, b)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


def measured(run: Callable[..., float], *arguments: Any) -> tuple[float, int]:
    """What `run` returns, and the most memory in bytes that its process has occupied so far."""
    result = run(*arguments)
    return result, peak_resident_bytes()


def in_turns(
    contestants: dict[str, tuple[Executor, Callable[[int], tuple[Any, ...]]]], repeats: int
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Rates and peak memory of each; a busy machine disturbs all alike.

    Args:
        contestants: where to run what; the function and its arguments from the number of the repeat.
        repeats: number of turns.
    """
    rates: dict[str, list[float]] = {title: [] for title in contestants}
    memory: dict[str, int] = {}
    for repeat in range(repeats):
        for title, (process, call) in contestants.items():
            rate, memory[title] = process.submit(measured, *call(repeat)).result()
            rates[title].append(rate)
            print(f"  {repeat + 1}/{repeats} {title}: {rate:.4g}", flush=True)
    return rates, memory
