"""Random choices that are pure functions of what they are made for, so that no state has to be kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

__all__ = ["pick", "places"]


def places(count: int, *what: object) -> list[float]:
    """Up to 8 independent numbers in [0, 1), uniformly distributed, that depend on the text of ``what`` alone."""
    message = "\0".join(map(str, what)).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(message, digest_size=8 * count).digest()
    # 53 bits, so that no number is rounded up to 1
    words = (digest[8 * i : 8 * i + 8] for i in range(count))
    return [(int.from_bytes(word, "little") >> 11) / 2**53 for word in words]


def pick(weights: Sequence[float], place: float) -> int:
    """The index that a place in [0, 1) falls on where each index has a share by its weight."""
    left = place * sum(weights)
    for index, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return index
    return len(weights) - 1
