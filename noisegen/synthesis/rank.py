"""Which shards of a build this process makes, when several processes, on any machines, share one build.

There is no coordinator: every process knows its share from its number and how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import xxhash

from noisegen.errors import UsageError
from noisegen.synthesis.shards import Shard

__all__ = ["Rank", "resolve_rank"]


@dataclass(frozen=True)
class Rank:
    """This process among those that share a build; the default is one that builds alone.

    Attributes:
        number: of this process, from 0.
        size: number of processes.
    """

    number: int = 0
    size: int = 1

    @property
    def alone(self) -> bool:
        return self.size == 1

    @property
    def name(self) -> str:
        """For names of files."""
        return f"{self.number}-of-{self.size}"

    def owns(self, shard: Shard) -> bool:
        """Whether this process makes the shard.

        Of each run of ``size`` shards every rank has one. Which one is turned around from run to run, differently for
        each size, so that what one rank of a killed job has left is spread over all ranks of a job of another size.
        """
        run = shard.index // self.size
        turn = xxhash.xxh3_64_intdigest(f"{self.size}/{run}".encode())
        return (shard.index + turn) % self.size == self.number

    def share(self, shards: Sequence[Shard]) -> Sequence[Shard]:
        """The shards that this process makes, in their order."""
        return shards if self.alone else [shard for shard in shards if self.owns(shard)]


@dataclass(frozen=True)
class _Scheduler:
    """How a batch system tells a process its number and their count."""

    name: str
    number: str
    count: str


_SCHEDULERS = (
    _Scheduler("Kubernetes", "JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
    _Scheduler("AWS Batch", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    _Scheduler("Google Batch", "BATCH_TASK_INDEX", "BATCH_TASK_COUNT"),
    _Scheduler("torchrun", "RANK", "WORLD_SIZE"),
)
_BY_HAND = "give --rank and --world-size"


def resolve_rank(
    rank: int | None, world_size: int | None, environment: Mapping[str, str] = os.environ
) -> Rank:
    """The rank that was given, or the one that the batch system has put into the environment; alone without either.

    Args:
        rank: given number, from 0; None to take it from the environment.
        world_size: given number of processes; None likewise. With one of 1, the environment is not looked at.
        environment: variables of Slurm arrays, Kubernetes Indexed Jobs, AWS Batch and Google Batch arrays, torchrun.

    Raises:
        UsageError: the numbers do not make sense, are incomplete, or two systems say different things.
    """
    if world_size is not None and world_size < 1:
        raise UsageError(f"world-size must be at least 1, not {world_size}")
    if rank is None and world_size == 1:
        return Rank()
    if rank is None:
        return _from_environment(environment, world_size)
    if world_size is None:
        raise UsageError(f"--rank {rank} says nothing without the number of processes; give --world-size too")
    return _checked(rank, world_size, "--rank")


def _from_environment(environment: Mapping[str, str], world_size: int | None) -> Rank:
    read: list[tuple[str, Callable[[], Rank]]] = []
    if "SLURM_ARRAY_TASK_ID" in environment:
        read.append(("Slurm", partial(_of_slurm, environment, world_size)))
    for scheduler in _SCHEDULERS:
        if scheduler.number in environment:
            read.append((scheduler.name, partial(_of, scheduler, environment, world_size)))
    if not read:
        if world_size is None:
            return Rank()
        raise UsageError(
            f"--world-size {world_size} says nothing without the number of this process; give --rank too"
        )
    found = {name: act() for name, act in read}
    if len(set(found.values())) > 1:
        said = " and ".join(f"{name} says {rank.name}" for name, rank in found.items())
        raise UsageError(f"it is not clear which part to build: {said}; {_BY_HAND}")
    return next(iter(found.values()))


def _of(scheduler: _Scheduler, environment: Mapping[str, str], world_size: int | None) -> Rank:
    if world_size is None and scheduler.count not in environment:
        raise UsageError(
            f"{scheduler.number} is set but not {scheduler.count}, so the number of processes is not known; set it, "
            "or give --world-size"
        )
    count = world_size or _whole(environment, scheduler.count)
    return _checked(_whole(environment, scheduler.number), count, scheduler.number)


def _of_slurm(environment: Mapping[str, str], world_size: int | None) -> Rank:
    """Of ``--array=FIRST-LAST:STEP``; with a given size the task's id is the rank, whatever part is submitted again."""
    task = _whole(environment, "SLURM_ARRAY_TASK_ID")
    if world_size is not None:
        return _checked(task, world_size, "SLURM_ARRAY_TASK_ID")
    names = ("SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX")
    missing = [name for name in names if name not in environment]
    if missing:
        raise UsageError(f"SLURM_ARRAY_TASK_ID is set but not {', '.join(missing)}; {_BY_HAND}")
    count, first, last = (_whole(environment, name) for name in names)
    step = _whole(environment, "SLURM_ARRAY_TASK_STEP") if "SLURM_ARRAY_TASK_STEP" in environment else 1
    if step < 1 or last - first != (count - 1) * step or (task - first) % step:
        raise UsageError(
            f"the Slurm array has {count} tasks from {first} to {last}, with gaps, so it is not clear which part "
            "each is to build; give the whole array's size with --world-size"
        )
    return _checked((task - first) // step, count, "SLURM_ARRAY_TASK_ID")


def _whole(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except ValueError:
        raise UsageError(f"{name} is {environment[name]!r}, not a whole number; {_BY_HAND}") from None


def _checked(number: int, size: int, source: str) -> Rank:
    if size < 1 or not 0 <= number < size:
        raise UsageError(
            f"{source} is {number}, but of {size} processes the first is 0 and the last {size - 1}"
        )
    return Rank(number, size)
