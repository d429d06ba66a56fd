"""The CUDA half of `noisegen.synthesis.engine`: batches of one size on one or several devices, several in flight.

Each device computes one batch at a time, in one stream, while the batches before and after it are copied out of and
into pinned memory in streams of their own. Threads of the host wait for events, without Python's lock.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from noisegen.conditions import Condition
from noisegen.errors import NoisegenError
from noisegen.models.protocol import NoiseModel, PreparedModel
from noisegen.synthesis.cuda_program import BatchKind, BatchProgram
from noisegen.synthesis.jobs import TileJob, no_numbers
from noisegen.synthesis.randomness import tile_places

__all__ = ["CudaEngine", "tiles_at_once"]

# Kernels are chosen by the size of a batch, and the last bits depend on the kernel: so the size is a function of the
# tile's alone. Of 256 x 256 pixels a batch has 16.
BATCH_PIXELS = 1 << 20
MOST_TILES = 64
# Batches in flight on each device: one being copied in, one computed, one copied out.
SLOTS = 3


def tiles_at_once(height: int, width: int) -> int:
    """The number of tiles, of so many pixels without a halo, in a batch on a CUDA device."""
    return max(1, min(MOST_TILES, BATCH_PIXELS // (height * width)))


class CudaEngine:
    """A noise model on one or several CUDA devices. `run` may be called from several threads at once.

    Args:
        models: the same model on each device.
        strength: of the noise.
    """

    def __init__(self, models: Mapping[torch.device, NoiseModel], strength: float) -> None:
        # The same algorithms each time, and float32 is to mean float32, as on a CPU. These hold for the process.
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        matrices = torch.backends.cuda.matmul
        matrices.allow_tf32 = False
        matrices.allow_fp16_reduced_precision_reduction = False
        matrices.allow_bf16_reduced_precision_reduction = False
        self._free: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        workplaces = [_Device(_numbered(device), model, strength) for device, model in models.items()]
        # in turns, so that all devices have work before one has several batches
        for _ in range(SLOTS):
            for workplace in workplaces:
                self._free.put(_Slot(workplace))

    def run(self, jobs: Sequence[TileJob]) -> list[np.ndarray]:
        """The noisy tiles, with the order, shape and type of the clean ones, which share one size.

        Raises:
            NoisegenError: the device's memory does not hold a batch, or the model gave values that are no numbers.
        """
        noisy: list[np.ndarray] = []
        step = tiles_at_once(*jobs[0].tile.shape[:2]) if jobs else 1
        for start in range(0, len(jobs), step):
            slot = self._free.get()
            try:
                noisy += slot.run(jobs[start : start + step], step)
            finally:
                self._free.put(slot)
        return noisy


class _Device:
    """A device with its model and programs."""

    def __init__(self, device: torch.device, model: NoiseModel, strength: float) -> None:
        self.device = device
        self.model = model
        self.strength = strength
        self.stream = torch.cuda.Stream(device)
        self.lock = threading.Lock()
        self.programs: dict[BatchKind, BatchProgram] = {}

    @contextmanager
    def computing(self, kind: BatchKind) -> Iterator[BatchProgram]:
        """The program for such batches, for one thread at a time, its stream being the current one.

        Raises:
            NoisegenError: the device's memory does not hold such a batch.
        """
        with self.lock, torch.cuda.stream(self.stream):
            try:
                if kind not in self.programs:
                    self.programs[kind] = BatchProgram(self.model, kind, self.device, self.strength)
                yield self.programs[kind]
            except torch.OutOfMemoryError as error:
                batch, height, width, *_ = kind
                raise NoisegenError(
                    f"the memory of {self.device} does not hold a batch of {batch} tiles of {width}x{height} pixels; "
                    "use a smaller --tile-size, end other programs on this GPU, or use --device cpu "
                    f"({str(error).splitlines()[0]})"
                ) from error


class _Slot:
    """Room for one batch on its way to a device and back."""

    def __init__(self, workplace: _Device) -> None:
        self._workplace = workplace
        self._stream = torch.cuda.Stream(workplace.device)
        self._buffers: dict[BatchKind, _Buffers] = {}

    @torch.inference_mode()
    def run(self, jobs: Sequence[TileJob], batch: int) -> list[np.ndarray]:
        """The noisy tiles of up to `batch` jobs."""
        height, width, channels = jobs[0].clean.shape
        kind = (batch, height, width, channels, 8 * jobs[0].clean.dtype.itemsize)
        workplace, copies = self._workplace, self._stream
        with workplace.computing(kind) as program:
            if kind not in self._buffers:
                self._buffers[kind] = _Buffers(program, workplace.model)
                # made in this stream, used in others
                workplace.stream.synchronize()
        buffers = self._buffers[kind]
        conditions = buffers.fill(jobs)
        with torch.cuda.stream(copies):
            buffers.to_device()
            buffers.arrived.record(copies)
        with workplace.computing(kind) as program:
            workplace.stream.wait_event(buffers.arrived)
            buffers.into(program)
            program.run(conditions)
            buffers.out_of(program)
            buffers.computed.record(workplace.stream)
        with torch.cuda.stream(copies):
            copies.wait_event(buffers.computed)
            buffers.to_host()
            buffers.returned.record(copies)
        buffers.returned.synchronize()
        return buffers.tiles(jobs)


class _Buffers:
    """A batch's inputs and outputs in pinned memory and on the device, apart from the program's own."""

    def __init__(self, program: BatchProgram, model: NoiseModel) -> None:
        self._model = model if isinstance(model, PreparedModel) else None
        self._conditions: tuple[Condition, ...] | None = None
        inputs = program.pixels, program.places, program.rows
        outputs = program.noisy, program.broken
        self._inputs = [torch.empty_like(tensor) for tensor in inputs]
        self._outputs = [torch.empty_like(tensor) for tensor in outputs]
        self._host_inputs = [_pinned_like(tensor) for tensor in inputs]
        self._host_outputs = [_pinned_like(tensor) for tensor in outputs]
        self.arrived = torch.cuda.Event()
        self.computed = torch.cuda.Event()
        # the thread that waits for it sleeps
        self.returned = torch.cuda.Event(blocking=True)

    def fill(self, jobs: Sequence[TileJob]) -> tuple[Condition, ...]:
        """Puts the jobs into pinned memory, the last one repeated; their conditions.

        Raises:
            InputError: the model does not cover a condition.
        """
        pixels, places, rows = self._host_inputs
        padded = [*jobs, *[jobs[-1]] * (len(pixels) - len(jobs))]
        conditions = tuple(job.condition for job in padded)
        if self._model is not None and conditions != self._conditions:
            rows.copy_(self._model.condition_rows(conditions))
            self._conditions = conditions
        room = pixels.numpy()
        for index, job in enumerate(padded):
            room[index] = job.clean.view(room.dtype)
        places.copy_(tile_places([j.key for j in padded], [j.y for j in padded], [j.x for j in padded]))
        return conditions

    def to_device(self) -> None:
        """Begins to copy what `fill` has put there."""
        for inside, outside in zip(self._inputs, self._host_inputs, strict=True):
            inside.copy_(outside, non_blocking=True)

    def into(self, program: BatchProgram) -> None:
        """Hands the inputs to the program."""
        for target, inside in zip((program.pixels, program.places, program.rows), self._inputs, strict=True):
            target.copy_(inside)

    def out_of(self, program: BatchProgram) -> None:
        """Takes the outputs from the program."""
        for inside, source in zip(self._outputs, (program.noisy, program.broken), strict=True):
            inside.copy_(source)

    def to_host(self) -> None:
        """Begins to copy the outputs into pinned memory."""
        for outside, inside in zip(self._host_outputs, self._outputs, strict=True):
            outside.copy_(inside, non_blocking=True)

    def tiles(self, jobs: Sequence[TileJob]) -> list[np.ndarray]:
        """The noisy tiles, once they have returned.

        Raises:
            NoisegenError: some value was no number.
        """
        noisy, broken = self._host_outputs
        if broken[: len(jobs)].any():
            raise no_numbers()
        pictures = noisy.numpy()
        return [pictures[i][job.inner].copy().view(job.clean.dtype) for i, job in enumerate(jobs)]


def _numbered(device: torch.device) -> torch.device:
    """The device itself, where "cuda" stands for this thread's current one."""
    return device if device.index is not None else torch.device("cuda", torch.cuda.current_device())


def _pinned_like(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
