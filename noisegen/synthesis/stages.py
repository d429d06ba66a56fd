"""Where the time of a build goes: seconds that threads spend in each stage."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

from noisegen.synthesis.trace import Trace

__all__ = ["STAGES", "StageClock", "Timing", "Work", "bottleneck", "shares"]

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
        process: host of the process, and its name among those that build together.
        workers: threads that make tiles.
        stages: thread-seconds of "read" (headers and decoding), "synthesize", "encode" (with hashes) and "write".
            On CUDA "synthesize" includes waiting for the device.
        waits: seconds in which the thread that writes waited for "tiles", or for the "upload" of the shard before.
    """

    seconds: float
    tiles: int
    finished: float
    process: str
    workers: int
    stages: dict[str, float]
    waits: dict[str, float]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Work:
    """What all threads of one kind did under one name.

    Attributes:
        threads: their kind: "writer" (which also walks the manifest), "decoder", "maker", "connection".
        stage: one of `STAGES`, "fetch", or "idle" for named waits.
        activity: what they did, for example "decode".
        seconds: thread-seconds.
        calls: how often.
        pixels: that were worked on: of photographs in "read", otherwise of noisy tiles.
        cpu_seconds: the part of the thread-seconds that was spent on a core; measured only where there is a trace.
    """

    threads: str
    stage: str
    activity: str
    seconds: float
    calls: int
    pixels: int
    cpu_seconds: float


class StageClock:
    """Adds up the time that any thread spends in a stage.

    A thread's kind is its name up to the last underscore; the thread that makes the clock is the "writer".

    Args:
        workers: threads that make tiles.
        trace: also gets each span of time by itself, with its details.
        process: host and name of this process, for the timing records.
    """

    def __init__(self, workers: int, trace: Trace | None = None, process: str = "") -> None:
        self._workers = workers
        self._process = process
        self._trace = trace
        self._lock = threading.Lock()
        self._totals: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
        self._lapped: dict[str, float] = {}
        self._moments: dict[str, float] = {}
        self._local = threading.local()
        self._local.thread = "writer"
        self.started = self._lap = time.perf_counter()

    @property
    def recording(self) -> bool:
        """Whether there is a trace, so that `record` does anything."""
        return self._trace is not None

    def stage(self, name: str, activity: str | None = None, *, pixels: int = 0, **details: object) -> Span:
        """Counts the time until the block is left; stages of a thread must not contain one another.

        Args:
            name: one of `STAGES`, "fetch" or "idle".
            activity: what is done, where the stage has several; default: the stage's name.
            pixels: that are worked on.
            **details: JSON values, shown with the span in the trace.
        """
        return Span(self, name, activity or name, pixels, details)

    def record(self, name: str, started: float, ended: float, *, track: str, **details: object) -> None:
        """Shows a span on a track of its own in the trace, such as a device's; it counts in no sum.

        Args:
            name: of the span.
            started, ended: in seconds of `time.perf_counter`. Spans of a track may nest, but not overlap otherwise.
            track: its name.
            **details: JSON values.
        """
        if self._trace is not None:
            self._trace.span(track, name, track, started, ended, None, details)

    def count(self, name: str, change: int) -> None:
        """Changes a number that the trace shows over time, such as that of tiles in flight."""
        if self._trace is not None:
            with self._lock:
                self._trace.gauges[name] = self._trace.gauges.get(name, 0) + change

    def reached(self, name: str) -> None:
        """Notes when something happened for the first time."""
        if name not in self._moments:
            self._moments[name] = time.perf_counter()

    @property
    def moments(self) -> dict[str, float]:
        """When what was `reached` was reached, in seconds of `time.perf_counter`."""
        return dict(self._moments)

    def work(self) -> list[Work]:
        """All that was counted since the clock was made."""
        with self._lock:
            return [
                Work(*key, seconds, int(calls), int(pixels), cpu)
                for key, (seconds, calls, pixels, cpu) in self._totals.items()
            ]

    def lap(self, tiles: int) -> Timing:
        """What was counted since the last lap, or since the clock was made."""
        before, started = self._lapped, self._lap
        self._lapped, self._lap = self._sums(), time.perf_counter()
        return self._timing(tiles, self._lap - started, self._lapped, before)

    def whole(self, tiles: int) -> Timing:
        """What was counted since the clock was made."""
        return self._timing(tiles, time.perf_counter() - self.started, self._sums(), {})

    def _sums(self) -> dict[str, float]:
        """Seconds of each stage, and of each kind of waiting."""
        sums: dict[str, float] = defaultdict(float)
        for work in self.work():
            sums[work.activity if work.stage == "idle" else work.stage] += work.seconds
        return dict(sums)

    def _timing(
        self, tiles: int, seconds: float, sums: Mapping[str, float], before: Mapping[str, float]
    ) -> Timing:
        def counted(name: str) -> float:
            return round(sums.get(name, 0.0) - before.get(name, 0.0), 4)

        return Timing(
            round(seconds, 3),
            tiles,
            time.time(),
            self._process,
            self._workers,
            {name: counted(name) for name in STAGES},
            {name: counted(f"wait for {name}") for name in ("tiles", "upload")},
        )

    def _thread(self) -> str:
        try:
            name: str = self._local.thread
        except AttributeError:
            name = self._local.thread = threading.current_thread().name
        return name

    def _add(self, span: Span, started: float, ended: float, cpu: tuple[float, float] | None) -> None:
        thread = self._thread()
        with self._lock:
            total = self._totals[thread.rpartition("_")[0] or thread, span.stage, span.activity]
            total[0] += ended - started
            total[1] += 1
            total[2] += span.pixels
            if cpu is not None:
                total[3] += cpu[1] - cpu[0]
        if self._trace is not None:
            self._trace.span(thread, span.activity, span.stage, started, ended, cpu, span.details)


class Span:
    """A block of code whose time is counted.

    Attributes:
        pixels, details: see `StageClock.stage`; may be set until the block is left.
    """

    __slots__ = ("_clock", "_cpu_started", "_started", "activity", "details", "pixels", "stage")

    def __init__(
        self, clock: StageClock, stage: str, activity: str, pixels: int, details: dict[str, object]
    ) -> None:
        self._clock = clock
        self.stage = stage
        self.activity = activity
        self.pixels = pixels
        self.details = details

    def __enter__(self) -> Self:
        self._cpu_started = time.thread_time() if self._clock.recording else None
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        ended = time.perf_counter()
        cpu = None if self._cpu_started is None else (self._cpu_started, time.thread_time())
        self._clock._add(self, self._started, ended, cpu)


def shares(timings: Sequence[Timing]) -> dict[str, float]:
    """Each stage's share of the thread-seconds, and "idle": that of threads that had no tile to make."""
    spent = {name: sum(timing.stages.get(name, 0.0) for timing in timings) for name in STAGES}
    offered = sum(timing.workers * timing.seconds for timing in timings)
    spent["idle"] = max(0.0, offered - spent["synthesize"] - spent["encode"])
    total = sum(spent.values())
    return {name: round(seconds / total, 4) for name, seconds in spent.items()} if total else {}


def bottleneck(timings: Sequence[Timing]) -> str | None:
    """The stage that a faster build would need to be faster; None where nothing was timed.

    Shards are written in order by one thread: its seconds are spent on writing and uploads, on waiting for tiles, and
    otherwise on reading (the manifest, headers, and photographs that are not decoded yet).
    """
    seconds = sum(timing.seconds for timing in timings)
    if seconds <= 0:
        return None
    spent = {name: sum(timing.stages.get(name, 0.0) for timing in timings) for name in STAGES}
    waits = {name: sum(timing.waits.get(name, 0.0) for timing in timings) for name in ("tiles", "upload")}
    making = "synthesize" if spent["synthesize"] >= spent["encode"] else "encode"
    writing = spent["write"] + waits["upload"]
    held = {making: waits["tiles"], "write": writing, "read": seconds - waits["tiles"] - writing}
    return max(held, key=lambda name: held[name])
