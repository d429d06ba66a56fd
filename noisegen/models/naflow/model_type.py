"""How NAFlow is trained: by likelihood."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor

from noisegen.errors import UsageError
from noisegen.models.learning import Batch, LearnedModel, Learner, Patches, Recipe, Update
from noisegen.models.naflow.model import Naflow, NaflowSizes
from noisegen.models.registry import ModelType

__all__ = ["NAFLOW", "NaflowLearner", "NaflowRecipe"]

# Batches of each setting that its covariance is fitted to
FIT_DRAWS = 3


@dataclass(frozen=True)
class NaflowRecipe(Recipe):
    """How NAFlow is trained.

    Attributes:
        lr: Adam's learning rate.
        betas: of Adam.
        condition_noise: standard deviation, in 8-bit grey levels, of white noise that is added to the clean picture
            where it conditions the flow, in training only, so that the flow does not learn pictures by heart.
    """

    model: NaflowSizes = field(default_factory=NaflowSizes)
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    condition_noise: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        side = cast(NaflowSizes, self.architecture(3, 8)).side
        if self.patch % side:
            raise UsageError(
                f"a patch of {self.patch} pixels does not fit squares of {side}; choose a multiple"
            )


class NaflowLearner(Learner):
    """Maximises the likelihood of real noise given its clean picture and setting.

    The loss `nll` is in nats per value of a pixel. Everything stays in float32.
    """

    model: Naflow
    recipe: NaflowRecipe
    titles: ClassVar[Mapping[str, str]] = {"nll": "negative log-likelihood (nats per value)"}

    def __init__(self, model: Naflow, recipe: NaflowRecipe, *, mixed_precision: bool = False) -> None:
        super().__init__(model, recipe, mixed_precision=mixed_precision)
        self.optimizers["flow"] = torch.optim.Adam(model.parameters(), recipe.lr, recipe.betas)

    @torch.no_grad()
    def initialise(self, batches: Iterable[Batch]) -> None:
        """Standardisation, principal components, and the settings' mean and deviation of what these make of the noise.

        This start, noisegen's own, is already a Gaussian model of each setting's noise in squares of pixels, so that a
        short training is left with what depends on the picture.
        """
        looked_at = list(batches)
        noisy = torch.cat([dequantized(batch.noisy, batch.uniform()) for batch in looked_at])
        clean = torch.cat([batch.clean for batch in looked_at])
        setting = torch.cat([self.model.settings(batch.conditions)[batch.part] for batch in looked_at])
        self.model.initialise(noisy, clean, setting)

    def step(self, batch: Batch, step: int, steps: int, update: Update) -> dict[str, Tensor]:
        self.model.train()
        setting = self.model.settings(batch.conditions)[batch.part]
        noisy = dequantized(batch.noisy, batch.uniform())
        blur = self.recipe.condition_noise * self.model.sizes.grey * batch.normal()
        latent, log_det = self.model.encode(noisy, batch.clean, blur)
        log_likelihood = self.model.log_prob(latent, setting) + log_det
        nll = -log_likelihood.mean() / batch.noisy[0].numel()
        update("flow", nll)
        return {"nll": nll.detach()}

    @torch.no_grad()
    def settle(self, weights: LearnedModel, patches: Patches, done: int, steps: int) -> None:
        """Fits the covariances of the settings' latents, where the model has such."""
        model = cast(Naflow, weights)
        if model.factor is None:
            return
        for row, condition in enumerate(model.vocabulary.known):
            latents = []
            for number in range(FIT_DRAWS):
                batch = patches.of_condition(condition, self.recipe.batch, draw=number)
                latents.append(model.encode(dequantized(batch.noisy, batch.uniform()), batch.clean)[0])
            model.fit_covariance(row, torch.cat(latents))


def dequantized(values: Tensor, uniform: Tensor) -> Tensor:
    """Pixel values spread symmetrically over their quantization interval, by numbers in [0, 1)."""
    return values + uniform - 0.5


NAFLOW = ModelType(
    name="naflow",
    title="NAFlow (Kim et al., ICLR 2024): noise-aware sampling with a multi-scale normalizing flow",
    sizes=NaflowSizes,
    model=Naflow,
    learner=NaflowLearner,
    recipes={
        "compact": NaflowRecipe(steps=1500, batch=16, patch=64, validate_every=500),
        # Sizes, optimizer, batch and patch as in the published configuration. That halves the rate after 50, 75, 90
        # and 95 % of the steps, this schedule after each quarter.
        "paper": NaflowRecipe(
            model=NaflowSizes(transitions=2, features=128, hidden=64, covariance="diagonal"),
            steps=100_000,
            batch=8,
            patch=160,
            lr=1e-4,
            schedule="halve",
            ema=0.0,
            validate_every=5000,
            keep="last",
        ),
    },
)
