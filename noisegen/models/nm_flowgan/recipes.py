"""Training recipes of NM-FlowGAN."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

from noisegen.errors import UsageError
from noisegen.models.learning import Recipe
from noisegen.models.nm_flowgan.sizes import PRESETS, NMFlowGANSizes
from noisegen.suggestions import did_you_mean

__all__ = ["PARTS", "RECIPES", "STRATEGIES", "NMFlowGANRecipe", "Strategy"]

Strategy = Literal["simultaneous", "joint", "two-stage"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
# What an ablation can leave out.
PARTS = ("sal", "sdl", "gan", "flow")


@dataclass(frozen=True)
class NMFlowGANRecipe(Recipe):
    """How an NM-FlowGAN is trained; `steps` are critic updates.

    Attributes:
        model: its sizes.
        flow_lr, generator_lr, critic_lr: Adam's learning rates.
        betas: Adam's betas of generator and critic.
        generator_every: flow and generator step once in so many critic steps.
        adversarial: weight of the critic's score in the generator's loss.
        adversarial_from: step at which critic and adversarial loss start.
        penalty: weight of the gradient penalty.
        statistics: weight of the second-moment matching of generated and real noise.
        quantiles: weight of the distance between sorted generated and real noise; between sorted latents and a normal
            distribution where the generator correlates latents.
        strategy: "simultaneous": each network by its own loss, at the same time; "joint": the generator's losses
            also move the flow; "two-stage": the flow by its likelihood, then, with the flow frozen, the generator.
        flow_share: share of the steps that the first of two stages takes.
        without: parts that are left out (the paper's Table II): "sal" and "sdl", the structure-aware and
            signal-dependent layers of the flow (and its curve of the noise level); "gan", the generator, its critic
            and the filter; "flow", the whole flow, where the generator gets normal noise of one level for all
            conditions instead.
    """

    model: NMFlowGANSizes = PRESETS["compact"]
    flow_lr: float = 3e-3
    generator_lr: float = 1e-3
    critic_lr: float = 5e-4
    betas: tuple[float, float] = (0.0, 0.9)
    generator_every: int = 1
    adversarial: float = 0.03
    adversarial_from: int = 1500
    penalty: float = 10.0
    statistics: float = 1.0
    quantiles: float = 1.0
    strategy: Strategy = "simultaneous"
    flow_share: float = 0.25
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strategy not in STRATEGIES:
            raise UsageError(f"unknown strategy {self.strategy!r}; use {', '.join(STRATEGIES)}")
        unknown = [part for part in self.without if part not in PARTS]
        if unknown:
            hint = did_you_mean(unknown[0], PARTS) or ";"
            raise UsageError(
                f"cannot train without {unknown[0]!r}{hint} what can be left out: {', '.join(PARTS)}"
            )
        if {"flow", "gan"} <= set(self.without):
            raise UsageError("without flow and without gan there is nothing to train; leave out one of them")
        if self.strategy != "simultaneous" and {"flow", "gan"} & set(self.without):
            raise UsageError(f"strategy {self.strategy} needs the flow and the generator; leave out neither")
        if (self.strategy != "simultaneous" or "flow" in self.without) and not self.has_generator:
            raise UsageError(
                "the model of this recipe has no generator, which this needs; use --recipe hybrid or paper"
            )
        if not 0 < self.flow_share < 1:
            raise UsageError(
                f"the first stage's share of the steps must lie between 0 and 1, not {self.flow_share}"
            )

    def lasting(self, steps: int) -> Self:
        if self.steps is None:
            return replace(self, steps=steps)
        return replace(self, steps=steps, adversarial_from=self.adversarial_from * steps // self.steps)

    @property
    def has_generator(self) -> bool:
        """Whether there is a generator, and so a critic, to train."""
        return self.architecture(3, 8).generator

    def architecture(self, channels: int, bit_depth: int) -> NMFlowGANSizes:
        """See `Recipe.architecture`; what is left out is left out of the sizes."""
        sizes = super().architecture(channels, bit_depth)
        assert isinstance(sizes, NMFlowGANSizes)
        without = set(self.without)
        if "flow" in without:
            # One layer, which is never trained, scales normal noise to the data's level.
            return replace(
                sizes,
                structure=False,
                signal=False,
                flow_blocks=1,
                tone=False,
                tails=False,
                intensity_knots=0,
                period=1,
            )
        if "gan" in without:
            sizes = replace(sizes, filter_size=0, generator=False)
        if "sdl" in without:
            sizes = replace(sizes, signal=False, intensity_knots=0)
        return replace(sizes, structure="sal" not in without)


RECIPES: dict[str, NMFlowGANRecipe] = {
    "compact": NMFlowGANRecipe(),
    "hybrid": NMFlowGANRecipe(model=PRESETS["hybrid"], strategy="two-stage", flow_share=0.5),
    # Section IV-A: 40 epochs, batch 128, Adam 1e-4 halved every 10 epochs, lambda 10, generator every 5th step.
    "paper": NMFlowGANRecipe(
        model=PRESETS["paper"],
        steps=None,
        batch=128,
        flow_lr=1e-4,
        generator_lr=1e-4,
        critic_lr=1e-4,
        betas=(0.9, 0.999),
        schedule="halve",
        generator_every=5,
        adversarial=1.0,
        adversarial_from=0,
        statistics=0.0,
        quantiles=0.0,
        balance=False,
        ema=0.0,
        validate_every=5000,
    ),
}
