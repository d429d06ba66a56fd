"""NeCA-W in the registry of model types."""

from __future__ import annotations

from noisegen.models.neca.config import RECIPES, NecaSizes
from noisegen.models.neca.learner import NecaLearner
from noisegen.models.neca.model import Neca
from noisegen.models.registry import ModelType

__all__ = ["NECA_W"]

NECA_W = ModelType(
    name="neca-w",
    title="NeCA-W (Fu, Guo and Wen, CVPR 2023): noise of a predicted level, correlated by a GAN; a model per camera",
    sizes=NecaSizes,
    model=Neca,
    recipes=RECIPES,
    learner=NecaLearner,
)
