"""The types of noise models by name, each loaded where it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import UsageError
from noisegen.suggestions import did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from noisegen.models.learning import LearnedModel, Learner, ModelSizes, Recipe

__all__ = ["ENTRY_POINTS", "ModelType", "model_type", "model_types"]

ENTRY_POINTS = "noisegen.noise_models"

# name -> "module:name of its ModelType"
_BUILT_IN = {
    "nm-flowgan": "noisegen.models.nm_flowgan.model_type:NM_FLOWGAN",
    "awgn": "noisegen.models.classical:AWGN",
    "poisson-gaussian": "noisegen.models.classical:POISSON_GAUSSIAN",
    "heteroscedastic": "noisegen.models.classical:HETEROSCEDASTIC",
    "correlated-gaussian": "noisegen.models.correlated_gaussian:CORRELATED_GAUSSIAN",
    "c2n": "noisegen.models.c2n.model_type:C2N",
    "naflow": "noisegen.models.naflow.model_type:NAFLOW",
    "srgbflow": "noisegen.models.srgbflow.model_type:SRGBFLOW",
    "neca-w": "noisegen.models.neca.model_type:NECA_W",
}


@dataclass(frozen=True)
class ModelType:
    """What noisegen knows of a type of noise model.

    It is either learned, step by step (`recipes` and `learner`), or fitted in one pass over the pairs (`fit`).

    Attributes:
        name: in ``--model-type`` and in checkpoints.
        title: what it is and who published it, for people.
        sizes: the class of its architecture's description.
        model: makes one, untrained, from sizes and vocabulary.
        recipes: ways to train it by name, the usual one first.
        learner: see `noisegen.models.learning.Learner`; called with (model, recipe, mixed_precision=...).
        fit: called with an iterable of (condition, noisy, clean), uint8 or uint16 [H, W, C] of one kind, which can be
            read once, and with `bit_depth`; returns the fitted model.
    """

    name: str
    title: str
    sizes: type[ModelSizes]
    model: Callable[[Any, Vocabulary], LearnedModel]
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    learner: Callable[..., Learner] | None = None
    fit: Callable[[Iterable[tuple[Condition, np.ndarray, np.ndarray]], int], LearnedModel] | None = None


def model_types() -> list[str]:
    """The names of all types: noisegen's own, then those of installed packages (entry points, see `ENTRY_POINTS`)."""
    return [*_BUILT_IN, *sorted(_installed())]


def model_type(name: str) -> ModelType:
    """The type of this name.

    Raises:
        UsageError: there is none, or the package that brings it cannot be imported.
    """
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        found = getattr(importlib.import_module(module), attribute)
    elif point := _installed().get(name):
        try:
            found = point.load()
        except (ImportError, AttributeError) as error:
            raise UsageError(f"model type {name!r} ({point.value}) cannot be loaded: {error}") from error
    else:
        hint = did_you_mean(name, model_types()) or ";"
        raise UsageError(f"unknown model type {name!r}{hint} there are: {', '.join(model_types())}")
    if not isinstance(found, ModelType) or found.name != name:
        raise UsageError(f"model type {name!r} is not a noisegen.models.registry.ModelType of this name")
    return found


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS) if point.name not in _BUILT_IN}
