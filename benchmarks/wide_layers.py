"""Time of each layer of the paper-size generator on a CPU, one thread, beside PyTorch's matrix product.

    python benchmarks/wide_layers.py

Arithmetic is counted in the direct form; what transforms, weights and activations cost shows as what is missing to
Winograd's saving (4 for the squares of 4, 5.06 for those of 6). Two tiles at once, least of `--repeats` turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from noisegen.conditions import Vocabulary
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.sizes import PRESETS
from noisegen.models.nm_flowgan.wide_generator import WideGenerator
from noisegen.native.wide import Upsample2x2, WinogradConv3x3
from noisegen.synthesis.engine import keep_freed_memory

TILE, BATCH = 256, 2


def picture(channels: int, side: int) -> Tensor:
    return torch.randn(BATCH, channels, side, side).contiguous(memory_format=torch.channels_last)


def layers(generator: WideGenerator) -> dict[str, tuple[Callable[[], object], float]]:
    """Name -> a call of the layer, and its arithmetic for one tile in the direct form."""
    calls: dict[str, tuple[Callable[[], object], float]] = {}
    deepest = len(generator.down) - 1
    blocks = [(level, generator.down[level], "down") for level in range(deepest + 1)]
    blocks += [(deepest - 1 - index, block, "up") for index, block in enumerate(generator.merge)]
    for level, block, way in blocks:
        side = TILE >> level
        for layer in block:
            x, name = (
                picture(layer.inputs, side),
                f"3x3 {way:4} {layer.inputs:4} -> {layer.outputs:4} at {side}",
            )
            calls[f"{name}, F({layer.m})"] = _call(layer, x), 18.0 * layer.inputs * layer.outputs * side**2
    for index, up in enumerate(generator.up):
        side = TILE >> (deepest - index)
        name = f"2x2 up   {up.inputs:4} -> {up.outputs:4} at {side}"
        calls[name] = _call(up, picture(up.inputs, side)), 8.0 * up.inputs * up.outputs * side**2
    return calls


def _call(layer: WinogradConv3x3 | Upsample2x2, x: Tensor) -> Callable[[], object]:
    return lambda: layer(x)


def least(call: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.thread_time()
        call()
        seconds.append(time.thread_time() - start)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    keep_freed_memory()
    model = NMFlowGAN(PRESETS["paper"], Vocabulary.grid(["A"], [100]))
    assert model.generator is not None
    with torch.inference_mode():
        a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
        ceiling = 2 * 2048**3 / least(lambda: torch.mm(a, b), repeats)
        print(f"matrix product: {ceiling / 1e9:.0f} GFLOP/s\n")
        print(f"{'layer':34} {'ms a tile':>9} {'of matrix product':>18}")
        total = 0.0
        for name, (call, operations) in layers(WideGenerator(model.generator)).items():
            seconds = least(call, repeats) / BATCH
            total += seconds
            print(f"{name:34} {1e3 * seconds:9.2f} {operations / seconds / ceiling:18.0%}", flush=True)
        print(f"{'all':34} {1e3 * total:9.2f}")


if __name__ == "__main__":
    main()
