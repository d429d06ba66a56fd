"""How much memory this process occupies."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["peak_resident_bytes", "resident_bytes"]


def resident_bytes() -> int | None:
    """What lies in memory now; None where the system does not tell."""
    return _status("VmRSS")


def peak_resident_bytes() -> int:
    """The most that has lain in memory at one time since the process began."""
    # what getrusage tells on Linux may be that of the process that started this one
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int | None:
    with suppress(OSError, IndexError, ValueError):
        text = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
        return 1024 * int(text.split(f"{name}:")[1].split()[0])
    return None
