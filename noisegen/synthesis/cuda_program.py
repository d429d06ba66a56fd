"""The work on one batch of tiles, uint8 in and uint8 out, on one CUDA device; recorded as CUDA graphs after a while.

A graph replays kernels at fixed addresses: what changes from batch to batch is copied into the program's own tensors
first. Work that depends on cameras and ISO settings alone is a graph of its own, replayed when they have changed.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch

from noisegen.conditions import Condition
from noisegen.models.protocol import NoiseModel, PreparedModel, Randomness
from noisegen.synthesis.randomness import device_randomness

__all__ = ["BatchKind", "BatchProgram"]

# Batches that run launch by launch before the graphs are recorded: a few tiles are not worth the second it takes.
BATCHES_BEFORE_GRAPH = 3

# Recording begins with handing cached memory back, on all devices, which no other recording may see.
RECORDING = threading.Lock()

# batch, height and width of what the model sees, channels, bits in a channel
BatchKind = tuple[int, int, int, int, int]


class BatchProgram:
    """Makes a batch noisy. All calls come from one stream of the device, one at a time.

    Args:
        model: the noise model, on the device.
        kind: of the batches.
        device: where to run.
        strength: see `NoiseModel.sample`.

    Attributes:
        pixels: the clean tiles, uint8 or (16 bits, as they are) int16 [B, H, W, C], to be written before each `run`.
        places: [B, 4], see `noisegen.synthesis.randomness.tile_places`, likewise.
        rows: [B, 3], see `PreparedModel.condition_rows`, likewise.
        noisy: what `run` makes, as ``pixels``.
        broken: bool [B], whether some value of a tile was no number.
    """

    def __init__(self, model: NoiseModel, kind: BatchKind, device: torch.device, strength: float) -> None:
        batch, height, width, channels, bits = kind
        self._model = model
        self._strength = strength
        self.pixels = torch.zeros(
            (batch, height, width, channels), dtype=torch.uint8 if bits == 8 else torch.int16, device=device
        )
        self.places = torch.zeros((batch, 4), dtype=torch.int64, device=device)
        self.rows = torch.zeros((batch, 3), dtype=torch.float64, device=device)
        self.noisy = torch.empty_like(self.pixels)
        self.broken = torch.zeros(batch, dtype=torch.bool, device=device)
        self._prepared: Any = None
        self._prepared_for: tuple[Condition, ...] | None = None
        self._batches = 0
        self._prepare: Callable[[], None] = self._prepare_eagerly
        self._render: Callable[[], None] = self._render_eagerly
        self.recorded = False

    @torch.inference_mode()
    def run(self, conditions: tuple[Condition, ...]) -> None:
        """Turns `pixels` into `noisy` on the current stream, for the conditions that `rows` stands for.

        Raises:
            torch.OutOfMemoryError: the device's memory does not hold the batch.
        """
        model = self._model
        if not isinstance(model, PreparedModel):
            clean, noise = self._inputs()
            self._put(model.sample(clean, conditions, noise=noise, strength=self._strength))
            return
        self._batches += 1
        # Libraries make their handles at a thread's first call, which cannot be recorded: so the thread that will
        # record runs everything once.
        recording = self.pixels.is_cuda and self._batches == BATCHES_BEFORE_GRAPH
        if recording or conditions != self._prepared_for:
            # should it fail halfway
            self._prepared_for = None
            self._prepare()
            self._prepared_for = conditions
        self._render()
        if recording:
            self._record()

    def _prepare_eagerly(self) -> None:
        assert isinstance(self._model, PreparedModel)
        self._prepared = self._model.prepare(self.rows, self._strength)

    def _render_eagerly(self) -> None:
        assert isinstance(self._model, PreparedModel)
        clean, noise = self._inputs()
        self._put(self._model.render(clean, noise, self._prepared))

    def _inputs(self) -> tuple[torch.Tensor, Randomness]:
        _, height, width, channels = self.pixels.shape
        values = self.pixels.permute(0, 3, 1, 2)
        if self.pixels.dtype == torch.int16:
            values = values.int().bitwise_and_(0xFFFF)
        clean = values.float().contiguous()
        return clean, device_randomness(self.places, height, width, channels)

    def _put(self, noisy: torch.Tensor) -> None:
        self.broken.copy_(noisy.isnan().flatten(1).any(dim=1))
        values = noisy.permute(0, 2, 3, 1)
        # numbers above 2**15 as the negative ones that have the same 16 bits
        self.noisy.copy_(values if self.noisy.dtype == torch.uint8 else values.int().short())

    def _record(self) -> None:
        """Records both graphs; where that fails, goes on launch by launch."""
        graphs = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream(self.pixels.device)
        kept = self._prepared
        try:
            for graph, work in zip(graphs, (self._prepare_eagerly, self._render_eagerly), strict=True):
                # other threads may copy and wait meanwhile
                with RECORDING, torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    work()
        except RuntimeError as error:
            self._prepared = kept
            warnings.warn(f"slower without CUDA graphs: {error}", stacklevel=2)
            return
        self._prepare, self._render = graphs[0].replay, graphs[1].replay
        # recorded, but not computed yet
        self._prepared_for = None
        self.recorded = True
