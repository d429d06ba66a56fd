"""NM-FlowGAN: pixel-wise flow followed by a spatial-correlation generator (paper section III)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from noisegen.conditions import Condition, Vocabulary
from noisegen.models.nm_flowgan.config import NMFlowGANConfig
from noisegen.models.nm_flowgan.flow import PixelFlow, standard_normal_log_prob
from noisegen.models.nm_flowgan.layers import ConditionCode, encode_conditions
from noisegen.models.nm_flowgan.networks import Critic, SpatialGenerator
from noisegen.models.protocol import Randomness

__all__ = ["FlowLikelihood", "NMFlowGAN", "SampleSteps"]


@dataclass(frozen=True)
class SampleSteps:
    """Every intermediate of sampling, in the order of computation; float [B, C, H, W].

    Attributes:
        clean_dequantized: (clean + uniform) / 2**bits; it conditions the flow.
        pixel: pixel-wise noisy picture in the same unit, unclipped.
        clean_base: the clean picture that is subtracted and added back around the generator, pixel values.
        generator_in, generator_out: noise in units of `unet_unit` 8-bit grey levels.
        noisy: pixel values in 0 .. 2**bits, not rounded.
    """

    clean_dequantized: Tensor
    pixel: Tensor
    clean_base: Tensor
    generator_in: Tensor
    generator_out: Tensor
    noisy: Tensor


@dataclass(frozen=True)
class FlowLikelihood:
    """The terms of the flow's likelihood, in nats.

    Attributes:
        latent: float [B, C, H, W].
        log_det: [B], the dequantization's term included.
        log_prob: [B], log-density of the latent.
    """

    latent: Tensor
    log_det: Tensor
    log_prob: Tensor

    @property
    def nll(self) -> Tensor:
        """Negative log-likelihood, mean over the batch, nats per picture."""
        return -(self.log_det + self.log_prob).mean()


class NMFlowGAN(nn.Module):
    """The complete model; a `NoiseModel` of the exact, unfused computation.

    Args:
        config: sizes.
        vocabulary: the cameras and ISO settings, which size the condition encoders.
        critic: whether to build the critic, which only training needs.
    """

    def __init__(self, config: NMFlowGANConfig, vocabulary: Vocabulary, *, critic: bool = False) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.flow = PixelFlow(config, vocabulary)
        self.generator = SpatialGenerator(config, vocabulary) if config.generator else None
        self.critic = Critic(config, vocabulary) if critic else None

    @property
    def channels(self) -> int:
        return self.config.channels

    @property
    def bit_depth(self) -> int:
        return self.config.bit_depth

    def encode(self, conditions: Sequence[Condition]) -> ConditionCode:
        """Resolves conditions (interpolating ISO) to tensors on the model's device."""
        device = next(self.parameters()).device
        return encode_conditions(self.vocabulary, [self.vocabulary.resolve(c) for c in conditions], device)

    def dequantize(self, values: Tensor, uniform: Tensor) -> Tensor:
        """UD: (values + u) / 2**bits with u ~ U[0, 1)."""
        return (values + uniform) / self.config.levels

    def likelihood(
        self, noisy: Tensor, clean: Tensor, code: ConditionCode, uniform_noisy: Tensor, uniform_clean: Tensor
    ) -> FlowLikelihood:
        """The flow's likelihood of real noise (equation 14).

        Args:
            noisy, clean: float [B, C, H, W] pixel values.
            code: conditions of the batch.
            uniform_noisy, uniform_clean: independent dequantization noise in [0, 1).
        """
        clean_dequantized = self.dequantize(clean, uniform_clean)
        noise = self.dequantize(noisy, uniform_noisy) - clean_dequantized
        latent, log_det = self.flow(noise, clean_dequantized, code)
        values_per_picture = noisy[0].numel()
        dequantization = -torch.log(torch.tensor(self.config.levels)).item() * values_per_picture
        return FlowLikelihood(latent, log_det + dequantization, standard_normal_log_prob(latent))

    def correlate(self, noise: Tensor, clean: Tensor, code: ConditionCode) -> Tensor:
        """The generator on noise in units of `unet_unit` (unchanged without one); `clean` in pixel values."""
        if self.generator is None:
            return noise
        return self.generator(noise, clean / self.config.levels, code)

    def steps(self, clean: Tensor, code: ConditionCode, noise: Randomness) -> SampleSteps:
        """Samples, keeping every intermediate (differentiable; without rounding or clipping of the result)."""
        dequantized, pixel, base, generator_in = self.pixel_steps(clean, code, noise)
        generator_out = self.correlate(generator_in, clean, code)
        noisy = generator_out * (self.config.unet_unit * self.config.grey) + base
        return SampleSteps(dequantized, pixel, base, generator_in, generator_out, noisy)

    def pixel_steps(
        self, clean: Tensor, code: ConditionCode, noise: Randomness
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The pixel-wise half of sampling: the first four fields of `SampleSteps`."""
        cfg = self.config
        dequantized = self.dequantize(clean, noise.uniform)
        pixel = self.flow.inverse(noise.normal, dequantized, code) + dequantized
        if cfg.quantize:
            # floor(2**bits * dequantized), not the input, is what the published sampler subtracts and adds back;
            # they differ where float32 rounds clean + u up.
            base = torch.floor(cfg.levels * dequantized).clamp(0, cfg.levels - 1)
            pixel_noise = torch.floor(cfg.levels * pixel).clamp(0, cfg.levels - 1) - base
        else:
            base = clean
            pixel_noise = cfg.levels * (pixel - dequantized)
        return dequantized, pixel, base, pixel_noise / (cfg.unet_unit * cfg.grey)

    @torch.inference_mode()
    def sample(self, clean: Tensor, condition: Sequence[Condition], *, noise: Randomness) -> Tensor:
        """See `NoiseModel.sample`. Puts no module in eval mode: a model is loaded in it."""
        noisy = self.steps(clean, self.encode(condition), noise).noisy
        return torch.floor(noisy + 0.5).clamp_(0, self.config.levels - 1)
