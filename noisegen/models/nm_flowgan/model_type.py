"""NM-FlowGAN among the types of noise models."""

from noisegen.models.nm_flowgan.learner import NMFlowGANLearner
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.recipes import RECIPES
from noisegen.models.nm_flowgan.sizes import NMFlowGANSizes
from noisegen.models.registry import ModelType

__all__ = ["NM_FLOWGAN"]

NM_FLOWGAN = ModelType(
    name="nm-flowgan",
    title="NM-FlowGAN (Han and Yu 2023): flow for the noise of each pixel, filter or GAN for its correlation",
    sizes=NMFlowGANSizes,
    model=NMFlowGAN,
    recipes=RECIPES,
    learner=NMFlowGANLearner,
)
