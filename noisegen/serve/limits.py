"""What one request may cost: bytes, seconds, and how many may wait for their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from noisegen.errors import NoisegenError

__all__ = ["Limits", "Refused", "Turns", "read_upload"]

T = TypeVar("T")
MEGABYTE = 1_000_000


class Refused(NoisegenError):
    """A request that is not answered.

    Args:
        status: of HTTP.
        reason: short stable code.
        message: what was wrong and what to do.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Attributes:
        upload_bytes: of the picture's file.
        pixels: of the picture, looked up in its header before it is decoded.
        upload_seconds: that sending it may take.
        requests: with a picture at one time, of which one is worked on.
    """

    upload_bytes: int = 100 * MEGABYTE
    pixels: int = 50_000_000
    upload_seconds: float = 120.0
    requests: int = 4


async def read_upload(request: Request, limits: Limits) -> bytes:
    """The body of a request, in memory only.

    Raises:
        Refused: 413 once it is known to be too large, whether or not the request states its size; 408 too slow.
        ClientDisconnect: nobody waits for the answer any more.
    """
    too_large = Refused(
        413,
        "upload_too_large",
        f"the file has more than {limits.upload_bytes / MEGABYTE:g} MB; "
        "send a smaller one, or start noisegen serve with a larger --max-upload",
    )
    if int(request.headers.get("content-length", 0)) > limits.upload_bytes:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.upload_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.upload_bytes:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError as error:
        raise Refused(
            408,
            "upload_too_slow",
            f"the file was not there after {limits.upload_seconds:g} seconds; send a smaller one",
        ) from error
    return b"".join(chunks)


class Turns:
    """One piece of work at a time, and a bound on how many wait for it.

    Args:
        limit: how many may be inside at one time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside = 0
        self._turn = asyncio.Lock()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Holds one of the places.

        Raises:
            Refused: 503, all are taken.
        """
        if self._inside >= self._limit:
            raise Refused(503, "busy", "other pictures are being worked on; try again in a moment")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def work(self, request: Request, function: Callable[[], T]) -> T | None:
        """Calls the function in a thread when it is its turn; None where nobody waits for the answer any more."""
        async with self._turn:
            if await request.is_disconnected():
                return None
            return await run_in_threadpool(function)
