"""Which of many pictures, cameras and ISO settings a page shows: the same ones each time, spread over all of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from noisegen.conditions import Condition

__all__ = ["few_of_each", "spread_conditions"]

T = TypeVar("T")


def spread_conditions(conditions: Sequence[Condition], count: int) -> list[Condition]:
    """At most so many of the conditions: of each camera in turn the lowest ISO, the highest, then those between."""
    queues: list[list[Condition]] = []
    for camera in dict.fromkeys(condition.camera for condition in conditions):
        own = sorted(condition for condition in conditions if condition.camera == camera)
        queues.append([own[0], *own[:0:-1]])
    turns = max(map(len, queues), default=0)
    order = [queue[turn] for turn in range(turns) for queue in queues if turn < len(queue)]
    return order[:count]


def few_of_each(items: Sequence[T], group: Callable[[T], Hashable], count: int) -> list[T]:
    """At most so many items of each group, evenly over those of the group, in their order."""
    groups: dict[Hashable, list[int]] = {}
    for place, item in enumerate(items):
        groups.setdefault(group(item), []).append(place)
    kept = set()
    for members in groups.values():
        taken = min(count, len(members))
        kept |= {members[(2 * turn + 1) * len(members) // (2 * taken)] for turn in range(taken)}
    return [items[place] for place in sorted(kept)]
