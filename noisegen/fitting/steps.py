"""One step of the training: the update of flow, critic and generator, each by its own loss (paper section III-E)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from noisegen.fitting.config import TrainConfig
from noisegen.fitting.draws import Draw
from noisegen.fitting.schedule import Turn
from noisegen.fitting.statistics import normality_distance, quantile_distance, statistics_distance
from noisegen.models.condition_codes import ConditionCode
from noisegen.models.losses import critic_loss, generator_loss
from noisegen.models.nm_flowgan.model import PUBLISHED_UNIT, NMFlowGAN
from noisegen.models.protocol import Randomness
from noisegen.training.distributed import Ranks

__all__ = ["Optimisation"]


class Optimisation:
    """A model under training and its optimizers.

    Args:
        model: with a critic if it has a generator; changed in place.
        config: the recipe.
        mixed_precision: bfloat16 autocast of the generator; flow, critic and gradient penalty stay float32.
        ranks: the processes that train together.
    """

    def __init__(self, model: NMFlowGAN, config: TrainConfig, *, mixed_precision: bool, ranks: Ranks) -> None:
        self.model, self.config = model, config
        self.mixed, self.ranks = mixed_precision, ranks
        self.optimizers = {"flow_optimizer": torch.optim.Adam(model.flow.parameters(), config.flow_lr)}
        self.base_rates = {"flow_optimizer": config.flow_lr}
        if model.generator is not None and model.critic is not None:
            for name, network, rate in (
                ("generator_optimizer", model.generator, config.generator_lr),
                ("critic_optimizer", model.critic, config.critic_lr),
            ):
                self.optimizers[name] = torch.optim.Adam(network.parameters(), rate, config.betas)
                self.base_rates[name] = rate

    def step(self, turn: Turn, draw: Draw) -> dict[str, Tensor]:
        """Updates the networks whose turn it is; returns this rank's share of the losses by name."""
        for name, optimizer in self.optimizers.items():
            optimizer.param_groups[0]["lr"] = self.base_rates[name] * turn.rate
        self.model.train()
        whole = self.model.encode(draw.conditions)
        code = ConditionCode(whole.onehot, whole.row, whole.weight, draw.part)
        joint = self.config.strategy == "joint"
        losses: dict[str, Tensor] = {}
        if turn.flow:
            losses["nll"] = self.likelihood(draw, code)
            self.backward(losses["nll"], draw, "flow_optimizer", update=not joint)
        if turn.generator or turn.critic:
            losses |= self.play(turn, draw, code)
        if turn.flow and joint:
            self.update("flow_optimizer")
        return {name: loss.detach() * draw.share for name, loss in losses.items()}

    def likelihood(self, draw: Draw, code: ConditionCode) -> Tensor:
        """Negative log-likelihood of the real noise, freshly dequantized, in nats per value (equation 16)."""
        uniform_noisy, uniform_clean = draw.uniform(), draw.uniform()
        nll = self.model.likelihood(draw.noisy, draw.clean, code, uniform_noisy, uniform_clean).nll
        return nll / draw.noisy[0].numel()

    def play(self, turn: Turn, draw: Draw, code: ConditionCode) -> dict[str, Tensor]:
        """The adversarial half of a step: the critic's update, then the generator's."""
        grey = self.model.config.grey
        joint = turn.generator and self.config.strategy == "joint"
        make = self.latent_noise if self.model.config.latent else self.published_noise
        fake, latent = make(draw, code, turn.generator, joint)
        fake = fake / grey
        real = (draw.noisy - draw.clean + draw.uniform() - 0.5) / grey
        losses: dict[str, Tensor] = {}
        if turn.critic:
            losses["critic"] = critic_loss(
                self.score(code),
                self.pair(real, draw.clean),
                self.pair(fake, draw.clean),
                draw.alpha(),
                self.config.penalty,
            )
            self.backward(losses["critic"], draw, "critic_optimizer")
        if turn.generator:
            losses |= self.update_generator(real, fake, latent, turn, draw, code)
        return losses

    def latent_noise(
        self, draw: Draw, code: ConditionCode, generator_grad: bool, flow_grad: bool
    ) -> tuple[Tensor, Tensor]:
        """Generated noise in pixel values, clipped as a picture clips it, and the correlated latents it comes from."""
        model, levels = self.model, self.model.config.levels
        normal, uniform = draw.normal(), draw.uniform()
        model.flow.eval()
        with torch.set_grad_enabled(flow_grad):
            transform = model.flow.at(model.dequantize(draw.clean, uniform), code)
        latent = self.correlate(normal, draw.clean, code, generator_grad)
        with torch.set_grad_enabled(generator_grad):
            noisy = (transform.clean + transform.noise(latent)) * levels
            return noisy.clamp(0, levels) - 0.5 - draw.clean, latent

    def published_noise(
        self, draw: Draw, code: ConditionCode, generator_grad: bool, flow_grad: bool
    ) -> tuple[Tensor, None]:
        """Generated noise in pixel values, clipped as a picture clips it (half a level of room for rounding)."""
        model, levels = self.model, self.model.config.levels
        unit = PUBLISHED_UNIT * model.config.grey
        noise = Randomness(draw.normal(), draw.uniform())
        model.flow.eval()
        with torch.set_grad_enabled(flow_grad):
            dequantized, pixel, _, generator_in = model.pixel_steps(draw.clean, code, noise)
            if flow_grad:
                # Rounding has no gradient; the one of the values before it goes straight through.
                exact = (pixel - dequantized) * (levels / unit)
                generator_in = exact + (generator_in - exact).detach()
        out = self.correlate(generator_in, draw.clean, code, generator_grad)
        with torch.set_grad_enabled(generator_grad):
            return (out * unit + draw.clean).clamp(-0.5, levels - 0.5) - draw.clean, None

    def correlate(self, noise: Tensor, clean: Tensor, code: ConditionCode, grad: bool) -> Tensor:
        """The generator, in bfloat16 where asked for."""
        with (
            torch.set_grad_enabled(grad),
            torch.autocast(clean.device.type, torch.bfloat16, enabled=self.mixed),
        ):
            return self.model.correlate(noise, clean, code).float()

    def update_generator(
        self,
        real: Tensor,
        fake: Tensor,
        latent: Tensor | None,
        turn: Turn,
        draw: Draw,
        code: ConditionCode,
    ) -> dict[str, Tensor]:
        """By the critic's score (equation 17) and by what noise statistics the recipe compares.

        Where the generator correlates latents of a fitted flow, their values stay normally distributed and only the
        correlations are compared with the real noise: how strong the noise of a pixel is, the flow says.
        """
        config = self.config
        losses: dict[str, Tensor] = {}
        total = fake.new_zeros(())
        calibrated = latent is not None and "flow" not in config.without
        if config.statistics:
            losses["statistics"] = statistics_distance(fake, real, variance=not calibrated)
            total = total + config.statistics * losses["statistics"]
        if config.quantiles:
            losses["quantiles"] = (
                normality_distance(latent)
                if calibrated and latent is not None
                else quantile_distance(fake, real)
            )
            total = total + config.quantiles * losses["quantiles"]
        if turn.critic:
            losses["generator"] = generator_loss(self.score(code), self.pair(fake, draw.clean))
            total = total + config.adversarial * losses["generator"]
        if total.requires_grad:
            self.backward(total, draw, "generator_optimizer")
        return losses

    def score(self, code: ConditionCode) -> Callable[[Tensor], Tensor]:
        """The critic for these conditions."""
        critic = self.model.critic
        assert critic is not None
        return partial(critic, code=code)

    def pair(self, noise: Tensor, clean: Tensor) -> Tensor:
        """What the critic sees: noise and clean picture in its units."""
        sizes = self.model.config
        return torch.cat([noise / sizes.critic_unit, clean / sizes.levels], dim=1)

    def backward(self, loss: Tensor, draw: Draw, name: str, *, update: bool = True) -> None:
        """Gradients of a mean over this rank's patches, as its share of the mean over the whole batch."""
        self.optimizers[name].zero_grad(set_to_none=True)
        (loss * draw.share).backward()
        if update:
            self.update(name)

    def update(self, name: str) -> None:
        """One step of an optimizer by the gradients of all ranks."""
        optimizer = self.optimizers[name]
        self.ranks.sum_gradients(optimizer.param_groups[0]["params"])
        optimizer.step()

    @property
    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What makes up the state of the training."""
        return {"model": self.model, **self.optimizers}
