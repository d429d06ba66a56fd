"""What a method costs: how many numbers it draws with, and how fast it draws."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from noisegen.conditions import Condition
from noisegen.models import prepare_for_synthesis
from noisegen.models.protocol import NoiseModel
from noisegen.models.references import WithPool
from noisegen.synthesis.cuda_engine import tiles_at_once
from noisegen.synthesis.engine import tile_threads
from noisegen.synthesis.randomness import batch_randomness

__all__ = ["MethodCost", "draw_rate", "drawing_place", "parameter_count"]


@dataclass(frozen=True)
class MethodCost:
    """What a method costs.

    Attributes:
        parameters: `parameter_count`.
        megapixels_per_second: median over the scored pictures of `draw_rate`; None where there is none.
    """

    parameters: int | None
    megapixels_per_second: float | None


def parameter_count(model: NoiseModel) -> int | None:
    """How many numbers a model draws with: trained weights and fitted tables, without a critic.

    References are not counted. None of a model that is no network, as nothing is known of what it holds.
    """
    network = model.model if isinstance(model, WithPool) else model
    if not isinstance(network, nn.Module):
        return None
    return sum(
        tensor.numel()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and not name.startswith("critic.")
    )


def draw_rate(
    model: NoiseModel, clean: np.ndarray, condition: Condition, *, tile_size: int, device: str
) -> float:
    """How fast a model draws the first tile of a picture, in MP/s, once it has drawn it before.

    It draws in the form that builds have it in, see `noisegen.models.prepare_for_synthesis`, in float32; random numbers
    are ready. On a CPU it is one tile on one thread, and the time is the processor's, so that other programs count
    little. On CUDA it is as many copies of the tile as a batch of `noisegen.synthesis` holds, and the time is until
    the device has finished.

    Args:
        model: on ``device``.
        clean: uint8 or uint16 [H, W, C] of the model's kind.
        condition: camera and ISO, covered by the model.
        tile_size: side of the tile; of a smaller picture all is taken.
        device: "cpu", "cuda" or "cuda:N".
    """
    tile = clean[:tile_size, :tile_size]
    height, width, channels = tile.shape
    count = 1 if device == "cpu" else tiles_at_once(height, width)
    planes = torch.from_numpy(tile.astype(np.float32)).permute(2, 0, 1).contiguous()
    batch = planes.expand(count, -1, -1, -1).contiguous().to(device)
    noise = batch_randomness([0] * count, [0] * count, [0] * count, height, width, channels, device=device)

    prepared = prepare_for_synthesis(model, device=device)

    def draw() -> object:
        with torch.inference_mode():
            return prepared.sample(batch, [condition] * count, noise=noise)

    return count * height * width / 1e6 / _seconds(draw, device)


def drawing_place(device: str, tile_size: int) -> str:
    """Where and how `draw_rate` measures, for people."""
    tile = f"{tile_size} x {tile_size}"
    if device == "cpu":
        return f"one CPU thread ({torch.backends.cpu.get_cpu_capability()}), one tile of {tile} at a time"
    name = torch.cuda.get_device_name(device)
    return f"{name}, {tiles_at_once(tile_size, tile_size)} tiles of {tile} at a time"


def _seconds(draw: Callable[[], object], device: str) -> float:
    """The time of a second call."""
    if device != "cpu":
        draw()
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        draw()
        torch.cuda.synchronize(device)
        return time.perf_counter() - start

    def timed() -> float:
        draw()
        start = time.thread_time()
        draw()
        return time.thread_time() - start

    with tile_threads(1) as pool:
        return pool.submit(timed).result()
