"""Says which batch would have fitted where the memory did not hold one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from noisegen.denoising.steps import Optimisation
from noisegen.denoising.stream import PatchBatch
from noisegen.errors import NoisegenError

__all__ = ["out_of_memory"]

# What PyTorch says on a CPU, where it has no type of its own for it
CPU_MESSAGES = ("can't allocate memory", "not enough memory")


@contextmanager
def out_of_memory(optimisation: Optimisation, batch: PatchBatch) -> Iterator[None]:
    """Turns an allocation that fails while `batch` is computed into an error with the batch that would fit.

    Raises:
        NoisegenError: it failed. Smaller batches were tried, each half of the one before.
    """
    try:
        yield
        return
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
    # outside of the handler, whose traceback holds on to the tensors of the step
    size = len(batch.clean)
    fits = size // 2
    while fits and not _fits(optimisation, batch, fits):
        fits //= 2
    processes = optimisation.ranks.size
    advice = (
        f"--batch {fits * processes} fits"
        if fits
        else "not even one patch fits; choose a smaller --patch, --width or --layers"
    )
    raise NoisegenError(f"out of memory with {size} patches of a step on {optimisation.device}; {advice}")


def _fits(optimisation: Optimisation, batch: PatchBatch, size: int) -> bool:
    synthetic = [row for row in batch.synthetic if row < size]
    part = replace(
        batch,
        noisy=batch.noisy[:size],
        clean=batch.clean[:size],
        synthetic=synthetic,
        conditions=batch.conditions[: len(synthetic)],
    )
    if optimisation.device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        optimisation.measure(part)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
        return False
    return True


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(text in str(error) for text in CPU_MESSAGES)
