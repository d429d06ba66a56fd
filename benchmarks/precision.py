"""What 16-bit arithmetic changes of the noise: each precision against float32, the same random numbers.

    python benchmarks/precision.py --photos FOLDER
    python benchmarks/precision.py --photos FOLDER --model mine.safetensors --device cuda --json precision.json

The bounds: 0.25 grey levels root mean square, no value off by more than two, and standard deviation, autocorrelation
and KLD moved by less than 1 %. Published weights are not at hand everywhere, so a paper-size model of random weights
stands for them, whose generator adds noise of 10, and of 30, grey levels to pixel-wise noise of 10. The KLD is that to
noise of the same model, drawn anew and 20 % stronger.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from noisegen.conditions import Condition, Vocabulary
from noisegen.evaluation.histogram_metrics import kld_nm
from noisegen.evaluation.structure_metrics import autocorrelation
from noisegen.images import read_image
from noisegen.models import load_noise_model, prepare_for_synthesis
from noisegen.models.nm_flowgan.layers import ConditionalLinear, SignalDependent, StructureAware
from noisegen.models.nm_flowgan.model import PUBLISHED_UNIT, NMFlowGAN
from noisegen.models.nm_flowgan.sizes import PRESETS
from noisegen.synthesis.engine import Engine, TileJob, tile_threads
from noisegen.synthesis.threads import usable_cores
from noisegen.tiles import tile_grid

PRECISIONS = ("bfloat16", "float16")
PIXEL_NOISE = 10.0
STRONGER = 1.2
VOCABULARY = Vocabulary.grid(["GP", "S6"], [100, 800])


@dataclass(frozen=True)
class Change:
    """What a precision changes, against float32.

    Attributes:
        rms, largest: of the differences, grey levels.
        differing: share of the values that differ.
        noise_std: of the exact noise, grey levels.
        std_moved, kld_moved: relative.
        acf_moved: largest change of an autocorrelation, of which 1 is that at lag 0.
    """

    model: str
    precision: str
    rms: float
    largest: int
    differing: float
    noise_std: float
    std_moved: float
    acf_moved: float
    kld_moved: float

    @property
    def within(self) -> bool:
        """Whether all bounds are kept."""
        moved = max(self.std_moved, self.acf_moved, self.kld_moved)
        return self.rms <= 0.25 and self.largest <= 2 and moved < 0.01


def paper_size(correction: float, width: int = PRESETS["paper"].unet_width) -> NMFlowGAN:
    """A paper-size model of random weights whose noise is as strong as a camera's.

    Args:
        correction: standard deviation of what the generator adds, grey levels.
        width: channels of the generator's first level.
    """
    torch.manual_seed(0)
    config = PRESETS["paper"]
    model = NMFlowGAN(type(config)(**(config.to_dict() | {"unet_width": width})), VOCABULARY).eval()
    generator = model.generator
    assert generator is not None and generator.last.bias is not None
    with torch.no_grad():
        for layer in model.flow.layers:
            if isinstance(layer, ConditionalLinear):
                layer.log_scale.fill_(math.log(config.levels / PIXEL_NOISE) / config.flow_blocks)
            elif isinstance(layer, SignalDependent | StructureAware):
                # log-scales first, then biases, which are in units of 256 grey levels
                last = layer.body.get_submodule(str(len(layer.body) - 2))
                for values in last.parameters():
                    values[: config.channels] *= 0.2
                    values[config.channels :] *= 0.02
        for name, values in generator.named_parameters():
            if name.endswith("bias"):
                # untrained ones would be most of what the layers compute
                values.zero_()
        noise = torch.randn(1, 3, 128, 128) * PIXEL_NOISE / PUBLISHED_UNIT
        added = generator(noise) - noise
        mean = added.mean(dim=(0, 2, 3))
        scale = correction / PUBLISHED_UNIT / (added - mean[:, None, None]).std()
        generator.last.weight.mul_(scale)
        generator.last.bias.copy_(-scale * mean)
    return model


def draw(
    model: NMFlowGAN,
    clean: list[np.ndarray],
    device: str,
    precision: str,
    *,
    key: int = 1,
    scale: float = 1.0,
) -> list[np.ndarray]:
    """The noise of each tile, each with the next of the model's conditions."""
    fast = prepare_for_synthesis(model, device=device, precision=precision)
    engine = Engine(fast, device=device, strength=scale)
    known: tuple[Condition, ...] = model.vocabulary.known
    jobs = [TileJob(tile, known[i % len(known)], key, 0, 4096 * i) for i, tile in enumerate(clean)]
    groups = [jobs] if engine.device.type == "cuda" else [[job] for job in jobs]
    with tile_threads(usable_cores()) as pool:
        noisy = [tile for group in pool.map(engine.run, groups) for tile in group]
    return [tile.astype(np.int64) - job.clean for tile, job in zip(noisy, jobs, strict=True)]


def changes(name: str, model: NMFlowGAN, clean: list[np.ndarray], device: str) -> list[Change]:
    """Each precision against float32."""
    exact = np.stack(draw(model, clean, device, "float32"))
    other = np.stack(draw(model, clean, device, "float32", key=2, scale=STRONGER))
    unit = 2.0 ** (model.bit_depth - 8)
    found = []
    for precision in PRECISIONS:
        noise = np.stack(draw(model, clean, device, precision))
        difference = noise - exact
        correlations = [
            np.mean([autocorrelation(tile) for tile in tiles], axis=0) for tiles in (exact, noise)
        ]
        klds = [kld_nm(other / unit, tiles / unit) for tiles in (exact, noise)]
        found.append(
            Change(
                name,
                precision,
                rms=float(np.sqrt(np.square(difference).mean()) / unit),
                largest=int(np.abs(difference).max() / unit),
                differing=float((difference != 0).mean()),
                noise_std=float(exact.std() / unit),
                std_moved=float(abs(noise.std() / exact.std() - 1)),
                acf_moved=float(np.abs(correlations[1] - correlations[0]).max()),
                kld_moved=float(abs(klds[1] / klds[0] - 1)),
            )
        )
    return found


def tiles_of(folder: Path, count: int, side: int) -> list[np.ndarray]:
    """The middle of each of some RGB photographs."""
    tiles: list[np.ndarray] = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif")):
        picture = read_image(path)
        if picture.dtype != np.uint8 or picture.shape[2] != 3 or min(picture.shape[:2]) < side:
            continue
        grid = tile_grid(picture.shape[0], picture.shape[1], side)
        place = grid[len(grid) // 2]
        tiles.append(picture[place.y : place.y + side, place.x : place.x + side])
        if len(tiles) == count:
            break
    if not tiles:
        raise SystemExit(f"{folder} holds no RGB photograph of {side} pixels and more")
    return tiles


def table(found: list[Change]) -> str:
    """Markdown."""
    lines = [
        "| model | precision | RMS | largest | differing | noise std | std | autocorrelation | KLD | within bounds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {c.model} | {c.precision} | {c.rms:.3f} | {c.largest} | {c.differing:.2%} | {c.noise_std:.1f} | "
        f"{c.std_moved:.3%} | {c.acf_moved:.3%} | {c.kld_moved:.3%} | {'yes' if c.within else '**no**'} |"
        for c in found
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    parser.add_argument(
        "--model", action="append", default=[], type=Path, help="a checkpoint; may be repeated"
    )
    parser.add_argument("--tiles", type=int, default=8)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    clean = tiles_of(arguments.photos, arguments.tiles, arguments.side)
    models = {"embedded": load_noise_model()}
    models |= {path.stem: load_noise_model(path) for path in arguments.model}
    models |= {f"paper size, random, generator adds {std:g}": paper_size(std) for std in (10.0, 30.0)}
    found = []
    for name, model in models.items():
        found += changes(name, model, clean, arguments.device)
        print(f"{name} done", flush=True)
    print("\n" + table(found))
    if arguments.json:
        record = {
            "device": torch.cuda.get_device_name() if arguments.device != "cpu" else "cpu",
            "torch": torch.__version__,
            "tiles": len(clean),
            "side": arguments.side,
            "changes": [asdict(change) | {"within": change.within} for change in found],
        }
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
