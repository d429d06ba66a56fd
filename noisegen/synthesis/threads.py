"""Worker threads that are let go at once when the work is given up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

__all__ = ["usable_cores", "worker_threads"]


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def worker_threads(count: int, start: Callable[[], object] | None = None) -> Iterator[ThreadPoolExecutor]:
    """A thread pool whose threads first call ``start``.

    On leaving, what has not begun is dropped and what runs is waited for.
    """
    pool = ThreadPoolExecutor(count, initializer=start)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
