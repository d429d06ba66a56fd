"""What a row of the manifest asks for: camera and ISO of each noisy version, and the number of tiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisegen.condition_draw import ConditionDraw
from noisegen.conditions import Condition
from noisegen.errors import InputError
from noisegen.images import probe
from noisegen.manifest import BadRow, ManifestRow
from noisegen.models.pictures import check_picture
from noisegen.models.protocol import NoiseModel
from noisegen.models.references import resolve_condition
from noisegen.photographs import get_photograph
from noisegen.synthesis.plan import BuildConfig

__all__ = ["ChosenCondition", "ConditionChoice", "ExpectedTiles"]


@dataclass(frozen=True)
class ChosenCondition:
    """A condition, how its ISO is handled (see `noisegen.conditions.ConditionMix.rule`), and whether it was drawn."""

    condition: Condition
    rule: str
    drawn: bool


class ConditionChoice:
    """Takes camera and ISO from the settings or the manifest, and draws what neither gives."""

    def __init__(self, config: BuildConfig, model: NoiseModel) -> None:
        self._config, self._model, self._vocabulary = config, model, model.vocabulary
        self._distribution = (
            None if config.conditions is None else ConditionDraw.parse(config.conditions, self._vocabulary)
        )

    def choose(self, row: ManifestRow) -> list[ChosenCondition]:
        """One condition for each variant.

        Raises:
            InputError: the model, or its pool of references, does not cover what was asked for.
        """
        return [self._choose(row, variant) for variant in range(self._config.variants)]

    def _choose(self, row: ManifestRow, variant: int) -> ChosenCondition:
        camera = self._config.camera if self._config.camera is not None else row.camera
        iso = self._config.iso if self._config.iso is not None else row.iso
        seed = self._config.seed
        if self._distribution is None:
            condition = self._vocabulary.draw(seed, row.id, variant, camera, iso)
        else:
            condition = self._distribution.draw(self._vocabulary, seed, row.id, variant, camera, iso)
        return ChosenCondition(
            condition, resolve_condition(self._model, condition).rule, camera is None or iso is None
        )


class ExpectedTiles:
    """Counts the tiles that a row gives if its photograph is what the file's header says."""

    def __init__(self, config: BuildConfig, model: NoiseModel) -> None:
        self._config, self._model = config, model
        self._conditions = ConditionChoice(config, model)

    def count(self, row: ManifestRow | BadRow) -> int:
        """Those of all variants, before any are left out for what they show.

        Raises:
            InputError: the row fails for a reason that shows without decoding the photograph.
        """
        if isinstance(row, BadRow):
            raise InputError(row.reason, row.message)
        self._conditions.choose(row)
        photograph = get_photograph(row.path, self._config.max_pixels)
        info = probe(photograph, max_pixels=self._config.max_pixels)
        dtype = np.uint8 if info.bits == 8 else np.uint16
        check_picture(self._model, np.zeros((1, 1, info.channels), dtype))
        return self._config.variants * len(self._config.tiles_of(info.height, info.width))
