"""Worker threads that are let go at once when the work is given up."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from noisegen.synthesis.interrupt import Interrupted

__all__ = ["usable_cores", "worker_threads"]

CONTROL_GROUPS = Path("/sys/fs/cgroup")
PROCESS_GROUPS = Path("/proc/self/cgroup")
# for the threads of one pool, after a signal
PATIENCE_SECONDS = 2.0


def usable_cores() -> int:
    """The number of cores that this process may use: by its affinity, and by a container's quota, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota())))


def _quota() -> float:
    """Cores' worth of time that control groups (version 2) leave to this process and those beside it."""
    quota = math.inf
    try:
        lines = PROCESS_GROUPS.read_text().splitlines()
    except OSError:
        return quota
    for group in (line[3:] for line in lines if line.startswith("0::")):
        # a limit holds for all groups below
        place = CONTROL_GROUPS / group.lstrip("/")
        for folder in (place, *place.parents):
            try:
                allowed, period = (folder / "cpu.max").read_text().split()
                quota = min(quota, float(allowed) / float(period))
            except (OSError, ValueError):  # there is none, or it is "max"
                continue
    return quota


@contextmanager
def worker_threads(
    count: int, name: str, start: Callable[[], object] | None = None
) -> Iterator[ThreadPoolExecutor]:
    """A thread pool whose threads are called NAME_0 and so on, and first call ``start``.

    On leaving, what has not begun is dropped and what runs is waited for; after a signal not for long, as a large
    photograph or a slow model may take minutes over results that nobody wants any more.
    """
    pool = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=start)
    patience: float | None = None
    try:
        yield pool
    except (Interrupted, KeyboardInterrupt):
        patience = PATIENCE_SECONDS
        raise
    finally:
        waiting = threading.Thread(target=pool.shutdown, kwargs={"cancel_futures": True}, daemon=True)
        waiting.start()
        waiting.join(patience)
