"""Decoded pictures that are kept for the next time they are wanted."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import numpy as np

__all__ = ["PictureCache", "Pictures"]

# What belongs together, as both sides of a pair; None where there is nothing.
Pictures = tuple[np.ndarray | None, ...]
P = TypeVar("P", bound=Pictures)


class PictureCache(Generic[P]):
    """Keeps the pictures last used, up to so many bytes. Several threads may use it; sent to a process it is empty.

    Args:
        limit: in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._kept: OrderedDict[Hashable, P] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, load: Callable[[], P]) -> P:
        """The pictures of this key, which are loaded where they are not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        pictures = load()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = pictures
                self._size += _bytes(pictures)
                while self._size > self._limit and self._kept:
                    self._size -= _bytes(self._kept.popitem(last=False)[1])
        return pictures

    def __reduce__(self) -> tuple[type[PictureCache[P]], tuple[int]]:
        return type(self), (self._limit,)


def _bytes(pictures: Pictures) -> int:
    return sum(side.nbytes for side in pictures if side is not None)
