"""Processes of a Ray cluster that make shards: as many as there is room for, and new ones for those that end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import ray
from ray.exceptions import RayError

from noisegen.progress import say
from noisegen.synthesis.shard_maker import Failed, Made, Opened, ShardMaker
from noisegen.synthesis.shards import Shard

__all__ = ["Answer", "Needs", "Pool"]

# chunks that a process has been given: one is made while the next one waits
CHUNKS_AHEAD = 2
LOOK_SECONDS = 2.0
PATIENCE_SECONDS = 30.0
# for removing temporary files at the end
CLOSING_SECONDS = 5.0


@dataclass(frozen=True)
class Needs:
    """What each process takes of its node.

    Attributes:
        cpus: cores.
        gpus: GPUs; below 1 several processes share one.
    """

    cpus: int
    gpus: float

    def room(self) -> int:
        """How many processes the cluster has room for as a whole, however that is spread over its nodes."""
        there = ray.cluster_resources()
        rooms = [there.get("CPU", 0.0) / self.cpus]
        if self.gpus:
            rooms.append(there.get("GPU", 0.0) / self.gpus)
        return int(min(rooms) + 1e-6)


@dataclass(eq=False)
class _Maker:
    """A process, or the wish for one."""

    handle: Any
    calls: set[Any] = field(default_factory=set)  # references
    opened: bool = False
    alone: bool = False  # with one call, beside which it is to get no other


@dataclass(frozen=True)
class Answer:
    """What has become of a call.

    Attributes:
        shards: that were to be made; none where a process was to be opened.
        value: the outcome; None where the process has ended without one.
        alone: whether the process had been given nothing else meanwhile.
        error: of Ray, where there is no outcome.
    """

    shards: tuple[Shard, ...]
    value: Opened | Made | Failed | None
    alone: bool
    error: str = ""


class Pool:
    """The processes, as a context that ends them.

    Args:
        request: for `ShardMaker`.
        needs: of each.
        quiet: say nothing.
    """

    def __init__(self, request: Mapping[str, Any], needs: Needs, *, quiet: bool) -> None:
        self._request = ray.put(dict(request))
        self._needs = needs
        self._quiet = quiet
        maker: Any = ray.remote(ShardMaker)
        # a second thread goes on while the first one waits for an upload
        self._new = maker.options(
            num_cpus=needs.cpus, num_gpus=needs.gpus, max_restarts=0, max_concurrency=CHUNKS_AHEAD
        )
        self._makers: list[_Maker] = []
        self._calls: dict[Any, tuple[_Maker, tuple[Shard, ...]]] = {}
        self._room = 0
        self._looked = -LOOK_SECONDS
        self._waiting_since = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        idle = [maker for maker in self._makers if maker.opened and not maker.calls]
        if idle:
            ray.wait([m.handle.close.remote() for m in idle], num_returns=len(idle), timeout=CLOSING_SECONDS)
        for maker in self._makers:
            ray.kill(maker.handle)

    @property
    def ready(self) -> int:
        """Number of processes that can make shards."""
        return sum(maker.opened for maker in self._makers)

    @property
    def chunks(self) -> int:
        """Number of chunks that processes have been given and not answered."""
        return sum(bool(shards) for _, shards in self._calls.values())

    def fill(self, useful: int) -> None:
        """Asks for as many processes as are useful and have room, and for as many again if the cluster may grow.

        Those wait in Ray, which is what its autoscaler goes by, and take the place of others that end.
        """
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked, self._room = now, self._needs.room()
        while len(self._makers) < min(useful, max(1, 2 * self._room)):
            maker = _Maker(self._new.remote(self._request))
            self._makers.append(maker)
            self._call(maker, (), maker.handle.open.remote())
        if self.ready:
            self._waiting_since = now
        elif now - self._waiting_since >= PATIENCE_SECONDS:
            self._waiting_since = now
            if not self._quiet:
                say(
                    f"waiting for a node of the Ray cluster with {self._needs.cpus} free CPUs and "
                    f"{self._needs.gpus:g} GPUs"
                )

    def takers(self) -> Iterator[_Maker]:
        """Processes that want a further chunk, those with the fewest first; one may come several times."""
        for ahead in range(CHUNKS_AHEAD):
            for maker in self._makers:
                if maker.opened and not maker.alone and len(maker.calls) == ahead:
                    yield maker

    def give(self, maker: _Maker, shards: tuple[Shard, ...], *, alone: bool) -> None:
        """Has shards made; ``alone`` by a process that is given nothing else until it has answered."""
        maker.alone = alone
        self._call(maker, shards, maker.handle.make.remote(shards))

    def answers(self, seconds: float) -> Iterator[Answer]:
        """Waits for answers, not longer than so."""
        waiting = list(self._calls)
        done, _ = ray.wait(waiting, num_returns=1, timeout=seconds)
        more, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
        for call in {*done, *more}:
            yield self._answer(call)

    def _call(self, maker: _Maker, shards: tuple[Shard, ...], call: Any) -> None:
        maker.calls.add(call)
        self._calls[call] = (maker, shards)

    def _answer(self, call: Any) -> Answer:
        maker, shards = self._calls.pop(call)
        try:
            value = ray.get(call)
        except RayError as error:
            self._drop(maker)
            return Answer(shards, None, maker.alone, str(error).strip())
        maker.calls.remove(call)
        maker.opened, alone, maker.alone = True, maker.alone, False
        return Answer(shards, value, alone)

    def _drop(self, maker: _Maker) -> None:
        """Also where a process only cannot be reached, it is to end, so that nobody else makes its shards."""
        if maker in self._makers:
            self._makers.remove(maker)
            ray.kill(maker.handle)
