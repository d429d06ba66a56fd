"""Training recipes for noise models."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["RECIPES", "TrainConfig"]


@dataclass(frozen=True)
class TrainConfig:
    """How a noise model is trained; every value is stored in the checkpoint's card.

    Attributes:
        preset: architecture, a name in `noisegen.models.nm_flowgan.config.PRESETS`.
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
        quantiles: weight of the distance between sorted generated and real noise.
        balance: draw conditions, then pictures, uniformly, instead of patches.
        ema: decay of the averaged weights that are saved; 0 saves the last ones.
    """

    preset: str = "compact"
    steps: int | None = 3600
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
    adversarial_from: int = 2000
    penalty: float = 10.0
    statistics: float = 1.0
    quantiles: float = 1.0
    balance: bool = True
    ema: float = 0.998

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"betas": list(self.betas)}


RECIPES: dict[str, TrainConfig] = {
    "compact": TrainConfig(),
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
    ),
}
