"""How an sRGBFlow is trained: recipes and learner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from noisegen.models.condition_codes import ConditionCode
from noisegen.models.learning import Batch, LearnedModel, Learner, Patches, Recipe, Update
from noisegen.models.registry import ModelType
from noisegen.models.srgbflow.layers import ConditionalLinear
from noisegen.models.srgbflow.model import SRGBFlow, SRGBFlowSizes

__all__ = ["RECIPES", "SRGBFLOW", "SRGBFlowLearner", "SRGBFlowRecipe"]

MATCHING_PATCHES = 16
MATCHING_ROUNDS = 2


@dataclass(frozen=True)
class SRGBFlowRecipe(Recipe):
    """How an sRGBFlow is trained: by likelihood alone.

    Attributes:
        learning_rate: of Adam.
        start_from_data: the first conditional linear layer starts with the mean and deviation of each condition's
            noise, rather than with 0 and 1 in units of 2**bit_depth grey levels.
        match_moments: the first layer, the last of sampling, is set so that the mean and deviation of drawn noise are
            those of the data, for each condition and channel. This differs from the paper. Likelihood asks that latents
            of real noise have variance 1, not that they are white, which these couplings cannot make them; noise drawn
            from white latents is then off in its mean and, in 1000 steps on PolyU and SIDD, 20 to 40 % too strong.
    """

    learning_rate: float = 1e-4
    start_from_data: bool = False
    match_moments: bool = False


RECIPES: Mapping[str, SRGBFlowRecipe] = {
    # The published layers without batch norm, started so that 2000 steps suffice.
    "compact": SRGBFlowRecipe(
        replace(SRGBFlowSizes(), width=8, batch_norm=False, condition_encoder="table"),
        batch=12,
        patch=64,
        learning_rate=5e-3,
        start_from_data=True,
        match_moments=True,
    ),
    # As the authors trained the model they published: 60 epochs of patches side by side, which are 15 of the patches
    # that overlap by half. Their learning rate stays the same to the end.
    "paper": SRGBFlowRecipe(
        SRGBFlowSizes(),
        steps=None,
        epochs=15,
        batch=138,
        patch=32,
        schedule="halve",
        balance=False,
        ema=0.0,
        validate_every=5000,
    ),
}


class SRGBFlowLearner(Learner):
    """Minimises the negative log-likelihood of freshly dequantized pairs."""

    titles: ClassVar[Mapping[str, str]] = {"nll": "negative log-likelihood (nats per value)"}

    model: SRGBFlow
    recipe: SRGBFlowRecipe

    def __init__(self, model: SRGBFlow, recipe: SRGBFlowRecipe, *, mixed_precision: bool = False) -> None:
        # A likelihood is computed in float32 whatever `mixed_precision` says.
        super().__init__(model, recipe, mixed_precision=mixed_precision)
        self.optimizers["flow"] = torch.optim.Adam(model.parameters(), recipe.learning_rate)

    def initialise(self, batches: Iterable[Batch]) -> None:
        """Makes each condition's noise of mean 0 and variance 1 behind the first layer, where the recipe says so.

        A condition that the batches do not show gets the mean of the others.
        """
        if not self.recipe.start_from_data:
            return
        first = self.model.layers[0]
        assert isinstance(first, ConditionalLinear)
        log_scale, bias = first.log_scale.table, first.bias.table
        # count, sum and sum of squares of the patches' mean values
        sums = torch.zeros(3, *log_scale.shape, dtype=torch.float64, device=log_scale.device)
        for batch in batches:
            noise = (batch.noisy - batch.clean + batch.uniform() - batch.uniform()) / self.model.sizes.levels
            moments = torch.stack([torch.ones_like(noise), noise, noise.square()]).double().mean(dim=(3, 4))
            sums.index_add_(1, self.model.encode(batch.conditions).row[batch.part], moments)
        seen = sums[0, :, 0] > 0
        mean, square = sums[1:, seen] / sums[0, seen]
        scale = -0.5 * (square - mean.square()).clamp(min=1e-12).log()
        with torch.no_grad():
            for table, values in ((log_scale, scale), (bias, -mean * scale.exp())):
                table.copy_(values.mean(dim=0))
                table[seen] = values.to(table)

    def step(self, batch: Batch, step: int, steps: int, update: Update) -> dict[str, Tensor]:
        self.model.train()
        whole = self.model.encode(batch.conditions)
        code = ConditionCode(whole.onehot, whole.row, whole.weight, batch.part)
        likelihood = self.model.log_likelihood(
            batch.noisy, batch.clean, code, batch.uniform(), batch.uniform()
        )
        nll = -likelihood.mean() / batch.noisy[0].numel()
        update("flow", nll)
        return {"nll": nll.detach()}

    def settle(self, weights: LearnedModel, patches: Patches, done: int, steps: int) -> None:
        """Matches the moments of drawn noise to those of the data, where the recipe says so.

        With x = (z - b) * exp(-s) the first layer's part of sampling, mean m and deviation d of drawn noise, and M and
        D of real noise: s' = s + log(d / D) and b' = b + (m * D / d - M) * exp(s'). Clipping makes it an approximation,
        so it is done twice.
        """
        if not self.recipe.match_moments:
            return
        assert isinstance(weights, SRGBFlow)
        first = weights.layers[0]
        assert isinstance(first, ConditionalLinear)
        training = weights.training
        weights.eval()
        for condition in weights.vocabulary.known:
            row = weights.encode([condition]).row
            for draw in range(MATCHING_ROUNDS):
                batch = patches.of_condition(condition, MATCHING_PATCHES, draw=draw)
                conditions = [condition] * len(batch.clean)
                noisy = weights.sample(batch.clean, conditions, noise=batch.randomness())
                (mean, deviation), (goal, spread) = (
                    _moments((picture - batch.clean) / weights.sizes.levels)
                    for picture in (noisy, batch.noisy)
                )
                with torch.no_grad():
                    first.log_scale.table[row] += torch.log(deviation / spread)
                    scale = first.log_scale.table[row].exp()
                    first.bias.table[row] += (mean * spread / deviation - goal) * scale
        weights.train(training)


def _moments(noise: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, [C]."""
    values = noise.transpose(0, 1).flatten(1)
    return values.mean(dim=1), values.std(dim=1).clamp(min=1e-6)


SRGBFLOW = ModelType(
    name="srgbflow",
    title="sRGBFlow: normalizing flow with affine couplings (Kousha et al., CVPR 2022)",
    sizes=SRGBFlowSizes,
    model=SRGBFlow,
    recipes=RECIPES,
    learner=SRGBFlowLearner,
)
