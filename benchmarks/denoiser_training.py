"""Speed of denoiser training against the plain float32 NCHW loop, at equal quality.

    python benchmarks/denoiser_training.py pairs.csv

Both train the same DnCNN from the same weights on the same patches for the same number of steps, and are scored on the
split "val". The plain loop is what one writes first: NCHW, float32, eager, batches made between steps. Speed is the
median over the steps after the first few, in turns, and stands as a ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

from noisegen.datasets.pairs import read_pairs
from noisegen.denoising.config import DenoiserConfig
from noisegen.denoising.dncnn import DnCNN
from noisegen.denoising.sources import open_source, parse_source
from noisegen.denoising.steps import Optimisation, learning_rate
from noisegen.denoising.stream import PatchBatch, PatchStream
from noisegen.denoising.validation import DenoiserValidator
from noisegen.devices import resolve_device, resolve_precision
from noisegen.training.distributed import Ranks

FIRST = 3  # steps that do not count


class PlainLoop:
    """The loop without this package's care."""

    def __init__(self, model: DnCNN, config: DenoiserConfig, stream: PatchStream, device: str) -> None:
        self.model, self.config, self.stream, self.device = model.to(device), config, stream, device
        self.optimizer = torch.optim.Adam(model.parameters(), config.learning_rate)

    def steps(self, count: int) -> Iterator[float]:
        for step in range(count):
            start = time.perf_counter()
            batch = self.stream.batch(step)
            noisy, clean = (
                torch.from_numpy(side).permute(0, 3, 1, 2).contiguous().to(self.device).float() / 256
                for side in (batch.noisy, batch.clean)
            )
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.config, step, count)
            loss = F.mse_loss(self.model(noisy), clean)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()
            yield time.perf_counter() - start


class OwnLoop:
    """The loop of `noisegen train-denoiser`."""

    def __init__(self, optimisation: Optimisation, stream: PatchStream) -> None:
        self.optimisation, self.stream = optimisation, stream

    def steps(self, count: int) -> Iterator[float]:
        batches: Iterator[PatchBatch] = self.stream.batches(0, count, workers=1)
        for step in range(count):
            start = time.perf_counter()
            loss = self.optimisation.step(next(batches))
            if self.optimisation.device.type != "cuda" or step % 20 == 0:
                loss.item()
            yield time.perf_counter() - start


def network(config: DenoiserConfig) -> DnCNN:
    torch.manual_seed(config.seed)
    model = DnCNN(3, config.layers, config.width)
    for values in model.body[-1].parameters():
        torch.nn.init.zeros_(values)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", type=Path, help='table with the splits "train" and "val"')
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--layers", type=int, default=18)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    precision = resolve_precision(arguments.precision, device)
    config = DenoiserConfig(
        layers=arguments.layers,
        width=arguments.width,
        steps=arguments.steps,
        batch=arguments.batch,
        patch=arguments.patch,
    )
    source = open_source(parse_source(str(arguments.pairs)), split=None, vocabulary=None)

    def stream() -> PatchStream:
        return PatchStream([source], patch=config.patch, batch=config.batch, seed=0, balance=True)

    plain_model, own_model = network(config), network(config)
    own_model = own_model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimisation = Optimisation(
        own_model,
        config,
        arguments.steps,
        noise_model=None,
        device=device,
        mixed_precision=precision == "bfloat16",
        ranks=Ranks(),
    )
    loops = {
        "plain float32 NCHW": PlainLoop(plain_model, config, stream(), device),
        f"train-denoiser, {precision}": OwnLoop(optimisation, stream()),
    }
    times: dict[str, list[float]] = {name: [] for name in loops}
    running = {name: loop.steps(arguments.steps) for name, loop in loops.items()}
    for _ in range(arguments.steps):
        for name, steps in running.items():
            times[name].append(next(steps))
    validator = DenoiserValidator(
        read_pairs(arguments.pairs, split="val"),
        crop=config.validate_crop,
        channels=3,
        bit_depth=8,
        device=device,
        ranks=Ranks(),
    )
    pixels = config.batch * config.patch**2 / 1e6
    base = None
    print(f"DnCNN {config.layers} x {config.width}, {config.batch} patches of {config.patch}, {device}\n")
    print("| loop | MP/s | ratio | PSNR on val, dB |")
    print("|---|---:|---:|---:|")
    for (name, values), model in zip(times.items(), (plain_model, own_model), strict=True):
        rate = pixels / statistics.median(values[FIRST:])
        base = base or rate
        print(f"| {name} | {rate:.3f} | {rate / base:.2f} | {validator(model, arguments.steps).psnr:.2f} |")


if __name__ == "__main__":
    main()
