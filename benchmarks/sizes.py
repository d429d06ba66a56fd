"""What size buys: bytes, parameters and speed of several checkpoints beside the scores that `eval-noise` gave them.

    noisegen run pipelines/sizes.yaml --set PAIRS=pairs.csv
    python benchmarks/sizes.py runs/sizes

Speed is that of the models alone, one tile of 256 x 256 at a time on one thread, in turns, medians; ratios are to the
paper-size model in its fused form in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from noisegen.conditions import Condition
from noisegen.models import NoiseModel, Randomness, load_noise_model, prepare_for_synthesis
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.sizes import PRESETS

TILE = 256
PAPER = "paper size"


def seconds_per_tile(model: NoiseModel, condition: Condition) -> float:
    """Time of one tile, random numbers ready."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, model.channels, TILE, TILE)
    clean = torch.randint(0, 256, shape, generator=generator).float()
    noise = Randomness(torch.randn(shape, generator=generator), torch.rand(shape, generator=generator))
    start = time.perf_counter()
    model.sample(clean, [condition], noise=noise)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="OUT of pipelines/sizes.yaml")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report = json.loads((arguments.folder / "scores" / "noise.json").read_text())
    means = next(mean for mean in report["means"] if mean["dataset"] == "all")
    files = {name: arguments.folder / f"{name}.safetensors" for name in report["two_sample"]}
    models = {name: load_noise_model(path) for name, path in files.items() if path.exists()}
    condition = next(iter(models.values())).vocabulary.known[0]
    torch.manual_seed(0)
    paper = NMFlowGAN(PRESETS["paper"], next(iter(models.values())).vocabulary).eval()
    runners = {name: prepare_for_synthesis(model, device="cpu") for name, model in models.items()}
    runners[PAPER] = prepare_for_synthesis(paper, device="cpu")
    times: dict[str, list[float]] = {name: [] for name in runners}
    for repeat in range(arguments.repeats + 1):
        for name, model in runners.items():
            taken = seconds_per_tile(model, condition)
            if repeat:
                times[name].append(taken)
    rate = {name: TILE**2 / 1e6 / statistics.median(values) for name, values in times.items()}
    print(
        "| model | MB | parameters | MP/s on one core | ratio to paper size | kld_nm | acf_error | two-sample |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, model in sorted(models.items(), key=lambda item: -rate[item[0]]):
        parameters = sum(p.numel() for p in model.parameters())
        print(
            f"| {name} | {files[name].stat().st_size / 1e6:.2f} | {parameters:,} | {rate[name]:.2f} "
            f"| {rate[name] / rate[PAPER]:.1f} | {means['kld_nm'][name]:.4f} | {means['acf_error'][name]:.4f} "
            f"| {report['two_sample'][name]['accuracy']:.3f} |"
        )
    print(
        f"| {PAPER}, untrained | | {sum(p.numel() for p in paper.parameters()):,} | {rate[PAPER]:.3f} | 1 | | | |"
    )
    draw({name: rate[name] for name in models}, means, report["two_sample"], arguments.folder / "sizes.png")


def draw(
    rate: dict[str, float],
    means: dict[str, dict[str, float]],
    tested: dict[str, dict[str, float]],
    path: Path,
) -> None:
    """Speed against each score."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    scores = {
        "kld_nm": means["kld_nm"],
        "acf_error": means["acf_error"],
        "two-sample accuracy": {name: tested[name]["accuracy"] for name in rate},
    }
    for axes, (title, values) in zip(figure.subplots(1, 3), scores.items(), strict=True):
        for name, speed in rate.items():
            axes.plot(speed, values[name], "o", label=name)
        axes.set(xscale="log", xlabel="MP/s on one core", title=title)
        axes.margins(0.15)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(rate))
    figure.savefig(path, dpi=150)
    print(f"\n{path}")


if __name__ == "__main__":
    main()
