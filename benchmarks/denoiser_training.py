"""Speed of denoiser training against the plain float32 NCHW loop, and the quality that both reach.

    python benchmarks/denoiser_training.py pairs.csv

Three trainings of one DnCNN on the same patches in the same order, scored on the split "val":

- the plain loop, as one writes it first: NCHW, float32, eager, batches made between steps, PyTorch's random start;
- the loop of `train-denoiser` from the same start, for the same number of steps: what the arithmetic gains;
- the compact recipe of `train-denoiser` (which starts as the identity and averages weights) for --share of the steps:
  what a user gains.

Steps are taken in turns. Seconds are medians over steps times their number; ratios are to the plain loop.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from noisegen.datasets.pairs import read_pairs
from noisegen.denoising.config import DenoiserConfig
from noisegen.denoising.dncnn import DnCNN
from noisegen.denoising.sources import Source, open_source, parse_source
from noisegen.denoising.steps import Optimisation, learning_rate
from noisegen.denoising.stream import PatchStream
from noisegen.denoising.validation import DenoiserValidator
from noisegen.devices import resolve_device, resolve_precision
from noisegen.training.averaging import update_average
from noisegen.training.distributed import Ranks


@dataclass
class Training:
    """One of the trainings; `model` is what is scored in the end."""

    name: str
    model: DnCNN
    steps: Iterator[float]
    count: int
    times: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return statistics.median(self.times) * self.count


def patches(source: Source, config: DenoiserConfig) -> PatchStream:
    return PatchStream([source], patch=config.patch, batch=config.batch, seed=0, balance=config.balance)


def network(config: DenoiserConfig) -> DnCNN:
    torch.manual_seed(config.seed)
    return DnCNN(3, config.layers, config.width)


def plain(model: DnCNN, config: DenoiserConfig, source: Source, count: int, device: str) -> Iterator[float]:
    """The loop without this package's care; yields the seconds of each step."""
    stream = patches(source, config)
    optimizer = torch.optim.Adam(model.parameters(), config.learning_rate)
    for step in range(count):
        start = time.perf_counter()
        batch = stream.batch(step)
        noisy, clean = (
            torch.from_numpy(side).permute(0, 3, 1, 2).contiguous().to(device).float() / 256
            for side in (batch.noisy, batch.clean)
        )
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step, count)
        loss = F.mse_loss(model(noisy), clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        yield time.perf_counter() - start


def own(
    model: DnCNN,
    average: DnCNN | None,
    config: DenoiserConfig,
    source: Source,
    count: int,
    device: str,
    precision: str,
) -> Iterator[float]:
    """The loop of `noisegen train-denoiser`."""
    optimisation = Optimisation(
        model,
        config,
        count,
        noise_model=None,
        device=device,
        mixed_precision=precision == "bfloat16",
        ranks=Ranks(),
    )
    batches = patches(source, config).batches(0, count, workers=1)
    for step in range(count):
        start = time.perf_counter()
        loss = optimisation.step(next(batches))
        if average is not None:
            update_average(average, model, config.ema, step)
        if device == "cpu" or step % 20 == 0:
            loss.tolist()
        yield time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", type=Path, help='table with the splits "train" and "val"')
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    precision = resolve_precision(arguments.precision, device)
    count = arguments.steps
    config = DenoiserConfig(layers=arguments.layers, width=arguments.width, patch=arguments.patch)
    source = open_source(parse_source(str(arguments.pairs)), split=None, noise_model=None)

    trainings = []
    model = network(config).to(device)
    trainings.append(
        Training("plain float32 NCHW loop", model, plain(model, config, source, count, device), count)
    )
    for name, identity, steps in (
        ("train-denoiser's loop", False, count),
        ("train-denoiser, compact recipe", True, round(arguments.share * count)),
    ):
        model = network(config).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = None
        if identity:
            for values in model.body[-1].parameters():
                nn.init.zeros_(values)
            average = network(config).to(device)
            average.load_state_dict(model.state_dict())
        loop = own(model, average, config, source, steps, device, precision)
        trainings.append(Training(f"{name}, {precision}", average or model, loop, steps))
    for step in range(count):
        for training in trainings:
            if step < training.count:
                training.times.append(next(training.steps))

    validator = DenoiserValidator(
        read_pairs(arguments.pairs, split="val"),
        crop=config.validate_crop,
        channels=3,
        bit_depth=8,
        device=device,
        ranks=Ranks(),
    )
    print(f"DnCNN {config.layers} x {config.width}, {config.batch} patches of {config.patch}, {device}\n")
    print("| training | steps | MP/s | ratio | time, ratio | PSNR on val, dB |")
    print("|---|---:|---:|---:|---:|---:|")
    first = trainings[0]
    for training in trainings:
        rate = config.batch * config.patch**2 / 1e6 * training.count / training.seconds
        speed = first.seconds / first.count * training.count / training.seconds
        print(
            f"| {training.name} | {training.count} | {rate:.3f} | {speed:.2f} "
            f"| {training.seconds / first.seconds:.2f} | {validator(training.model, count).psnr:.2f} |"
        )


if __name__ == "__main__":
    main()
