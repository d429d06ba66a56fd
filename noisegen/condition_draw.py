"""A file that says which cameras and ISO settings are drawn at random, and how often."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from noisegen.chance import pick, places
from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import InputError, UsageError
from noisegen.suggestions import did_you_mean, did_you_mean_path

__all__ = ["CameraDraw", "ConditionDraw", "read_condition_draw"]


@dataclass(frozen=True)
class CameraDraw:
    """How often a camera is drawn, and its ISO settings.

    Attributes:
        weight: relative to the other cameras'.
        isos: ISO settings, ascending, with their relative weights; empty with ``log_uniform``.
        log_uniform: lowest and highest ISO between which every whole number may be drawn, uniformly in log ISO.
    """

    weight: float
    isos: tuple[tuple[int, float], ...] = ()
    log_uniform: tuple[int, int] | None = None

    def iso_at(self, place: float) -> int:
        """The ISO at a place in [0, 1) of the distribution."""
        if self.log_uniform is None:
            return self.isos[pick([weight for _, weight in self.isos], place)][0]
        low, high = self.log_uniform
        return round(math.exp(math.log(low) + place * math.log(high / low)))


@dataclass(frozen=True)
class ConditionDraw:
    """A distribution of (camera, ISO).

    Attributes:
        cameras: by name, sorted.
    """

    cameras: Mapping[str, CameraDraw]

    @classmethod
    def parse(cls, cameras: object, vocabulary: Vocabulary) -> ConditionDraw:
        """Reads what stands under ``cameras`` in the file, or what `to_dict` gave.

        Raises:
            UsageError: it is not as `read_condition_draw` describes, or the model does not know it.
        """
        if not isinstance(cameras, Mapping) or not cameras:
            raise UsageError(
                "'cameras' must name at least one camera, as in {S6: {weight: 2, iso: [100, 800]}}"
            )
        return cls(
            {str(name): _camera(str(name), cameras[name], vocabulary) for name in sorted(cameras, key=str)}
        )

    @classmethod
    def uniform(cls, conditions: Iterable[Condition]) -> ConditionDraw:
        """Draws these conditions, of which there is at least one, equally often."""
        isos: dict[str, list[int]] = {}
        for condition in sorted(set(conditions)):
            isos.setdefault(condition.camera, []).append(condition.iso)
        return cls(
            {
                camera: CameraDraw(float(len(settings)), tuple((iso, 1.0) for iso in settings))
                for camera, settings in isos.items()
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, with nothing left to defaults."""
        return {
            name: {
                "weight": camera.weight,
                "iso": {"log_uniform": list(camera.log_uniform)}
                if camera.log_uniform
                else {str(iso): weight for iso, weight in camera.isos},
            }
            for name, camera in self.cameras.items()
        }

    def draw(
        self,
        vocabulary: Vocabulary,
        seed: int,
        image_id: str,
        variant: int,
        camera: str | None,
        iso: int | None,
    ) -> Condition:
        """Completes a missing camera or ISO at random. A pure function of its arguments.

        Without both, the camera is drawn by its weight and then the ISO as its camera has it. With a camera, its ISO
        is drawn, uniformly from the settings that the model knows where this distribution has nothing of that camera.
        With an ISO, the camera is drawn by weight from those that the model covers at that ISO.

        Raises:
            InputError: as `Vocabulary.candidates`; ``iso_out_of_range`` also where none of the cameras has that ISO.
        """
        first, second = places(2, "condition", seed, variant, image_id)
        if camera is None:
            names = list(self.cameras)
            if iso is not None:
                covering = {condition.camera for condition in vocabulary.candidates(None, iso)}
                names = [name for name in names if name in covering]
            if not names:
                raise InputError(
                    "iso_out_of_range",
                    f"no camera of the distribution of conditions covers ISO {iso}; its cameras: "
                    + ", ".join(self.cameras),
                )
            camera = names[pick([self.cameras[name].weight for name in names], first)]
        if iso is not None:
            return Condition(camera, iso)
        if camera in self.cameras:
            return Condition(camera, self.cameras[camera].iso_at(second))
        return vocabulary.draw(seed, image_id, variant, camera, None)


def read_condition_draw(path: Path, vocabulary: Vocabulary) -> ConditionDraw:
    """Reads a YAML file with the one key ``cameras``: camera name -> ``{weight: ..., iso: ...}``.

    ``weight`` is a positive number, 1 where it is left out. ``iso`` is a list of settings that are drawn equally
    often, or a mapping from setting to weight, or ``{log_uniform: [LOW, HIGH]}``; where it is left out, the settings
    that the model knows of the camera are drawn equally often.

    Raises:
        UsageError: the file cannot be read, is written otherwise, or names what the model does not cover.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(
            f"cannot read {path}: {reason}; give a YAML file of conditions{did_you_mean_path(path)}"
        ) from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, Mapping):
        raise UsageError(
            f"{path} needs the key 'cameras', as in cameras: {{S6: {{weight: 2, iso: [100, 800]}}}}"
        )
    try:
        _check_keys(content, ("cameras",), "the file")
        return ConditionDraw.parse(content.get("cameras"), vocabulary)
    except (UsageError, InputError) as error:
        raise UsageError(f"{path}: {error}") from error


class _Loader(yaml.SafeLoader):
    """Refuses a name that is given twice, of which YAML's own readers keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if names.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is given twice", key.start_mark
                )
        return super().construct_mapping(node, deep)


def _camera(name: str, value: object, vocabulary: Vocabulary) -> CameraDraw:
    known = vocabulary.isos_of(name)
    settings = {} if value is None else value
    if not isinstance(settings, Mapping):
        raise UsageError(
            f"camera {name} must have settings as in {{weight: 2, iso: [100, 800]}}, not {value!r}"
        )
    _check_keys(settings, ("weight", "iso"), f"camera {name}")
    weight = _weight(settings.get("weight", 1), f"camera {name}")
    iso = settings.get("iso", list(known))
    if isinstance(iso, Mapping) and set(iso) == {"log_uniform"}:
        ends = iso["log_uniform"]
        if not isinstance(ends, Sequence) or len(ends) != 2:
            raise UsageError(f"camera {name}: log_uniform must be [LOW, HIGH], not {ends!r}")
        low, high = (_iso(name, end, vocabulary) for end in ends)
        if low > high:
            raise UsageError(
                f"camera {name}: log_uniform goes from {low} down to {high}; put the lower first"
            )
        return CameraDraw(weight, log_uniform=(low, high))
    if isinstance(iso, list):
        weights = [(_iso(name, setting, vocabulary), 1.0) for setting in iso]
    elif isinstance(iso, Mapping):
        weights = [
            (_iso(name, setting, vocabulary), _weight(value, f"camera {name}, ISO {setting}"))
            for setting, value in iso.items()
        ]
    else:
        weights = []
    if not weights or len(dict(weights)) != len(weights):
        raise UsageError(
            f"camera {name}: iso must be different settings as in [100, 800], {{100: 3, 800: 1}} or "
            f"{{log_uniform: [100, 800]}}, not {iso!r}"
        )
    return CameraDraw(weight, tuple(sorted(weights)))


def _check_keys(found: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
    for key in found:
        if key not in known:
            hint = did_you_mean(str(key), known) or ";"
            raise UsageError(f"{where} has the unknown key {key!r}{hint} known: {', '.join(known)}")


def _weight(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UsageError(f"{where}: a weight must be a positive number, not {value!r}")
    return float(value)


def _iso(camera: str, value: object, vocabulary: Vocabulary) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdecimal():
        raise UsageError(f"camera {camera}: an ISO must be a whole number, not {value!r}")
    vocabulary.resolve(Condition(camera, int(text)))
    return int(text)
