"""One optimisation step of a denoiser: patches to the device, fresh noise, loss, gradients."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from noisegen.denoising.config import DenoiserConfig
from noisegen.denoising.dncnn import DnCNN
from noisegen.denoising.stream import PatchBatch
from noisegen.models.protocol import NoiseModel, Randomness
from noisegen.training.distributed import Ranks

__all__ = ["Optimisation", "learning_rate"]

WARMUP = 0.02  # share of the steps
FINAL_RATE = 0.02


def learning_rate(config: DenoiserConfig, step: int, steps: int) -> float:
    """The learning rate of step number `step` (from 0) of `steps`."""
    if config.schedule == "halve":
        return config.learning_rate * 0.5 ** (4 * step // steps)
    rise = max(1, round(WARMUP * steps))
    if step < rise:
        return config.learning_rate * (step + 1) / rise
    fall = 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
    return config.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * fall)


class Optimisation:
    """A denoiser under training and its optimizer.

    Args:
        model: on the device.
        config: the recipe.
        steps: of the whole training.
        noise_model: as prepared for synthesis, on the device; None where no noise is to be drawn; not changed.
        device: of the model.
        mixed_precision: bfloat16 autocast of the network; weights, loss and optimizer stay float32.
        ranks: the processes that train together.
    """

    def __init__(
        self,
        model: DnCNN,
        config: DenoiserConfig,
        steps: int,
        *,
        noise_model: NoiseModel | None,
        device: str,
        mixed_precision: bool,
        ranks: Ranks,
    ) -> None:
        self.model, self.config, self.steps, self.noise_model = model, config, steps, noise_model
        self.device, self.mixed_precision, self.ranks = torch.device(device), mixed_precision, ranks
        cuda = self.device.type == "cuda"
        self.optimizer = torch.optim.Adam(model.parameters(), config.learning_rate, fused=cuda)
        self.levels = float(2**model.bit_depth)
        # The first step whose loss was not finite. It is looked at now and then: reading it stops the device.
        self.bad_step = torch.full((), math.inf, device=self.device)

    def step(self, batch: PatchBatch) -> Tensor:
        """Updates the weights; returns this process' part of (loss, mean squared error), [2], on the device."""
        value = self.measure(batch)
        self.ranks.sum_gradients(self.model.parameters())
        self.ranks.average_buffers(self.model)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, batch.step, self.steps)
        self.optimizer.step()
        here = torch.where(value.isfinite().all(), math.inf, float(batch.step))
        self.bad_step = torch.minimum(self.bad_step, here)
        return value

    def measure(self, batch: PatchBatch) -> Tensor:
        """What `step` returns, and gradients of the loss."""
        noisy, clean = self.pairs(batch)
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision):
            restored = self.model(noisy)
        squared = F.mse_loss(restored.float(), clean)
        loss = squared if self.config.loss == "l2" else F.l1_loss(restored.float(), clean)
        share = len(clean) / self.config.batch
        self.optimizer.zero_grad(set_to_none=True)
        (loss * share).backward()
        return torch.stack([loss, squared]).detach() * share

    def pairs(self, batch: PatchBatch) -> tuple[Tensor, Tensor]:
        """(noisy, clean) float32 [b, C, patch, patch] in units of 2**bit_depth grey levels, channels-last."""
        noisy, clean = (self._to_device(side) for side in (batch.noisy, batch.clean))
        if batch.synthetic:
            assert self.noise_model is not None
            rows = torch.tensor(batch.synthetic, device=self.device)
            with torch.no_grad():
                noise = self._randomness(batch, rows, clean.shape)
                drawn = self.noise_model.sample(clean[rows], batch.conditions, noise=noise)
                noisy = noisy.index_copy(0, rows, drawn)
        noisy, clean = (side.contiguous(memory_format=torch.channels_last) for side in (noisy, clean))
        return noisy / self.levels, clean / self.levels

    def _randomness(self, batch: PatchBatch, rows: Tensor, shape: torch.Size) -> Randomness:
        """That of some rows of this process' part: drawn for the whole batch, so that it is the same on any of them."""
        entropy = np.random.SeedSequence([self.config.seed, batch.step])
        generator = torch.Generator(self.device)
        generator.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))
        part = self.ranks.part(self.config.batch)
        whole = (self.config.batch, *shape[1:])
        normal = torch.randn(whole, generator=generator, device=self.device)
        uniform = torch.rand(whole, generator=generator, device=self.device)
        key = torch.randint(1 << 32, (self.config.batch, 2), generator=generator, device=self.device)
        return Randomness(normal[part][rows], uniform[part][rows], key[part][rows])

    def _to_device(self, pixels: np.ndarray) -> Tensor:
        # PyTorch computes with few uint16 operations
        values = torch.from_numpy(pixels.astype(np.int32) if pixels.dtype == np.uint16 else pixels)
        if self.device.type == "cuda":
            values = values.pin_memory()
        return values.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
