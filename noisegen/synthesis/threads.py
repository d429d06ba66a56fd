"""Worker threads that are let go at once when the work is given up."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from noisegen.synthesis.interrupt import Interrupted

__all__ = ["usable_cores", "worker_threads"]

# for the threads of one pool, after a signal
PATIENCE_SECONDS = 2.0


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
