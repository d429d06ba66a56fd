"""Shards handed out in chunks to processes that come, go and differ in speed."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence

from noisegen.synthesis.shards import Shard

__all__ = ["Chunks"]

# that a chunk is to take: beside it, what a chunk costs more than its shards is nothing
SECONDS = 20.0
# after so many processes have ended over a shard, it is taken for the reason
ATTEMPTS = 3


class Chunks:
    """What has not been handed out yet.

    Args:
        shards: to be made, in their order.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._waiting = deque(shards)
        self._suspects: deque[Shard] = deque()
        self._ended: Counter[Shard] = Counter()
        self._seconds: float | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._suspects)

    def take_suspect(self) -> tuple[Shard, ...]:
        """A shard over which a process may have ended, for one that does nothing else; () where there is none."""
        return (self._suspects.popleft(),) if self._suspects else ()

    def take(self, takers: int) -> tuple[Shard, ...]:
        """The next chunk: one shard until it is known how long one takes; towards the end few, so that all end at once.

        Args:
            takers: number of processes that the rest will be shared by.
        """
        size = 1
        if self._seconds is not None:
            fair = math.ceil(len(self._waiting) / (2 * takers))
            size = max(1, min(fair, int(SECONDS / max(self._seconds, 1e-6))))
        return tuple(self._waiting.popleft() for _ in range(min(size, len(self._waiting))))

    def took(self, shards: int, seconds: float) -> None:
        """Learns from a finished chunk; the last ones count most."""
        each = seconds / shards
        self._seconds = each if self._seconds is None else (self._seconds + each) / 2

    def put_back(self, shards: Sequence[Shard]) -> None:
        """Shards that were handed out and have not been begun."""
        self._waiting.extendleft(reversed(shards))

    def lost(self, shards: Sequence[Shard], *, alone: bool) -> int:
        """Puts shards back whose process has ended. The first, which was perhaps in the making, is suspect from now on.

        Args:
            shards: that are not finished.
            alone: whether nothing else can have ended the process; only such ends count against the shard.

        Returns:
            how many processes have ended over it if that is too many, otherwise 0.
        """
        first = shards[0]
        self.put_back(shards[1:])
        self._ended[first] += alone
        if self._ended[first] >= ATTEMPTS:
            return self._ended[first]
        self._suspects.append(first)
        return 0
