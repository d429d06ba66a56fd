"""Training of NM-FlowGAN: flow by likelihood, generator and critic by WGAN-GP, at the same time (paper section III-E).

Each network has its own loss; the pixel-wise noise is detached before the generator, so the adversarial game never
moves the flow (the paper's "simultaneous" strategy).
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from noisegen.conditions import Vocabulary
from noisegen.datasets.pairs import Pair
from noisegen.errors import NoisegenError
from noisegen.fitting.config import TrainConfig
from noisegen.fitting.losses import critic_loss, generator_loss
from noisegen.fitting.patches import PatchBatch, PatchSampler
from noisegen.fitting.state import load_state, save_state
from noisegen.fitting.statistics import quantile_distance, statistics_distance
from noisegen.models.nm_flowgan.config import PRESETS, NMFlowGANConfig
from noisegen.models.nm_flowgan.layers import ConditionalLinear, ConditionCode
from noisegen.models.nm_flowgan.model import FlowLikelihood, NMFlowGAN
from noisegen.models.protocol import Randomness
from noisegen.progress import Progress

__all__ = ["architecture", "train_nm_flowgan"]

SAVE_EVERY = 200
LOG_EVERY = 20
INIT_BATCHES = 8


def architecture(config: TrainConfig, channels: int, bit_depth: int) -> NMFlowGANConfig:
    """The recipe's model sizes for pictures of `channels` channels and `bit_depth` bits."""
    return replace(PRESETS[config.preset], channels=channels, bit_depth=bit_depth)


def train_nm_flowgan(
    pairs: Sequence[Pair],
    config: TrainConfig,
    work: Path,
    *,
    channels: int = 3,
    bit_depth: int = 8,
    device: str = "cpu",
    mixed_precision: bool = False,
    quiet: bool = False,
) -> NMFlowGAN:
    """Trains a model, continuing from `work` if it holds the state of an interrupted run.

    Args:
        pairs: real training pairs; their conditions become the model's vocabulary.
        config: the recipe.
        work: folder for `state.safetensors`, `log.csv` and `config.json`.
        channels, bit_depth: of the pictures.
        device: "cpu" or "cuda".
        mixed_precision: bfloat16 autocast of the generator; flow, critic and gradient penalty stay float32.
        quiet: no progress.

    Returns:
        The trained model in eval mode on the CPU, with critic; averaged weights if `config.ema` is not 0.

    Raises:
        UsageError: pairs do not fit the model, or `work` belongs to another configuration.
        NoisegenError: a loss became NaN.
    """
    trainer = _Trainer(pairs, config, channels, bit_depth, device, mixed_precision)
    state_file = work / "state.safetensors"
    record = config.to_dict() | {"channels": channels, "bit_depth": bit_depth, "pairs": len(pairs)}
    start = load_state(state_file, trainer.parts, record)
    work.mkdir(parents=True, exist_ok=True)
    (work / "config.json").write_text(json.dumps(record, indent=1) + "\n")
    if start == 0:
        trainer.initialise()
    _trim_log(work / "log.csv", start)
    with (
        (work / "log.csv").open("a", newline="") as log_file,
        Progress(trainer.steps, "step", "train", quiet=quiet) as progress,
    ):
        progress.update(start)
        log = csv.writer(log_file)
        for step in range(start, trainer.steps):
            losses = trainer.step(step)
            progress.update(1, **{name: round(value, 4) for name, value in losses.items()})
            if step % LOG_EVERY == 0:
                log.writerows((step, name, f"{value:.6g}") for name, value in losses.items())
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == trainer.steps:
                log_file.flush()
                save_state(state_file, step + 1, trainer.parts, record)
    return (trainer.average if config.ema else trainer.model).cpu().eval()


class _Trainer:
    def __init__(
        self,
        pairs: Sequence[Pair],
        config: TrainConfig,
        channels: int,
        bit_depth: int,
        device: str,
        mixed_precision: bool,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device, self.mixed = config, device, mixed_precision
        vocabulary = Vocabulary.of(pair.condition for pair in pairs)
        sizes = architecture(config, channels, bit_depth)
        model = NMFlowGAN(sizes, vocabulary, critic=True)
        # torch's stubs leave this form of Module.to out
        self.model = model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = NMFlowGAN(sizes, vocabulary, critic=True).to(device)
        self.average.load_state_dict(model.state_dict())
        self.sampler = PatchSampler(
            pairs,
            patch=config.patch,
            levels=sizes.levels,
            channels=channels,
            balance=config.balance,
        )
        betas = config.betas
        assert model.critic is not None
        self.flow_optimizer = torch.optim.Adam(model.flow.parameters(), config.flow_lr)
        self.generator_optimizer = torch.optim.Adam(model.generator.parameters(), config.generator_lr, betas)
        self.critic_optimizer = torch.optim.Adam(model.critic.parameters(), config.critic_lr, betas)
        self.base_rates = [
            (self.flow_optimizer, config.flow_lr),
            (self.generator_optimizer, config.generator_lr),
            (self.critic_optimizer, config.critic_lr),
        ]
        self.parts: dict[str, nn.Module | torch.optim.Optimizer] = {
            "model": model,
            "average": self.average,
            "flow_optimizer": self.flow_optimizer,
            "generator_optimizer": self.generator_optimizer,
            "critic_optimizer": self.critic_optimizer,
        }

    @property
    def steps(self) -> int:
        config = self.config
        if config.steps is not None:
            return config.steps
        return max(1, config.epochs * self.sampler.patches // config.batch)

    def draw(self, step: int) -> tuple[PatchBatch, torch.Generator]:
        """The patches and the random stream of a step, pure functions of (seed, step)."""
        entropy = np.random.SeedSequence([self.config.seed, step + INIT_BATCHES])
        batch = self.sampler.batch(np.random.default_rng(entropy), self.config.batch)
        generator = torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))
        noisy, clean = (
            values.to(self.device, memory_format=torch.channels_last) for values in (batch.noisy, batch.clean)
        )
        return PatchBatch(noisy, clean, batch.conditions), generator

    def uniform(self, like: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand(like.shape, generator=generator).to(like)

    def likelihood(
        self, batch: PatchBatch, code: ConditionCode, generator: torch.Generator
    ) -> FlowLikelihood:
        """The flow's likelihood of the batch's real noise, freshly dequantized."""
        uniform_noisy = self.uniform(batch.noisy, generator)
        uniform_clean = self.uniform(batch.clean, generator)
        return self.model.likelihood(batch.noisy, batch.clean, code, uniform_noisy, uniform_clean)

    def initialise(self) -> None:
        """Data-dependent initialisation: the flow starts with latents of zero mean and unit variance per condition.

        The signal- and structure-aware layers start near the identity; the last conditional linear layer's table takes
        the mean and deviation of what reaches it.
        """
        model = self.model
        last = model.flow.layers[-1]
        assert isinstance(last, ConditionalLinear)
        model.flow.train()
        with torch.no_grad():
            for layer in model.flow.layers:
                body = getattr(layer, "body", None)
                if body is not None:
                    body[-2].weight.mul_(0.01)
                    body[-2].bias.zero_()
            sums = torch.zeros(3, *last.log_scale.shape, device=self.device)
            for index in range(INIT_BATCHES):
                batch, generator = self.draw(index - INIT_BATCHES)
                code = model.encode(batch.conditions)
                latent = self.likelihood(batch, code, generator).latent
                moments = torch.stack([torch.ones_like(latent), latent, latent.square()]).mean(dim=(3, 4))
                sums.index_add_(1, code.row, moments)
            seen = sums[0] > 0
            mean = sums[1] / sums[0].clamp(min=1)
            deviation = (sums[2] / sums[0].clamp(min=1) - mean.square()).clamp(min=1e-12).sqrt()
            last.log_scale.copy_(torch.where(seen, -deviation.log(), last.log_scale))
            last.bias.copy_(torch.where(seen, -mean / deviation, last.bias))
        self.average.load_state_dict(model.state_dict())

    def step(self, step: int) -> dict[str, float]:
        """One step; returns the losses by name."""
        config, model = self.config, self.model
        for optimizer, rate in self.base_rates:
            optimizer.param_groups[0]["lr"] = rate * self.rate(step)
        model.train()
        batch, generator = self.draw(step)
        code = model.encode(batch.conditions)
        losses: dict[str, Tensor] = {}
        update_generator = (step + 1) % config.generator_every == 0
        if update_generator:
            losses["nll"] = self.likelihood(batch, code, generator).nll / batch.noisy[0].numel()
            _update(self.flow_optimizer, losses["nll"])
        normal = torch.randn(batch.clean.shape, generator=generator).to(batch.clean)
        noise = Randomness(normal, self.uniform(batch.clean, generator))
        with torch.no_grad():
            model.flow.eval()
            generator_in = model.pixel_steps(batch.clean, code, noise)[3]
        fake = self.correlate(generator_in, batch.clean, code, update_generator)
        real = batch.noisy - batch.clean + self.uniform(batch.noisy, generator) - 0.5
        real, fake = real / model.config.grey, fake / model.config.grey
        adversarial = config.adversarial > 0 and step >= config.adversarial_from
        if adversarial:
            losses |= self.update_critic(real, fake, batch, code, generator)
        if update_generator:
            losses |= self.update_generator(real, fake, batch, code, adversarial)
            self.update_average(step)
        values = {name: value.item() for name, value in losses.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise NoisegenError(f"loss {name} is {value} at step {step}; lower the learning rates")
        return values

    def correlate(self, generator_in: Tensor, clean: Tensor, code: ConditionCode, grad: bool) -> Tensor:
        """Generated noise in pixel values, clipped as a picture clips it (half a level of room for rounding)."""
        model = self.model
        kind = torch.device(self.device).type
        with torch.set_grad_enabled(grad), torch.autocast(kind, torch.bfloat16, enabled=self.mixed):
            out = model.correlate(generator_in, clean, code).float()
        noisy = out * (model.config.unet_unit * model.config.grey) + clean
        return noisy.clamp(-0.5, model.config.levels - 0.5) - clean

    def score(self, code: ConditionCode) -> Callable[[Tensor], Tensor]:
        critic = self.model.critic
        assert critic is not None
        return partial(critic, code=code)

    def pair(self, noise: Tensor, clean: Tensor) -> Tensor:
        config = self.model.config
        return torch.cat([noise / config.critic_unit, clean / config.levels], dim=1)

    def update_critic(
        self, real: Tensor, fake: Tensor, batch: PatchBatch, code: ConditionCode, generator: torch.Generator
    ) -> dict[str, Tensor]:
        alpha = torch.rand((len(real), 1, 1, 1), generator=generator).to(real)
        loss = critic_loss(
            self.score(code),
            self.pair(real, batch.clean),
            self.pair(fake, batch.clean),
            alpha,
            self.config.penalty,
        )
        _update(self.critic_optimizer, loss)
        return {"critic": loss}

    def update_generator(
        self, real: Tensor, fake: Tensor, batch: PatchBatch, code: ConditionCode, adversarial: bool
    ) -> dict[str, Tensor]:
        config = self.config
        losses: dict[str, Tensor] = {}
        total = fake.new_zeros(())
        if config.statistics:
            losses["statistics"] = statistics_distance(fake, real)
            total = total + config.statistics * losses["statistics"]
        if config.quantiles:
            losses["quantiles"] = quantile_distance(fake, real)
            total = total + config.quantiles * losses["quantiles"]
        if adversarial:
            losses["generator"] = generator_loss(self.score(code), self.pair(fake, batch.clean))
            total = total + config.adversarial * losses["generator"]
        if total.requires_grad:
            _update(self.generator_optimizer, total)
        return losses

    def rate(self, step: int) -> float:
        """Factor on the learning rates at a step."""
        if self.config.schedule == "halve":
            return 0.5 ** (4 * step // self.steps)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def update_average(self, step: int) -> None:
        decay = min(self.config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, value in zip(
                self.average.state_dict().values(), self.model.state_dict().values(), strict=True
            ):
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - decay)
                else:
                    mean.copy_(value)


def _trim_log(path: Path, steps: int) -> None:
    """Drops what an interrupted run logged of steps that are done again, and a line it did not finish."""
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and int(line.split(",")[0]) < steps]
        path.write_text("".join(kept))


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
