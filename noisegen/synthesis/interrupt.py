"""Ctrl-C and SIGTERM as a request that shard-writing work looks at between two steps, never in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from noisegen.errors import NoisegenError

__all__ = ["Interrupted", "StopRequest", "stop_on_signals"]

T = TypeVar("T")
POLL_SECONDS = 0.2


class Interrupted(NoisegenError):
    """The user or the system asked for an end: exit code 130 (SIGINT) or 143 (SIGTERM)."""

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        super().__init__(f"interrupted ({name}); finished shards are kept, the same command resumes")
        self.exit_code = 128 + number


class StopRequest:
    """Whether work should end. Any thread may look at it.

    A signal raises Interrupted in the main thread at once, but inside `between_steps` only where work is looked at.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._between_steps = False
        self._given_up = threading.Event()

    def ask(self, number: int) -> None:
        """Notes a signal; `check` and `result` raise from now on."""
        self._signal = number
        self._given_up.set()
        if not self._between_steps:
            self.check()

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Inside, a signal waits for the next `check` or `result`, or for the end."""
        self.check()
        self._between_steps = True
        try:
            yield
        finally:
            self._between_steps = False
        self.check()

    def give_up(self) -> None:
        """Tells the worker threads that nobody waits for their results any more."""
        self._given_up.set()

    @property
    def given_up(self) -> bool:
        return self._given_up.is_set()

    def pause(self, seconds: float) -> bool:
        """Waits so long, or until the results are no longer wanted, which makes it true."""
        return self._given_up.wait(seconds)

    def check(self) -> None:
        """Raises Interrupted when a signal has come."""
        if self._signal is not None:
            raise Interrupted(self._signal)

    def result(self, future: Future[T]) -> T:
        """The future's result; raises Interrupted when a signal comes first."""
        self.check()
        while not wait([future], POLL_SECONDS).done:
            self.check()
        return future.result()


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turns the first SIGINT or SIGTERM into a `StopRequest`; a second one acts as it did before.

    Outside the main thread, where Python allows no handlers, signals keep their meaning.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: FrameType | None) -> None:
        restore()
        request.ask(number)

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        restore()
