"""Training recipes for noise models."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from noisegen.errors import UsageError
from noisegen.models.nm_flowgan.config import PRESETS, NMFlowGANConfig

__all__ = ["PARTS", "RECIPES", "STRATEGIES", "Strategy", "TrainConfig"]

Strategy = Literal["simultaneous", "joint", "two-stage"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
# What an ablation can leave out.
PARTS = ("sal", "sdl", "gan", "flow")


@dataclass(frozen=True)
class TrainConfig:
    """How a noise model is trained; every value is stored in the checkpoint's card.

    Attributes:
        preset: architecture, a name in `noisegen.models.nm_flowgan.config.PRESETS`.
        sizes: fields of the preset that are changed, with their values.
        steps: critic updates; None means `epochs` passes over the patches of a step-48 grid.
        epochs: used when `steps` is None.
        batch: patches per step.
        patch: side of the square training patch in pixels.
        seed: of everything random.
        flow_lr, generator_lr, critic_lr: Adam's learning rates.
        betas: Adam's betas of generator and critic.
        schedule: "halve" (every quarter of the training, as in the paper) or "cosine" (to 2 %).
        generator_every: flow and generator step once in so many critic steps.
        adversarial: weight of the critic's score in the generator's loss.
        adversarial_from: step at which critic and adversarial loss start.
        penalty: weight of the gradient penalty.
        statistics: weight of the second-moment matching of generated and real noise.
        quantiles: weight of the distance between sorted generated and real noise; between sorted latents and a normal
            distribution where the generator correlates latents.
        balance: draw conditions, then pictures, uniformly, instead of patches.
        ema: decay of the averaged weights that are saved; 0 saves the last ones.
        strategy: "simultaneous": each network by its own loss, at the same time; "joint": the generator's losses
            also move the flow; "two-stage": the flow by its likelihood, then, with the flow frozen, the generator.
        flow_share: share of the steps that the first of two stages takes.
        without: parts that are left out (the paper's Table II): "sal" and "sdl", the structure-aware and
            signal-dependent layers of the flow (and its curve of the noise level); "gan", the generator, its critic
            and the filter; "flow", the whole flow, where the generator gets normal noise of one level for all
            conditions instead.
        validate_every: steps between two validations; there is one at the end in any case.
        validate_pictures: pictures of a condition that are validated on.
        validate_crop: side of their central square in pixels.
        keep: which weights become the model: the "best" validated or the "last" ones.
    """

    preset: str = "compact"
    sizes: tuple[tuple[str, int | float | bool], ...] = ()
    steps: int | None = 2000
    epochs: int = 40
    batch: int = 16
    patch: int = 96
    seed: int = 0
    flow_lr: float = 3e-3
    generator_lr: float = 1e-3
    critic_lr: float = 5e-4
    betas: tuple[float, float] = (0.0, 0.9)
    schedule: str = "cosine"
    generator_every: int = 1
    adversarial: float = 0.03
    adversarial_from: int = 1500
    penalty: float = 10.0
    statistics: float = 1.0
    quantiles: float = 1.0
    balance: bool = True
    ema: float = 0.998
    strategy: Strategy = "simultaneous"
    flow_share: float = 0.25
    without: tuple[str, ...] = ()
    validate_every: int = 200
    validate_pictures: int = 4
    validate_crop: int = 512
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        self.architecture(3, 8)  # refuses sizes that are none
        if self.strategy not in STRATEGIES:
            raise UsageError(f"unknown strategy {self.strategy!r}; use {', '.join(STRATEGIES)}")
        unknown = [part for part in self.without if part not in PARTS]
        if unknown:
            raise UsageError(f"cannot train without {unknown[0]!r}; what can be left out: {', '.join(PARTS)}")
        if {"flow", "gan"} <= set(self.without):
            raise UsageError("without flow and without gan there is nothing to train; leave out one of them")
        if self.strategy != "simultaneous" and {"flow", "gan"} & set(self.without):
            raise UsageError(f"strategy {self.strategy} needs the flow and the generator; leave out neither")
        if (self.strategy != "simultaneous" or "flow" in self.without) and not self.has_generator:
            raise UsageError(
                f"the model of recipe {self.preset} has no generator, which this needs; use --recipe hybrid or paper"
            )
        if not 0 < self.flow_share < 1:
            raise UsageError(
                f"the first stage's share of the steps must lie between 0 and 1, not {self.flow_share}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {
            "sizes": dict(self.sizes),
            "betas": list(self.betas),
            "without": list(self.without),
        }

    def lasting(self, steps: int) -> TrainConfig:
        """The recipe in so many steps, with what begins or recurs at a step moved in proportion."""
        if self.steps is None:
            return replace(self, steps=steps)
        return replace(self, steps=steps, adversarial_from=self.adversarial_from * steps // self.steps)

    @property
    def has_generator(self) -> bool:
        """Whether there is a generator, and so a critic, to train."""
        return self.architecture(3, 8).generator

    def architecture(self, channels: int, bit_depth: int) -> NMFlowGANConfig:
        """The model's sizes for pictures of `channels` channels and `bit_depth` bits."""
        changed: dict[str, Any] = dict(self.sizes)
        unknown = sorted(changed.keys() - NMFlowGANConfig().to_dict().keys())
        if unknown:
            raise UsageError(f"{unknown[0]!r} is no size of a model; see noisegen.models.nm_flowgan.config")
        sizes = replace(PRESETS[self.preset], **changed | {"channels": channels, "bit_depth": bit_depth})
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


RECIPES: dict[str, TrainConfig] = {
    "compact": TrainConfig(),
    "hybrid": TrainConfig(preset="hybrid", strategy="two-stage", flow_share=0.5),
    # Section IV-A: 40 epochs, batch 128, Adam 1e-4 halved every 10 epochs, lambda 10, generator every 5th step.
    "paper": TrainConfig(
        preset="paper",
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
