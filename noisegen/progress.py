"""Progress of long work: a bar on a terminal, JSON lines on stderr everywhere else."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from typing import Any, Self

__all__ = ["Progress", "say"]


class Progress:
    """Counts finished units and shows them while the work runs.

    On a terminal a bar is drawn. Elsewhere (log files, batch systems) a JSON object is written as one line of stderr
    each `interval` seconds and once at the end, with the keys ``event`` (``"progress"``), ``description``, ``done``,
    ``total`` (null if unknown), ``unit``, ``seconds`` (since the start), ``rate`` (units per second) and the fields
    last given.

    Args:
        total: number of units, or None where it is not known beforehand.
        unit: name of one unit, for example ``"tile"``.
        description: of the work, for example ``"build-dataset"``.
        interval: seconds between two JSON lines.
        scaled: write large counts on the bar as k, M and G.
        quiet: show nothing.
    """

    def __init__(
        self,
        total: int | None,
        unit: str,
        description: str,
        *,
        interval: float = 10.0,
        scaled: bool = False,
        quiet: bool = False,
    ) -> None:
        self.total = total
        self.unit = unit
        self.description = description
        self.interval = interval
        self.done = 0
        self._fields: dict[str, object] = {}
        self._quiet = quiet
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=unit, unit_scale=scaled, desc=description, dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.set_postfix(self._fields)
            self._bar.close()
        else:
            self._write(time.monotonic())

    def update(self, n: int = 1, **fields: object) -> None:
        """Counts `n` finished units; `fields` are shown beside the count until they are replaced."""
        self.done += n
        self._fields.update(fields)
        if self._bar is not None:
            if fields:
                self._bar.set_postfix(self._fields, refresh=False)
            self._bar.update(n)
            return
        now = time.monotonic()
        if now - self._last >= self.interval:
            self._write(now)

    def _write(self, now: float) -> None:
        self._last = now
        if self._quiet:
            return
        seconds = now - self._start
        line = {
            "event": "progress",
            "description": self.description,
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "seconds": round(seconds, 3),
            "rate": round(self.done / seconds, 3) if seconds > 0 else 0.0,
            **self._fields,
        }
        with suppress(OSError):  # a log that was closed or is full must not end the work
            print(json.dumps(line, default=str), file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Writes a line for people to stderr."""
    with suppress(OSError):
        print(f"noisegen: {text}", file=sys.stderr, flush=True)
