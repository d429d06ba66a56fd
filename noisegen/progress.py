"""Progress and remarks of long work, on stderr: a bar on a terminal, JSON lines everywhere else."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

__all__ = ["Progress", "say", "silenced", "write_line"]

# of the process, not of a thread: what the threads of a command say is silenced with it
_state: dict[str, Any] = {"silent": False, "bar": None}


# without tqdm's own rate, which would be in pixels
PIXEL_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt}P [{elapsed}<{remaining}{postfix}]"


class Progress:
    """Counts finished units and shows them while the work runs.

    On a terminal a bar is drawn. Elsewhere (log files, batch systems) a JSON object is written as one line of stderr
    each `interval` seconds and once at the end, with the keys ``event`` (``"progress"``), ``description``, ``done``,
    ``total`` (null if unknown), ``unit``, ``seconds`` (since the start), ``rate`` (units per second since then),
    ``mp_per_s`` (megapixels per second since then; null where pixels are not counted), ``seconds_left`` (at that rate;
    null if unknown) and the fields last given.

    Args:
        total: number of units, or None where it is not known beforehand.
        unit: name of one unit, for example ``"tile"``; units named ``"pixel"`` are counted as pixels too.
        description: of the work, for example ``"build-dataset"``.
        done: units that an earlier session has finished; they do not count for the rates.
        interval: seconds between two JSON lines.
        quiet: show nothing.
    """

    def __init__(
        self,
        total: int | None,
        unit: str,
        description: str,
        *,
        done: int = 0,
        interval: float = 10.0,
        quiet: bool = False,
    ) -> None:
        self.total = total
        self.unit = unit
        self.description = description
        self.interval = interval
        self.done = self._begun = done
        self._pixels = 0
        self._fields: dict[str, object] = {}
        self._quiet = quiet or _state["silent"]
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        if not self._quiet and sys.stderr.isatty():
            from tqdm import tqdm

            pixels = unit == "pixel"
            self._bar = _state["bar"] = tqdm(
                total=total,
                initial=done,
                unit=f" {unit}",
                unit_scale=pixels,
                desc=description,
                dynamic_ncols=True,
                bar_format=PIXEL_BAR if pixels else None,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(self._postfix())
            self._bar.close()
            _state["bar"] = None
        else:
            self._write(time.monotonic())

    def update(self, n: int = 1, *, pixels: int = 0, **fields: object) -> None:
        """Counts `n` finished units of so many `pixels`; `fields` are shown beside them until they are replaced."""
        self.done += n
        self._pixels += n if self.unit == "pixel" else pixels
        self._fields.update(fields)
        if self._bar is not None:
            self._bar.set_postfix_str(self._postfix(), refresh=False)
            self._bar.update(n)
            return
        now = time.monotonic()
        if now - self._last >= self.interval:
            self._write(now)

    def _mp_per_s(self, seconds: float) -> float | None:
        return self._pixels / 1e6 / seconds if self._pixels and seconds > 0 else None

    def _postfix(self) -> str:
        """What the bar shows behind its own count, rate and time left."""
        rate = self._mp_per_s(time.monotonic() - self._start)
        shown = [] if rate is None else [f"{rate:.2f} MP/s"]
        return ", ".join(shown + [f"{name}={value}" for name, value in self._fields.items()])

    def _write(self, now: float) -> None:
        self._last = now
        if self._quiet:
            return
        seconds = now - self._start
        rate = (self.done - self._begun) / seconds if seconds > 0 else 0.0
        mp_per_s = self._mp_per_s(seconds)
        line = {
            "event": "progress",
            "description": self.description,
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "seconds": round(seconds, 3),
            "rate": round(rate, 3),
            "mp_per_s": mp_per_s and round(mp_per_s, 3),
            "seconds_left": self._seconds_left(rate),
            **self._fields,
        }
        with suppress(OSError):  # a log that was closed or is full must not end the work
            print(json.dumps(line, default=str), file=sys.stderr, flush=True)

    def _seconds_left(self, rate: float) -> float | None:
        if self.total is None:
            return None
        left = max(0, self.total - self.done)
        if left and not rate:
            return None
        return round(left / rate, 1) if left else 0.0


def say(text: str) -> None:
    """Writes a remark for people to stderr, unless the work is `silenced`."""
    if not _state["silent"]:
        write_line(f"noisegen: {text}")


def write_line(text: str) -> None:
    """Writes a line to stderr, above the bar if there is one."""
    with suppress(OSError):
        if _state["bar"] is not None:
            _state["bar"].write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)


@contextmanager
def silenced(quiet: bool = True) -> Iterator[None]:
    """Work in here shows no progress and no remarks, where `quiet` says so."""
    before = _state["silent"]
    _state["silent"] = before or quiet
    try:
        yield
    finally:
        _state["silent"] = before
