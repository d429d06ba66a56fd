"""How NM-FlowGAN learns: the update of flow, critic and generator, each by its own loss (paper section III-E)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from noisegen.models.condition_codes import ConditionCode
from noisegen.models.learning import Batch, LearnedModel, Learner, Patches, Update
from noisegen.models.losses import critic_loss, generator_loss
from noisegen.models.nm_flowgan.correlation_fit import fit_correlation
from noisegen.models.nm_flowgan.curve_support import carry_on_curves
from noisegen.models.nm_flowgan.initialisation import initialise_flow
from noisegen.models.nm_flowgan.model import PUBLISHED_UNIT, NMFlowGAN
from noisegen.models.nm_flowgan.networks import Critic
from noisegen.models.nm_flowgan.recipes import NMFlowGANRecipe
from noisegen.models.nm_flowgan.schedule import Turn, generator_begins, turn_at
from noisegen.models.noise_statistics import normality_distance, quantile_distance, statistics_distance
from noisegen.models.protocol import Randomness

__all__ = ["NMFlowGANLearner"]


class NMFlowGANLearner(Learner):
    """NM-FlowGAN under training, see `Learner`. Flow, critic and gradient penalty stay float32 in mixed precision."""

    titles = MappingProxyType(
        {
            "nll": "flow: negative log-likelihood (nats per value)",
            "statistics": "generator: second moments",
            "quantiles": "generator: sorted values",
            "generator": "generator: adversarial loss",
            "critic": "critic: loss with gradient penalty",
        }
    )

    model: NMFlowGAN
    recipe: NMFlowGANRecipe

    def __init__(self, model: NMFlowGAN, recipe: NMFlowGANRecipe, *, mixed_precision: bool = False) -> None:
        super().__init__(model, recipe, mixed_precision=mixed_precision)
        flow = {"params": list(model.flow.parameters()), "lr": recipe.flow_lr}
        self.critic: Critic | None = None
        if model.generator is None:
            self.optimizers["flow"] = torch.optim.Adam([flow])
            return
        self.critic = self.networks["critic"] = Critic(model.sizes, model.vocabulary)
        played = {"lr": recipe.generator_lr, "betas": recipe.betas}
        generator = {"params": list(model.generator.parameters()), **played}
        if recipe.strategy == "joint":
            self.optimizers["flow and generator"] = torch.optim.Adam([flow, generator])
        else:
            self.optimizers["flow"] = torch.optim.Adam([flow])
            self.optimizers["generator"] = torch.optim.Adam([generator])
        self.optimizers["critic"] = torch.optim.Adam(self.critic.parameters(), recipe.critic_lr, recipe.betas)

    @property
    def period(self) -> int:
        return self.model.sizes.period

    def rate(self, step: int, steps: int) -> float:
        return turn_at(self.recipe, step, steps).rate

    def initialise(self, batches: Iterable[Batch]) -> None:
        initialise_flow(self.model, batches, by_condition="flow" not in self.recipe.without)

    def settles_before(self, steps: int) -> Collection[int]:
        begins = generator_begins(self.recipe, steps)
        return () if begins is None else (begins,)

    def settle(self, weights: LearnedModel, patches: Patches, done: int, steps: int) -> None:
        """Completes the curves, and fits the filter to the flow unless a generator has trained on the last one."""
        assert isinstance(weights, NMFlowGAN)
        carry_on_curves(weights, patches)
        begins = generator_begins(self.recipe, steps)
        if weights.correlation is None or (begins is not None and done > begins):
            return
        fit_correlation(weights, patches)
        assert self.model.correlation is not None
        self.model.correlation.table.copy_(weights.correlation.table)

    def step(self, batch: Batch, step: int, steps: int, update: Update) -> dict[str, Tensor]:
        """One step, by the turn of `turn_at`."""
        turn = turn_at(self.recipe, step, steps)
        if not (turn.flow or turn.generator or turn.critic):
            return {}
        self.model.train()
        whole = self.model.encode(batch.conditions)
        code = ConditionCode(whole.onehot, whole.row, whole.weight, batch.part)
        joint = self.recipe.strategy == "joint"
        losses: dict[str, Tensor] = {}
        if turn.flow:
            losses["nll"] = self.likelihood(batch, code)
            if not joint:
                update("flow", losses["nll"])
        if turn.generator or turn.critic:
            losses |= self.play(turn, batch, code, losses.get("nll"), update)
        return {name: loss.detach() for name, loss in losses.items()}

    def likelihood(self, batch: Batch, code: ConditionCode) -> Tensor:
        """Negative log-likelihood of the real noise, freshly dequantized, in nats per value (equation 16)."""
        uniform_noisy, uniform_clean = batch.uniform(), batch.uniform()
        nll = self.model.likelihood(batch.noisy, batch.clean, code, uniform_noisy, uniform_clean).nll
        return nll / batch.noisy[0].numel()

    def play(
        self, turn: Turn, batch: Batch, code: ConditionCode, nll: Tensor | None, update: Update
    ) -> dict[str, Tensor]:
        """The adversarial half of a step: the critic's update, then the generator's."""
        grey = self.model.sizes.grey
        joint = turn.generator and self.recipe.strategy == "joint"
        make = self.latent_noise if self.model.sizes.latent else self.published_noise
        fake, latent = make(batch, code, turn.generator, joint)
        fake = fake / grey
        real = (batch.noisy - batch.clean + batch.uniform() - 0.5) / grey
        losses: dict[str, Tensor] = {}
        if turn.critic:
            losses["critic"] = critic_loss(
                self.score(code),
                self.pair(real, batch.clean),
                self.pair(fake, batch.clean),
                batch.alpha(),
                self.recipe.penalty,
            )
            update("critic", losses["critic"])
        if turn.generator:
            found, total = self.generator_losses(real, fake, latent, turn, batch, code)
            losses |= found
            if joint and nll is not None:
                update("flow and generator", total + nll)
            elif total.requires_grad:
                update("generator", total)
        return losses

    def latent_noise(
        self, batch: Batch, code: ConditionCode, generator_grad: bool, flow_grad: bool
    ) -> tuple[Tensor, Tensor]:
        """Generated noise in pixel values, clipped as a picture clips it, and the correlated latents it comes from."""
        model, levels = self.model, self.model.sizes.levels
        normal, uniform = batch.normal(), batch.uniform()
        model.flow.eval()
        with torch.set_grad_enabled(flow_grad):
            transform = model.flow.at(model.dequantize(batch.clean, uniform), code)
        latent = self.correlate(normal, batch.clean, code, generator_grad)
        with torch.set_grad_enabled(generator_grad):
            noisy = (transform.clean + transform.noise(latent)) * levels
            return noisy.clamp(0, levels) - 0.5 - batch.clean, latent

    def published_noise(
        self, batch: Batch, code: ConditionCode, generator_grad: bool, flow_grad: bool
    ) -> tuple[Tensor, None]:
        """Generated noise in pixel values, clipped as a picture clips it (half a level of room for rounding)."""
        model, levels = self.model, self.model.sizes.levels
        unit = PUBLISHED_UNIT * model.sizes.grey
        noise = Randomness(batch.normal(), batch.uniform())
        model.flow.eval()
        with torch.set_grad_enabled(flow_grad):
            dequantized, pixel, _, generator_in = model.pixel_steps(batch.clean, code, noise)
            if flow_grad:
                # Rounding has no gradient; the one of the values before it goes straight through.
                exact = (pixel - dequantized) * (levels / unit)
                generator_in = exact + (generator_in - exact).detach()
        out = self.correlate(generator_in, batch.clean, code, generator_grad)
        with torch.set_grad_enabled(generator_grad):
            return (out * unit + batch.clean).clamp(-0.5, levels - 0.5) - batch.clean, None

    def correlate(self, noise: Tensor, clean: Tensor, code: ConditionCode, grad: bool) -> Tensor:
        """The generator, in bfloat16 where asked for."""
        with (
            torch.set_grad_enabled(grad),
            torch.autocast(clean.device.type, torch.bfloat16, enabled=self.mixed_precision),
        ):
            return self.model.correlate(noise, clean, code).float()

    def generator_losses(
        self,
        real: Tensor,
        fake: Tensor,
        latent: Tensor | None,
        turn: Turn,
        batch: Batch,
        code: ConditionCode,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The critic's score (equation 17) and what noise statistics the recipe compares, and their weighted sum.

        Where the generator correlates latents of a fitted flow, their values stay normally distributed and only the
        correlations are compared with the real noise: how strong the noise of a pixel is, the flow says.
        """
        recipe = self.recipe
        losses: dict[str, Tensor] = {}
        total = fake.new_zeros(())
        calibrated = latent is not None and "flow" not in recipe.without
        if recipe.statistics:
            losses["statistics"] = statistics_distance(fake, real, variance=not calibrated)
            total = total + recipe.statistics * losses["statistics"]
        if recipe.quantiles:
            losses["quantiles"] = (
                normality_distance(latent)
                if calibrated and latent is not None
                else quantile_distance(fake, real)
            )
            total = total + recipe.quantiles * losses["quantiles"]
        if turn.critic:
            losses["generator"] = generator_loss(self.score(code), self.pair(fake, batch.clean))
            total = total + recipe.adversarial * losses["generator"]
        return losses, total

    def score(self, code: ConditionCode) -> Callable[[Tensor], Tensor]:
        """The critic for these conditions."""
        critic = self.critic
        assert critic is not None
        return partial(critic, code=code)

    def pair(self, noise: Tensor, clean: Tensor) -> Tensor:
        """What the critic sees: noise and clean picture in its units."""
        sizes = self.model.sizes
        return torch.cat([noise / sizes.critic_unit, clean / sizes.levels], dim=1)
