"""Camera and ISO of each noisy version of a photograph: the manifest's, the command's, or drawn."""

from __future__ import annotations

from dataclasses import dataclass

from noisegen.condition_draw import ConditionDraw
from noisegen.conditions import Condition, Vocabulary
from noisegen.manifest import ManifestRow
from noisegen.synthesis.plan import BuildConfig

__all__ = ["ChosenCondition", "RowConditions"]


@dataclass(frozen=True)
class ChosenCondition:
    """A condition that the model covers, how its ISO is handled, and whether any of it was drawn."""

    condition: Condition
    rule: str
    drawn: bool


class RowConditions:
    """Chooses conditions for the rows of a manifest.

    Args:
        config: the resolved configuration.
        vocabulary: of the noise model.
    """

    def __init__(self, config: BuildConfig, vocabulary: Vocabulary) -> None:
        self._config = config
        self._vocabulary = vocabulary
        stored = config.conditions
        self._draw = None if stored is None else ConditionDraw.parse(stored, vocabulary)

    def of(self, row: ManifestRow) -> list[ChosenCondition]:
        """One for each variant.

        Raises:
            InputError: the model does not cover what is given.
        """
        return [self._choose(row, variant) for variant in range(self._config.variants)]

    def _choose(self, row: ManifestRow, variant: int) -> ChosenCondition:
        config, vocabulary = self._config, self._vocabulary
        camera = config.camera if config.camera is not None else row.camera
        iso = config.iso if config.iso is not None else row.iso
        if self._draw is None:
            condition = vocabulary.draw(config.seed, row.id, variant, camera, iso)
        else:
            condition = self._draw.draw(vocabulary, config.seed, row.id, variant, camera, iso)
        return ChosenCondition(condition, vocabulary.resolve(condition).rule, camera is None or iso is None)
