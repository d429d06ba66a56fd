"""Which cameras and ISO settings a preview shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import InputError, UsageError

__all__ = ["MOST", "ConditionChoice", "choose_conditions"]

FEW = 4  # where nothing is asked for
SEVERAL = 8  # where a camera or an ISO is
MOST = 12


@dataclass(frozen=True)
class ConditionChoice:
    """What to show.

    Attributes:
        conditions: in the order of the columns.
        notes: what was left out, and why, in words.
    """

    conditions: tuple[Condition, ...]
    notes: tuple[str, ...] = ()


def choose_conditions(
    vocabulary: Vocabulary,
    cameras: Sequence[str],
    isos: Sequence[int],
    *,
    shot_with: tuple[str | None, int | None],
    noise_levels: Callable[[Sequence[Condition]], dict[Condition, float]],
) -> ConditionChoice:
    """Every combination of cameras and ISO settings that the model covers, or such that tell most.

    Of a camera alone its known ISO settings are shown, of an ISO alone all cameras that cover it, of each evenly chosen
    ones where they are many. Where nothing is asked for it is what the photograph was taken with, by EXIF, where the
    model knows that; else a few known conditions from the least to the most noise, of different cameras where possible.

    Args:
        vocabulary: of the model.
        cameras, isos: what was asked for.
        shot_with: camera and ISO of EXIF.
        noise_levels: how much noise conditions make; those that the model cannot draw are left out.

    Raises:
        UsageError: nothing that was asked for is covered, or it is too much for one sheet.
    """
    if not cameras and not isos:
        return _of_photograph(vocabulary, *shot_with, noise_levels)
    try:
        if not isos:
            found = [Condition(camera, iso) for camera in cameras for iso in vocabulary.isos_of(camera)]
        elif not cameras:
            found = [condition for iso in isos for condition in vocabulary.candidates(None, iso)]
        else:
            return _combinations(vocabulary, cameras, isos)
    except InputError as error:
        raise UsageError(str(error)) from error
    found = list(dict.fromkeys(found))
    shown = _evenly(found, SEVERAL)
    named = "--camera" if isos else "--iso"
    notes = (
        (f"{len(shown)} of {len(found)} conditions that fit; {named} picks others",) if shown != found else ()
    )
    return ConditionChoice(tuple(shown), notes)


def _combinations(vocabulary: Vocabulary, cameras: Sequence[str], isos: Sequence[int]) -> ConditionChoice:
    found, missing = [], {}
    for condition in dict.fromkeys(Condition(camera, iso) for camera in cameras for iso in isos):
        vocabulary.isos_of(condition.camera)  # an unknown camera is a slip, and no reason to leave it out
        try:
            vocabulary.resolve(condition)
            found.append(condition)
        except InputError as error:
            missing[f"{condition.camera} ISO {condition.iso}"] = str(error)
    if not found:
        raise UsageError("; ".join(missing.values()))
    if len(found) > MOST:
        raise UsageError(
            f"{len(found)} cameras and ISO settings are too many for one sheet; name up to {MOST}"
        )
    notes = (f"Left out, for the model does not cover them: {', '.join(missing)}",) if missing else ()
    return ConditionChoice(tuple(found), notes)


def _of_photograph(
    vocabulary: Vocabulary,
    camera: str | None,
    iso: int | None,
    noise_levels: Callable[[Sequence[Condition]], dict[Condition, float]],
) -> ConditionChoice:
    notes: tuple[str, ...] = ()
    if camera is not None:
        known = {_plain(name): name for name in vocabulary.cameras}.get(_plain(camera))
        if known is not None:
            return _of_camera(vocabulary, known, iso)
        names = ", ".join(vocabulary.cameras)
        notes = (f"Taken with {camera} by EXIF, which the model does not know; it knows {names}",)
    levels = noise_levels(vocabulary.known)
    if len(levels) > 1 and len(set(levels.values())) == 1:
        notes = ("The model makes the same noise whatever the camera and ISO",)
        return ConditionChoice((min(levels),), notes)
    return ConditionChoice(tuple(_different(levels, FEW)), notes)


def _of_camera(vocabulary: Vocabulary, camera: str, iso: int | None) -> ConditionChoice:
    isos = vocabulary.isos_of(camera)
    if iso is not None and isos[0] <= iso <= isos[-1]:
        return ConditionChoice((Condition(camera, iso),), ("Camera and ISO are those of EXIF",))
    why = "which gives no ISO" if iso is None else f"whose ISO {iso} the model does not know of it"
    shown = _evenly([Condition(camera, each) for each in isos], FEW)
    return ConditionChoice(tuple(shown), (f"The camera is that of EXIF, {why}",))


def _different(levels: dict[Condition, float], count: int) -> list[Condition]:
    """Conditions whose noise rises in even ratios, each of a camera of its own while there are such."""
    logs = {condition: math.log(max(level, 1e-3)) for condition, level in levels.items()}
    chosen: list[Condition] = []
    for target in np.linspace(min(logs.values()), max(logs.values()), min(count, len(logs))):
        left = [condition for condition in logs if condition not in chosen]
        fresh = [c for c in left if c.camera not in {other.camera for other in chosen}]
        chosen.append(min(fresh or left, key=lambda c: (abs(logs[c] - target), c)))
    return sorted(chosen, key=lambda c: (logs[c], c))


def _evenly(conditions: Sequence[Condition], count: int) -> list[Condition]:
    places = np.linspace(0, len(conditions) - 1, min(count, len(conditions)))
    return [conditions[round(place)] for place in places]


def _plain(name: str) -> str:
    """A camera's name without what makers and tables spell differently: "NIKON D800" is NikonD800."""
    return "".join(c for c in name.casefold() if c.isalnum())
