"""Sizes and recipes of NeCA-W."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from noisegen.errors import UsageError
from noisegen.models.learning import ModelSizes, Recipe

__all__ = ["RECIPES", "NecaRecipe", "NecaSizes"]


@dataclass(frozen=True)
class NecaSizes(ModelSizes):
    """Architecture of one camera's networks; the defaults are as published (8.1 million parameters).

    Attributes:
        gain_width, gain_depth: channels and convolutions of the gain estimation network (GENet).
        level_width: channels of the noise-level prediction network (NPNet).
        level_norm: what NPNet's features are normalised over: the whole "picture", as published, which makes the noise
            depend on where a picture is cut into tiles; or the channels of each "pixel", which does not.
        correlation_width, correlation_stages: channels of the first stage of the neighbouring correlation network
            (NCNet) and number of its stages, each of half the resolution.
        unit: 8-bit grey levels that count as 1 for gain, noise level and noise. As published 256.
    """

    gain_width: int = 96
    gain_depth: int = 5
    level_width: int = 96
    level_norm: Literal["picture", "pixel"] = "picture"
    correlation_width: int = 64
    correlation_stages: int = 4
    unit: float = 256.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.level_norm not in ("picture", "pixel"):
            raise UsageError(f"level_norm must be 'picture' or 'pixel', not {self.level_norm!r}")
        if self.gain_depth < 2:
            raise UsageError(f"gain_depth must be at least 2, not {self.gain_depth}")
        if min(self.gain_width, self.level_width, self.correlation_width, self.correlation_stages) < 1:
            raise UsageError("widths and stages must be at least 1")
        if self.unit <= 0:
            raise UsageError(f"unit must be above 0, not {self.unit}")

    @property
    def noise_unit(self) -> float:
        """Pixel values that count as 1 for gain, noise level and noise."""
        return self.unit * self.grey


@dataclass(frozen=True)
class NecaRecipe(Recipe):
    """How NeCA-W is trained. The weights, betas and rates of "paper" are those of the authors' implementation.

    Attributes:
        gain_lr, generator_lr, critic_lr: Adam's learning rates, of GENet, of NPNet and NCNet, and of the critics.
        betas: Adam's.
        gain_weight: of the squared error of the gain.
        level_weight: of the squared error of the noise level.
        regular_weight: of the squared difference of noise level and gain.
        adversarial: weight of either critic's score.
        adversarial_every: steps between two in which the generator heeds the critics, which learn in every one.
        adversarial_from: first step in which the critics learn.
        penalty: weight of the gradient penalty.
        subsampling: distance in pixels at which noise counts as uncorrelated.
        critic_width: channels of the critics' first convolution.
        critic_depth: number of times that the critic of whole patches halves the resolution; that of subsampled ones
            does so one time less.
    """

    gain_lr: float = 1e-4
    generator_lr: float = 1e-4
    critic_lr: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.9)
    gain_weight: float = 50.0
    level_weight: float = 10.0
    regular_weight: float = 1.0
    adversarial: float = 0.1
    adversarial_every: int = 5
    adversarial_from: int = 0
    penalty: float = 10.0
    subsampling: int = 3
    critic_width: int = 64
    critic_depth: int = 5

    def lasting(self, steps: int) -> Self:
        """The recipe in so many steps; the critics begin after the same share of them."""
        begins = self.adversarial_from
        if self.steps:
            begins = round(begins * steps / self.steps)
        return replace(self, steps=steps, adversarial_from=begins)


RECIPES = {
    # Noise of most cameras is of order one in units of 16 grey levels, for the networks and for the critics. Squared
    # errors grow 256 times from the published unit to this one, and scores 16 times: the level heeds its error more.
    "compact": NecaRecipe(
        NecaSizes(
            gain_width=16,
            gain_depth=4,
            level_width=24,
            level_norm="pixel",
            correlation_width=16,
            correlation_stages=2,
            unit=16.0,
        ),
        steps=1200,
        batch=16,
        patch=64,
        generator_lr=1e-3,
        critic_lr=5e-4,
        betas=(0.5, 0.99),
        adversarial_every=2,
        adversarial_from=120,
        critic_width=16,
        critic_depth=3,
    ),
    "paper": NecaRecipe(
        NecaSizes(),
        steps=300_000,
        batch=8,
        patch=96,
        schedule="halve",
        balance=False,
        ema=0.0,
        validate_every=5000,
    ),
}
