"""Where the time of a build goes: seconds that threads spend in each stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

__all__ = ["StageClock", "Timing", "bottleneck", "shares"]

STAGES = ("read", "synthesize", "encode", "write")


@dataclass(frozen=True)
class Timing:
    """What a shard took, from the end of the one before to its own.

    Stages overlap and run ahead: some of the work for the next shards is counted here, so that the sums over
    all shards are right.

    Attributes:
        seconds: on the clock on the wall.
        tiles: number of tiles.
        finished: time of the end, seconds since 1970.
        workers: threads that make tiles.
        stages: thread-seconds of "read" (headers and decoding), "synthesize", "encode" (with hashes) and "write".
            On CUDA "synthesize" includes waiting for the device.
        wait_for_tiles: seconds in which nothing could be written because no tile was ready.
    """

    seconds: float
    tiles: int
    finished: float
    workers: int
    stages: dict[str, float]
    wait_for_tiles: float

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


class StageClock:
    """Adds up the time that any thread spends in a stage.

    Args:
        workers: threads that make tiles.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._lap = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the time until the block is left."""
        started = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - started
            with self._lock:
                self._seconds[name] = self._seconds.get(name, 0.0) + passed

    def lap(self, tiles: int) -> Timing:
        """What was counted since the last lap, or since the clock was made."""
        with self._lock:
            counted, self._seconds = self._seconds, {}
            now = time.perf_counter()
            seconds, self._lap = now - self._lap, now
        return Timing(
            round(seconds, 3),
            tiles,
            time.time(),
            self._workers,
            {name: round(counted.get(name, 0.0), 4) for name in STAGES},
            round(counted.get("wait_for_tiles", 0.0), 4),
        )


def shares(timings: Sequence[Timing]) -> dict[str, float]:
    """Each stage's share of the thread-seconds, and "waiting": that of threads that had no tile to make."""
    spent = {name: sum(timing.stages.get(name, 0.0) for timing in timings) for name in STAGES}
    offered = sum(timing.workers * timing.seconds for timing in timings)
    spent["waiting"] = max(0.0, offered - spent["synthesize"] - spent["encode"])
    total = sum(spent.values())
    return {name: round(seconds / total, 4) for name, seconds in spent.items()} if total else {}


def bottleneck(timings: Sequence[Timing]) -> str | None:
    """The stage that a faster build would need to be faster; None where nothing was timed.

    Shards are written in order by one thread: its seconds are spent on writing, on waiting for tiles, and
    otherwise on reading (headers, and photographs that are not decoded yet).
    """
    seconds = sum(timing.seconds for timing in timings)
    if seconds <= 0:
        return None
    spent = {name: sum(timing.stages.get(name, 0.0) for timing in timings) for name in STAGES}
    tiles = sum(timing.wait_for_tiles for timing in timings)
    making = "synthesize" if spent["synthesize"] >= spent["encode"] else "encode"
    held = {making: tiles, "write": spent["write"], "read": seconds - tiles - spent["write"]}
    return max(held, key=lambda name: held[name])
