"""Cameras and ISO settings: the vocabulary of a noise model, lookup with interpolation, and random draw."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from noisegen.errors import InputError, UsageError
from noisegen.suggestions import did_you_mean

__all__ = ["Condition", "ConditionMix", "Vocabulary"]


@dataclass(frozen=True, order=True)
class Condition:
    """A camera at an ISO setting.

    >>> import noisegen
    >>> noisegen.Condition("S6", 800) in noisegen.load_noise_model().vocabulary.known
    True

    Attributes:
        camera: its name as the noise model knows it.
        iso: the setting.
    """

    camera: str
    iso: int


@dataclass(frozen=True)
class ConditionMix:
    """A requested condition as a blend of two that the model was trained on.

    A per-condition quantity (embedding or table row) ``q`` of the model is evaluated as
    ``(1 - weight) * q[low] + weight * q[high]``. For a known ISO, ``low == high`` and ``weight == 0``.

    Attributes:
        condition: what was asked for.
        low, high: known conditions of the same camera with ``low.iso <= condition.iso <= high.iso``.
        weight: position between them in log ISO, in [0, 1).
    """

    condition: Condition
    low: Condition
    high: Condition
    weight: float

    @property
    def rule(self) -> str:
        """What records say of how the ISO was handled, ``"exact"`` or ``"log-iso LOW..HIGH at WEIGHT"``."""
        if self.low == self.high:
            return "exact"
        return f"log-iso {self.low.iso}..{self.high.iso} at {self.weight:.4f}"


@dataclass(frozen=True)
class Vocabulary:
    """The cameras and ISO settings of a noise model.

    Attributes:
        cameras: names, in the order of the model's one-hot code.
        isos: settings, in the order of the model's one-hot code.
        known: the (camera, ISO) pairs the model was trained on, sorted; the only ones drawn at random.
    """

    cameras: tuple[str, ...]
    isos: tuple[int, ...]
    known: tuple[Condition, ...]

    def __post_init__(self) -> None:
        if not self.known:
            raise UsageError("a noise model needs at least one (camera, ISO) pair; this one lists none")
        for name, values in (("cameras", self.cameras), ("isos", self.isos), ("known", self.known)):
            if len(set(values)) != len(values):
                raise UsageError(f"the vocabulary's {name} repeat a value: {list(values)}")
        unpaired = sorted(set(self.cameras) - {condition.camera for condition in self.known})
        if unpaired:
            raise UsageError(f"the vocabulary lists no ISO setting of camera {', '.join(unpaired)}")
        for condition in self.known:
            if condition.camera not in self.cameras or condition.iso not in self.isos or condition.iso <= 0:
                raise UsageError(
                    f"{condition} is not made of the vocabulary's cameras and positive ISO settings"
                )

    @classmethod
    def of(cls, conditions: Iterable[Condition]) -> Vocabulary:
        """The vocabulary of the given conditions, all orders sorted."""
        known = tuple(sorted(set(conditions)))
        cameras = tuple(sorted({c.camera for c in known}))
        return cls(cameras, tuple(sorted({c.iso for c in known})), known)

    @classmethod
    def grid(cls, cameras: Sequence[str], isos: Sequence[int]) -> Vocabulary:
        """Every camera at every ISO, orders kept."""
        known = sorted(Condition(camera, iso) for camera in cameras for iso in isos)
        return cls(tuple(cameras), tuple(isos), tuple(known))

    def index(self, condition: Condition) -> tuple[int, int]:
        """(iso index, camera index) of a known condition in the one-hot codes."""
        return self.isos.index(condition.iso), self.cameras.index(condition.camera)

    def isos_of(self, camera: str) -> tuple[int, ...]:
        """The ISO settings the model knows of `camera`, ascending.

        Raises:
            InputError: ``unknown_camera``, listing the known ones.
        """
        isos = tuple(sorted(c.iso for c in self.known if c.camera == camera))
        if not isos:
            hint = did_you_mean(camera, self.cameras) or ";"
            raise InputError(
                "unknown_camera", f"camera {camera!r} is not known{hint} known: {', '.join(self.cameras)}"
            )
        return isos

    def resolve(self, condition: Condition) -> ConditionMix:
        """Finds the two known ISO settings around the requested one.

        Between two known settings of the camera the position is linear in log ISO, as photographic stops are.
        Outside the camera's range nothing is known, so it is an error rather than an extrapolation.

        Raises:
            InputError: ``unknown_camera``, ``bad_iso`` (not positive) or ``iso_out_of_range``.
        """
        isos = self.isos_of(condition.camera)
        if condition.iso <= 0:
            raise InputError("bad_iso", f"ISO {condition.iso} is not a positive number")
        if condition.iso in isos:
            return ConditionMix(condition, condition, condition, 0.0)
        if not isos[0] < condition.iso < isos[-1]:
            known = ", ".join(map(str, isos))
            raise InputError(
                "iso_out_of_range",
                f"ISO {condition.iso} is outside what is known of camera {condition.camera} ({known}); "
                "give an ISO inside this range or train a model with pairs at that ISO",
            )
        low = max(i for i in isos if i < condition.iso)
        high = min(i for i in isos if i > condition.iso)
        weight = math.log(condition.iso / low) / math.log(high / low)
        return ConditionMix(
            condition, Condition(condition.camera, low), Condition(condition.camera, high), weight
        )

    def candidates(self, camera: str | None, iso: int | None) -> tuple[Condition, ...]:
        """What a missing camera or ISO may stand for, out of the known pairs.

        A given camera restricts them to its ISO settings; a given ISO to the cameras whose range holds it. Where both
        are given they are returned unchecked, for `resolve` to judge.

        Raises:
            InputError: no known pair fits what was given.
        """
        if camera is not None and iso is not None:
            return (Condition(camera, iso),)
        if camera is not None:
            return tuple(Condition(camera, i) for i in self.isos_of(camera))
        if iso is None:
            return self.known
        if iso <= 0:
            raise InputError("bad_iso", f"ISO {iso} is not a positive number")
        found = tuple(Condition(c, iso) for c in self.cameras if self._covers(c, iso))
        if not found:
            known = "; ".join(f"{c} {', '.join(map(str, self.isos_of(c)))}" for c in self.cameras)
            raise InputError("iso_out_of_range", f"no camera covers ISO {iso}; known: {known}")
        return found

    def draw(self, seed: int, image_id: str, variant: int, camera: str | None, iso: int | None) -> Condition:
        """Completes a missing camera or ISO at random, uniformly from its `candidates`.

        A pure function of its arguments.

        Raises:
            InputError: as `candidates`.
        """
        candidates = self.candidates(camera, iso)
        message = f"condition\0{seed}\0{variant}\0{image_id}".encode("utf-8", "surrogatepass")
        number = int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little")
        return candidates[number % len(candidates)]

    def _covers(self, camera: str, iso: int) -> bool:
        isos = [c.iso for c in self.known if c.camera == camera]
        return bool(isos) and min(isos) <= iso <= max(isos)
