"""Speed on one CUDA device: models alone and from photographs to shards, beside the eager loop and measured ceilings.

    python benchmarks/on_cuda.py --json cuda.json                photographs that come with scikit-image
    python benchmarks/on_cuda.py --photos FOLDER --json cuda.json

Prints as it goes and takes less than ten minutes on an H200. The eager loop is the float32 model as a module, batches
of the same size, everything already on the device; once with PyTorch's own settings (TF32 in convolutions), once with
float32 as the name says. Rates are medians over `--repeats` turns.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import photographs, write_manifest
from precision import paper_size
from torch import nn

from noisegen.conditions import Condition
from noisegen.models import (
    NoiseModel,
    Randomness,
    checkpoint_of_model,
    load_noise_model,
    prepare_for_synthesis,
)
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.runtime import FusedNMFlowGAN
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.cuda_engine import tiles_at_once
from noisegen.synthesis.cuda_program import BatchProgram
from noisegen.synthesis.engine import Engine, TileJob
from noisegen.synthesis.randomness import tile_places
from noisegen.synthesis.status import dataset_status
from noisegen.synthesis.threads import usable_cores

TILE = 256
BATCH = tiles_at_once(TILE, TILE)
DEVICE = torch.device("cuda:0")


def seconds(work: Callable[[], object], *, warm: int = 3, least: float = 0.5) -> float:
    """Device time of one call, mean over calls for at least so many seconds, after `warm` calls."""
    for _ in range(warm):
        work()
    torch.cuda.synchronize()
    begun, calls = time.perf_counter(), 0
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    while time.perf_counter() - begun < least or calls < 3:
        work()
        calls += 1
        if calls % 8 == 0:
            torch.cuda.synchronize()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / calls


def recorded(work: Callable[[], object]) -> Callable[[], None]:
    """The same work as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        work()
    return graph.replay


def ceilings() -> dict[str, float]:
    """What the device does at best: 16-bit and float32 matrix products, TFLOP/s, and copying, TB/s read and written."""
    found = {}
    side = 8192
    for name, dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16), ("float32", torch.float32)):
        a, b = (torch.randn(side, side, device=DEVICE).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        found[f"{name}_tflops"] = 2 * side**3 / seconds(lambda: torch.mm(a, b, out=out)) / 1e12  # noqa: B023
    source = torch.empty(2**32, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    found["copy_tb_per_s"] = 2 * source.numel() / seconds(lambda: target.copy_(source)) / 1e12
    return found


def network_flops(model: NMFlowGAN, pixels: int) -> float:
    """Floating point operations of the generator for so many pixels, two for each product of a convolution."""
    total = 0.0

    def count(layer: nn.Module, _: Any, out: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        places = layer.kernel_size[0] * layer.kernel_size[1] / layer.stride[0] ** 2
        if isinstance(layer, nn.Conv2d):
            places = layer.kernel_size[0] * layer.kernel_size[1]
        total += 2 * out.numel() * layer.in_channels * places

    generator = model.generator
    assert generator is not None
    layers = [layer for layer in generator.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        generator(torch.zeros(1, model.channels, 64, 64, device=next(generator.parameters()).device))
    for handle in handles:
        handle.remove()
    return total / 64**2 * pixels


def inputs(channels: int) -> tuple[torch.Tensor, Randomness]:
    """A batch on the device."""
    shape = (BATCH, channels, TILE, TILE)
    clean = torch.randint(0, 256, shape, device=DEVICE).float()
    return clean, Randomness(torch.randn(shape, device=DEVICE), torch.rand(shape, device=DEVICE))


def conditions(model: NoiseModel, count: int) -> list[Condition]:
    known = model.vocabulary.known
    return [known[i % len(known)] for i in range(count)]


def eager_rate(model: NMFlowGAN, *, tf32: bool) -> float:
    """Tiles per second of the module itself."""
    torch.backends.cudnn.allow_tf32 = tf32
    clean, noise = inputs(model.channels)
    asked = conditions(model, BATCH)
    try:
        return BATCH / seconds(lambda: model.sample(clean, asked, noise=noise), least=1.0)
    finally:
        torch.backends.cudnn.allow_tf32 = False


def device_rate(model: NoiseModel) -> float:
    """Tiles per second of the device alone: random numbers and model, replayed from graphs."""
    program = BatchProgram(model, (BATCH, TILE, TILE, model.channels, 8), DEVICE, 1.0)
    program.pixels.random_(0, 256)
    program.places.copy_(tile_places(range(BATCH), [0] * BATCH, [0] * BATCH))
    asked = tuple(conditions(model, BATCH))
    program.rows.copy_(model.condition_rows(asked))  # type: ignore[attr-defined]
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        rate = BATCH / seconds(lambda: program.run(asked), warm=5)
    if not program.recorded:
        print("  not recorded as a graph", flush=True)
    return rate


def engine_rate(model: NoiseModel, batches: int) -> float:
    """Tiles per second from memory to memory through `Engine`, by eight threads."""
    engine = Engine(model, device="cuda:0")
    pixels = np.random.default_rng(0).integers(0, 256, (TILE, TILE, 3), dtype=np.uint8)
    asked = conditions(model, BATCH)
    jobs = [TileJob(pixels, condition, 1, 0, TILE * i) for i, condition in enumerate(asked)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(engine.run, [jobs] * 16))
        start = time.perf_counter()
        list(pool.map(engine.run, [jobs] * batches))
        return batches * BATCH / (time.perf_counter() - start)


def models_alone(repeats: int, ceiling: dict[str, float]) -> dict[str, Any]:
    """Rates of both sizes, in turns; peak memory."""
    paper, small = paper_size(10.0).to(DEVICE), load_noise_model(device="cuda:0")
    contestants: dict[str, Callable[[], float]] = {
        "eager loop, paper size, float32": lambda: eager_rate(paper, tf32=False),
        "eager loop, paper size, TF32": lambda: eager_rate(paper, tf32=True),
        "eager loop, embedded, float32": lambda: eager_rate(small, tf32=False),
    }
    networks: dict[str, Callable[[], float]] = {}
    for precision in ("float32", "bfloat16", "float16"):
        fast = prepare_for_synthesis(paper, device="cuda:0", precision=precision)
        assert isinstance(fast, FusedNMFlowGAN)
        contestants[f"device, paper size, {precision}"] = lambda fast=fast: device_rate(fast)  # type: ignore[misc]
        networks[precision] = lambda fast=fast: generator_rate(fast)  # type: ignore[misc]
    half = prepare_for_synthesis(paper, device="cuda:0", precision="float16")
    compact = prepare_for_synthesis(small, device="cuda:0")
    contestants["engine, paper size, float16"] = lambda: engine_rate(half, 60)
    contestants["device, embedded"] = lambda: device_rate(compact)
    contestants["engine, embedded"] = lambda: engine_rate(compact, 300)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    peaks: dict[str, float] = {}
    for turn in range(repeats):
        for name, run in contestants.items():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            rates[name].append(run())
            peaks[name] = torch.cuda.max_memory_allocated() / 2**30
            print(
                f"  {turn + 1}/{repeats} {name}: {rates[name][-1]:.0f} tiles/s, {peaks[name]:.2f} GiB",
                flush=True,
            )
    flops = network_flops(paper, TILE**2)
    generator = {}
    for precision, measure in networks.items():
        rate = statistics.median(measure() for _ in range(repeats))
        generator[precision] = {
            "tiles_per_second": rate,
            "tflops": rate * flops / 1e12,
            "share_of_bfloat16_ceiling": rate * flops / 1e12 / ceiling["bfloat16_tflops"],
        }
        print(f"  generator alone, {precision}: {generator[precision]}", flush=True)
    slowest = {"paper size, float16": kernels(half), "embedded": kernels(compact)}
    for name, found in slowest.items():
        print(f"  {name}, of a batch of {BATCH}:", flush=True)
        for kernel in found:
            print(
                f"    {kernel['milliseconds']:7.3f} ms {kernel['launches']:4} x {kernel['kernel']}",
                flush=True,
            )
    return {
        "kernels": slowest,
        "tiles_per_second": {name: statistics.median(values) for name, values in rates.items()},
        "all": rates,
        "peak_gib": peaks,
        "generator": generator,
        "generator_gflop_per_tile": flops / 1e9,
    }


def generator_rate(fast: FusedNMFlowGAN) -> float:
    """Tiles per second of the generator alone."""
    _, noise = inputs(fast.channels)
    values = noise.normal.mul(10 / 256).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return BATCH / seconds(recorded(lambda: fast.generate(values, values, None)))


def end_to_end(photos: list[Path], folder: Path, tiles: int, repeats: int) -> dict[str, Any]:
    """Photographs in, shards out: tiles per second, and where the threads' time went."""
    paper = folder / "paper.safetensors"
    write_checkpoint(paper, checkpoint_of_model("nm-flowgan", paper_size(10.0), {}))
    found: dict[str, Any] = {}
    for name, model, wanted in (("embedded", "default", tiles), ("paper size", str(paper), tiles // 2)):
        manifest = folder / f"{name}.parquet"
        copies = -(-wanted // (4 * len(photos)))
        write_manifest(manifest, photos * copies)
        rates = []
        for turn in range(repeats):
            out = folder / f"{name} {turn}"
            summary = build_dataset(
                manifest, out, model=model, device="cuda:0", allow_outside=True, quiet=True
            )
            status = dataset_status(out)
            rates.append(summary.tiles / summary.seconds)
            shutil.rmtree(out)
            print(f"  {turn + 1}/{repeats} {name}: {rates[-1]:.0f} tiles/s\n{status.text()}", flush=True)
        found[name] = {
            "tiles": summary.tiles,
            "tiles_per_second": statistics.median(rates),
            "all": rates,
            "stages": status.stages,
            "bottleneck": status.bottleneck,
        }
    return found


def kernels(model: NoiseModel, count: int = 12) -> list[dict[str, Any]]:
    """The kernels that take most of a batch's time on the device: their names, milliseconds and numbers of launches."""
    program = BatchProgram(model, (BATCH, TILE, TILE, model.channels, 8), DEVICE, 1.0)
    asked = tuple(conditions(model, BATCH))
    program.rows.copy_(model.condition_rows(asked))  # type: ignore[attr-defined]
    program.run(asked)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        program.run(asked[::-1])
        torch.cuda.synchronize()
    events = sorted(profile.key_averages(), key=lambda event: -event.self_device_time_total)
    return [
        {
            "kernel": event.key[:100],
            "milliseconds": event.self_device_time_total / 1e3,
            "launches": event.count,
        }
        for event in events[:count]
    ]


def report(record: dict[str, Any]) -> str:
    """Markdown."""
    rates = record["alone"]["tiles_per_second"]
    exact, usual = (rates[f"eager loop, paper size, {kind}"] for kind in ("float32", "TF32"))
    lines = ["", "| | tiles/s | of the eager float32 loop | of it with TF32 |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {rate:.0f} | {rate / exact:.1f} | {rate / usual:.1f} |" for name, rate in rates.items()
    ]
    lines += ["", "| generator, paper size | TFLOP/s | of the bfloat16 ceiling |", "|---|---:|---:|"]
    lines += [
        f"| {precision} | {found['tflops']:.0f} | {found['share_of_bfloat16_ceiling']:.0%} |"
        for precision, found in record["alone"]["generator"].items()
    ]
    lines += ["", "| photographs to shards | tiles/s | limited by |", "|---|---:|---|"]
    lines += [
        f"| {name} | {found['tiles_per_second']:.0f} | {found['bottleneck']} |"
        for name, found in record["end_to_end"].items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="folder of photographs instead of scikit-image's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiles", type=int, default=20_000, help="about so many in a build")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit(
            "this machine has no CUDA device that PyTorch can use; benchmarks/synthesis.py is for CPUs"
        )
    photos = photographs(arguments.photos)
    torch.backends.cudnn.allow_tf32 = False
    record: dict[str, Any] = {
        "device": torch.cuda.get_device_name(DEVICE),
        "cores": usable_cores(),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "batch": BATCH,
        "ceilings": ceilings(),
    }
    print(json.dumps(record, indent=1), flush=True)
    record["alone"] = models_alone(arguments.repeats, record["ceilings"])
    with tempfile.TemporaryDirectory() as name:
        record["end_to_end"] = end_to_end(photos, Path(name), arguments.tiles, arguments.repeats)
    print(report(record))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
