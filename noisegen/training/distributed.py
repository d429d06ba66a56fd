"""Several processes that train one model: `torchrun --nproc-per-node N -m noisegen train-...`.

Each rank computes its part of the same global batch, and gradients are summed before each optimizer step. This is done
by hand and not by DistributedDataParallel, because that expects one forward pass before each backward pass of a whole
module: here a critic step runs the critic three times and differentiates twice (the gradient penalty), and a generator
step goes through the critic without wanting the critic's gradients.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from noisegen.errors import UsageError

__all__ = ["Ranks", "joined_ranks", "local_device"]

T = TypeVar("T")

# A rank waits this long for the others, which may be loading pictures or be writing a state.
PATIENCE = timedelta(minutes=30)


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; the default is one that trains alone.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This rank's share of `count` items in order."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces each gradient by its sum over the ranks."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, total in zip(gradients, parts, strict=True):
            gradient.copy_(total.view_as(gradient))

    def average_buffers(self, module: nn.Module) -> None:
        """Replaces each floating-point buffer, such as the statistics of batch norms, by its mean over the ranks."""
        if self.size == 1:
            return
        buffers = [values for values in module.buffers() if values.is_floating_point()]
        if not buffers:
            return
        flat = torch.cat([values.flatten() for values in buffers])
        dist.all_reduce(flat)
        parts = (flat / self.size).split([values.numel() for values in buffers])
        for values, mean in zip(buffers, parts, strict=True):
            values.copy_(mean.view_as(values))

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over the ranks."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks in their order."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def first(self, make: Callable[[], T]) -> T:
        """What `make` returns on rank 0; the others do not call it."""
        value: T = self.gather(make() if self.leads else None)[0]
        return value

    def wait(self) -> None:
        """Returns when every rank has come here."""
        self.gather(None)

    def share_weights(self, module: nn.Module) -> None:
        """Gives every rank the weights of rank 0."""
        if self.size > 1:
            for values in module.state_dict().values():
                dist.broadcast(values, 0)


def local_device(device: str) -> str:
    """The CUDA device of this process where torchrun started several on one machine, else `device` itself."""
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device


@contextmanager
def joined_ranks(device: str, batch: int) -> Iterator[Ranks]:
    """Joins the processes that torchrun started (NCCL on CUDA, gloo on the CPU); alone where it did not.

    Args:
        device: where this process trains.
        batch: patches per step, of which each rank needs one or more.

    Raises:
        UsageError: there are more ranks than patches.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    # This module's functions have the process group of the moment of its import as a default. PyTorch's optimizers
    # import it: after the group was made, and then the group's threads live on into the interpreter's end, where one
    # that still holds a tensor aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    ranks = Ranks(dist.get_rank(), dist.get_world_size())
    if ranks.size > batch:
        raise UsageError(
            f"{ranks.size} processes cannot share a batch of {batch}; take fewer, or a larger --batch"
        )
    yield ranks
    # Not after an error: the others would be waited for, while torchrun ends them once this process has ended.
    dist.destroy_process_group()
