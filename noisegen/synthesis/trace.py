"""A trace of a build for chrome://tracing and Perfetto, written while the build runs.

The file is in the JSON array form of the Chrome Trace Event Format. Its closing bracket may be missing, so the trace
of a killed build can be opened too. Spans are complete events ("X") on a track for each thread; numbers that change
over time are counter events ("C"). Times are in microseconds.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from noisegen.synthesis.memory import resident_bytes

__all__ = ["Trace"]

# More would be slow to open; a file of so many is about 200 MB.
MAX_EVENTS = 1_000_000
# Spans that a disk may be behind; they take some 50 MB.
MAX_WAITING = 100_000
WRITE_SECONDS = 0.2
# tracks from top to bottom; others, such as devices, come after them
ORDER = ("shards", "writer", "decoder", "maker", "connection")


class _Span(NamedTuple):
    track: str
    name: str
    category: str
    started: float
    ended: float
    cpu: tuple[float, float] | None
    details: Mapping[str, object]


class Trace:
    """Takes spans from any thread; a thread of its own writes them.

    Neither memory nor disk fill up: spans wait for a fifth of a second, and the file ends after `MAX_EVENTS` events.
    A file that cannot be written any more ends the trace, not the build.

    Args:
        path: of the file, which is overwritten.
        origin: the time 0, in seconds of `time.perf_counter`.

    Attributes:
        path: of the file.
        gauges: name -> a number whose course is shown; looked at five times a second.
        cut: why the trace ends before the build does; None where it does not.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, origin: float) -> None:
        self.path = path
        self.gauges: dict[str, int] = {}
        self.cut: str | None = None
        self._origin = origin
        self._waiting: deque[_Span] = deque()
        self._tracks: dict[str, int] = {}
        self._shown: dict[str, float] = {}
        self._events = 0
        self._process = os.getpid()
        self._file = path.open("wb", buffering=0)
        self._write([self._named("process_name", 0, name="noisegen build-dataset")])
        self._closed = threading.Event()
        self._writer = threading.Thread(target=self._run, name="trace", daemon=True)
        self._writer.start()

    def span(
        self,
        track: str,
        name: str,
        category: str,
        started: float,
        ended: float,
        cpu: tuple[float, float] | None,
        details: Mapping[str, object],
    ) -> None:
        """Adds what happened on a track between two moments.

        Args:
            track: name of a thread, or of something else that does one thing at a time.
            name, category: of the span; viewers add up spans of the same name.
            started, ended: in seconds of `time.perf_counter`.
            cpu: the same two moments by `time.thread_time`.
            details: JSON values.
        """
        if self.cut is None and not self._closed.is_set():
            if len(self._waiting) >= MAX_WAITING:
                self.cut = "it could not be written as fast as the build went on"
            self._waiting.append(_Span(track, name, category, started, ended, cpu, details))

    def close(self) -> None:
        """Writes what is left. Spans that come later are dropped."""
        self._closed.set()
        self._writer.join()
        self._file.close()

    def _run(self) -> None:
        last = False
        try:
            while not last:
                # whether to end is settled first, so that the last turn sees every span
                last = self._closed.wait(WRITE_SECONDS) or self.cut is not None
                self._write(self._counters())
                self._write(self._spans())
                if self._events >= MAX_EVENTS:
                    self.cut = f"it ends after {self._events} events"
            self._file.write(b"\n]\n")
        except OSError as error:
            self.cut = f"it could not be written to its end: {error.strerror or error}"
        self._waiting.clear()

    def _spans(self) -> Iterator[dict[str, object]]:
        for _ in range(len(self._waiting)):
            span = self._waiting.popleft()
            if span.track not in self._tracks:
                yield from self._new_track(span.track)
            started, ended = self._nanoseconds(span.started), self._nanoseconds(span.ended)
            event = {
                "ph": "X",
                "name": span.name,
                "cat": span.category,
                "ts": started / 1000,
                "dur": (ended - started) / 1000,
                "pid": self._process,
                "tid": self._tracks[span.track],
            }
            if span.cpu is not None:
                event |= {"tts": round(span.cpu[0] * 1e6), "tdur": round((span.cpu[1] - span.cpu[0]) * 1e6)}
            if span.details:
                event["args"] = span.details
            yield event

    def _counters(self) -> Iterator[dict[str, object]]:
        values: dict[str, float] = dict(self.gauges)
        resident = resident_bytes()
        if resident is not None:
            values["memory (MB)"] = round(resident / 1e6, 1)
        now = self._nanoseconds(time.perf_counter()) / 1000
        for name, value in values.items():
            if self._shown.get(name) != value:
                self._shown[name] = value
                yield {"ph": "C", "name": name, "ts": now, "pid": self._process, "args": {"value": value}}

    def _new_track(self, track: str) -> Iterator[dict[str, object]]:
        number = self._tracks[track] = len(self._tracks) + 1
        kind, _, index = track.rpartition("_")
        rank = ORDER.index(kind or track) if (kind or track) in ORDER else len(ORDER)
        yield self._named("thread_name", number, name=track.replace("_", " "))
        yield self._named(
            "thread_sort_index", number, sort_index=1000 * rank + (int(index) if index.isdigit() else 0)
        )

    def _named(self, what: str, track: int, **arguments: object) -> dict[str, object]:
        return {"ph": "M", "name": what, "pid": self._process, "tid": track, "args": arguments}

    def _nanoseconds(self, moment: float) -> int:
        # whole numbers: rounding must not make spans overlap that only touch
        return round((moment - self._origin) * 1e9)

    def _write(self, events: Iterable[dict[str, object]]) -> None:
        """Writes events at once, so that a killed build leaves whole ones."""
        lines = [json.dumps(event, separators=(",", ":"), default=str) for event in events]
        if lines:
            before = ",\n" if self._events else "[\n"
            self._file.write((before + ",\n".join(lines)).encode())
            self._events += len(lines)
