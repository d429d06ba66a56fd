"""What a request chooses, out of its query."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import InputError

__all__ = ["Choices", "Window", "read_choices", "read_window"]

MAX_SEED = 2**63 - 1
# of a view, in pixels: more than a screen shows at 1:1 would only take time
MAX_SIDE = 2048


@dataclass(frozen=True)
class Choices:
    """Which noise.

    Attributes:
        condition: camera and ISO, which the model covers.
        seed: 0 .. 2**63 - 1.
        strength: a positive factor of its standard deviation.
    """

    condition: Condition
    seed: int
    strength: float


@dataclass(frozen=True)
class Window:
    """Which part of the photograph to look at.

    Attributes:
        width, height: in pixels; a smaller photograph is shown whole.
        x, y: its left upper corner, moved to where the photograph holds all of it; None for the middle.
    """

    width: int
    height: int
    x: int | None
    y: int | None

    def place(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns in a photograph of this size."""
        return _span(self.y, self.height, height), _span(self.x, self.width, width)


def read_choices(query: Mapping[str, str], vocabulary: Vocabulary) -> Choices:
    """``camera`` and ``iso``, and where they are given ``seed`` (0) and ``strength`` (1).

    Raises:
        InputError: one is missing, is no number, or the model does not cover it.
    """
    camera = query.get("camera", "")
    vocabulary.isos_of(camera)
    condition = Condition(camera, _whole(query, "iso", 1))
    vocabulary.resolve(condition)
    strength = _number(query.get("strength", "1"))
    if not 0 < strength < math.inf:
        raise InputError("bad_strength", "strength must be a positive number; 1 is the camera's own noise")
    return Choices(condition, _whole(query, "seed", 0, MAX_SEED, "0"), strength)


def read_window(query: Mapping[str, str]) -> Window:
    """``width`` and ``height``, and where they are given ``x`` and ``y``.

    Raises:
        InputError: one is no number.
    """
    return Window(
        _whole(query, "width", 1, MAX_SIDE, "1024"),
        _whole(query, "height", 1, MAX_SIDE, "1024"),
        _whole(query, "x", 0) if "x" in query else None,
        _whole(query, "y", 0) if "y" in query else None,
    )


def _whole(query: Mapping[str, str], name: str, low: int, high: int = MAX_SEED, default: str = "") -> int:
    try:
        value = int(query.get(name, default))
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        bounds = f"of {low} or more" if high == MAX_SEED else f"from {low} to {high}"
        raise InputError(f"bad_{name}", f"{name} must be a whole number {bounds}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _span(start: int | None, length: int, side: int) -> slice:
    length = min(length, side)
    first = (side - length) // 2 if start is None else min(start, side - length)
    return slice(first, first + length)
