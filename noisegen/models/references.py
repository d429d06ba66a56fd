"""Noisy pictures that a model learns from what noise to make: their descriptions, and which one a photograph gets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from noisegen.conditions import Condition, ConditionMix, Vocabulary
from noisegen.errors import InputError
from noisegen.models.picture_randomness import picture_uniforms
from noisegen.models.pictures import check_picture
from noisegen.models.protocol import NoiseModel, Randomness, ReferencedModel

__all__ = [
    "REFERENCE_SIDE",
    "ReferencePool",
    "WithPool",
    "describe_picture",
    "reference_crop",
    "resolve_condition",
]

# Side of the central square of a reference that is described, in pixels.
REFERENCE_SIDE = 512
# Of `picture_uniforms`, so that the choice of a reference is independent of what the model draws.
STREAM = 1


@dataclass(frozen=True)
class ReferencePool:
    """Descriptions of references by the camera and ISO that they were taken with.

    Attributes:
        descriptions: float32 [N, K] each, N >= 1, on the CPU.
    """

    descriptions: Mapping[Condition, Tensor]

    @classmethod
    def of(cls, described: Iterable[tuple[Condition, Tensor]]) -> Self:
        """The pool of these descriptions [K]; those of a condition keep their order."""
        groups: dict[Condition, list[Tensor]] = {}
        for condition, description in described:
            groups.setdefault(condition, []).append(description.cpu().float())
        return cls({condition: torch.stack(found) for condition, found in sorted(groups.items())})

    def around(self, mix: ConditionMix) -> Tensor:
        """The descriptions [N, K] of the references for a condition.

        They are those of the nearest ISO, in log ISO, that the pool has of the camera between the two that the model
        blends (both included, the lower of two equally near ones). For an ISO that the model knows it is that one.

        Raises:
            InputError: ``no_reference``: there is none.
        """
        asked = mix.condition
        isos = sorted(c.iso for c in self.descriptions if c.camera == asked.camera)
        near = [iso for iso in isos if mix.low.iso <= iso <= mix.high.iso]
        if not near:
            where = (
                f"at ISO {asked.iso}" if mix.low == mix.high else f"from ISO {mix.low.iso} to {mix.high.iso}"
            )
            has = f" (it has ISO {', '.join(map(str, isos))})" if isos else ""
            raise InputError(
                "no_reference",
                f"the pool of noisy pictures has none of camera {asked.camera} {where}{has}; add a pair taken with "
                "these settings to its table, or ask for another camera and ISO",
            )
        nearest = min(near, key=lambda iso: abs(math.log(iso / asked.iso)))
        return self.descriptions[Condition(asked.camera, nearest)]


class WithPool:
    """A plain `NoiseModel`: a model that takes references, together with a pool of them.

    Every noisy photograph gets one of the references for its condition, each equally likely: a function of its key
    (seed, image id and variant) alone, so that all of its tiles have the same.

    Args:
        model: on the device where it is to run.
        pool: what `describe_picture` gave for the same weights.
    """

    def __init__(self, model: ReferencedModel, pool: ReferencePool) -> None:
        self.model, self.pool = model, pool

    @property
    def vocabulary(self) -> Vocabulary:
        return self.model.vocabulary

    @property
    def channels(self) -> int:
        return self.model.channels

    @property
    def bit_depth(self) -> int:
        return self.model.bit_depth

    @property
    def alignment(self) -> int:
        return self.model.alignment

    def sample(
        self, clean: Tensor, condition: Sequence[Condition], *, noise: Randomness, strength: float = 1.0
    ) -> Tensor:
        """See `NoiseModel.sample`.

        Raises:
            InputError: as the model's, and ``no_reference``: the pool has none for a condition.
        """
        places = picture_uniforms(noise, 1, stream=STREAM)[:, 0].tolist()
        reference = torch.stack([self._pick(c, place) for c, place in zip(condition, places, strict=True)])
        return self.model.sample(
            clean, condition, noise=noise, strength=strength, reference=reference.to(clean.device)
        )

    def has_reference(self, condition: Condition) -> bool:
        """Whether the pool has a reference for a condition that the model covers.

        Raises:
            InputError: the model does not cover it.
        """
        mix = self.vocabulary.resolve(condition)
        try:
            self.pool.around(mix)
        except InputError:
            return False
        return True

    def _pick(self, condition: Condition, place: float) -> Tensor:
        found = self.pool.around(self.vocabulary.resolve(condition))
        return found[int(place * len(found))]


def resolve_condition(model: NoiseModel, condition: Condition) -> ConditionMix:
    """How a model handles a condition.

    Raises:
        InputError: it does not cover it, or has a pool without a reference for it.
    """
    mix = model.vocabulary.resolve(condition)
    if isinstance(model, WithPool):
        model.pool.around(mix)
    return mix


def reference_crop(picture: np.ndarray, alignment: int) -> np.ndarray:
    """The part of a picture [H, W, C] that is described: its central square of `REFERENCE_SIDE` pixels.

    Sides that are shorter are taken whole. It starts at a multiple of `alignment`, as tiles do (see `NoiseModel`).
    """
    starts = (max(0, side - REFERENCE_SIDE) // 2 for side in picture.shape[:2])
    y, x = (start // alignment * alignment for start in starts)
    return picture[y : y + REFERENCE_SIDE, x : x + REFERENCE_SIDE]


@torch.inference_mode()
def describe_picture(
    model: ReferencedModel, noisy: np.ndarray, clean: np.ndarray, condition: Condition, *, device: str = "cpu"
) -> Tensor:
    """The description of one reference, from its `reference_crop`.

    Args:
        model: on `device`.
        noisy, clean: uint8 or uint16 [H, W, C], alike.
        condition: camera and ISO.
        device: of the model.

    Returns:
        float32 [K], on the CPU.

    Raises:
        InputError: the picture is not of the model's kind, the model does not cover the condition, or
            (``not_finite``) describes it by values that are no numbers.
    """
    check_picture(model, clean)
    sides = [_planes(reference_crop(side, model.alignment)).to(device) for side in (noisy, clean)]
    description = model.describe(sides[0], sides[1], [condition])[0].float().cpu()
    if not description.isfinite().all():
        raise InputError("not_finite", "the model describes the picture by values that are no numbers")
    return description


def _planes(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None].contiguous()
