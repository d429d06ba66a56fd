"""NM-FlowGAN: a pixel-wise flow and a spatial-correlation generator (paper section III).

As published the generator correlates the flow's noise. A `latent` model has them in the other order: the generator
correlates the latents and the flow turns them into noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from noisegen.conditions import Condition, Vocabulary
from noisegen.models.condition_codes import ConditionCode, encode_conditions
from noisegen.models.learning import LearnedModel
from noisegen.models.nm_flowgan.correlation import CorrelationFilter
from noisegen.models.nm_flowgan.flow import PixelFlow
from noisegen.models.nm_flowgan.networks import Critic, SpatialGenerator
from noisegen.models.nm_flowgan.sizes import NMFlowGANSizes
from noisegen.models.protocol import Randomness

__all__ = ["PUBLISHED_UNIT", "FlowLikelihood", "NMFlowGAN", "SampleSteps"]

# 8-bit grey levels that count as 1 at the published generator's input
PUBLISHED_UNIT = 256.0


@dataclass(frozen=True)
class SampleSteps:
    """Every intermediate of sampling, in the order of computation; float [B, C, H, W].

    Attributes:
        clean_dequantized: (clean + uniform) / 2**bits; it conditions the flow.
        pixel: pixel-wise noisy picture in the same unit, unclipped; None where the generator works on latents.
        clean_base: the clean picture that the generator's noise is added to, pixel values.
        generator_in, generator_out: noise in units of 256 8-bit grey levels, or latents.
        noisy: pixel values, neither rounded nor clipped; with latents those of whole level k lie in [k, k + 1).
    """

    clean_dequantized: Tensor
    pixel: Tensor | None
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


class NMFlowGAN(LearnedModel):
    """The complete model; a `NoiseModel` of the exact, unfused computation.

    Args:
        sizes: of its networks.
        vocabulary: the cameras and ISO settings, which size the condition encoders.
        critic: whether to build the critic too, which the published file brings.
    """

    sizes: NMFlowGANSizes

    def __init__(self, sizes: NMFlowGANSizes, vocabulary: Vocabulary, *, critic: bool = False) -> None:
        super().__init__()
        self.sizes = sizes
        self.vocabulary = vocabulary
        self.flow = PixelFlow(sizes, vocabulary)
        rows = len(vocabulary.isos) * len(vocabulary.cameras)
        self.correlation = (
            CorrelationFilter(rows, sizes.channels, sizes.filter_size, sizes.period)
            if sizes.filter_size
            else None
        )
        self.generator = SpatialGenerator(sizes, vocabulary) if sizes.generator else None
        self.critic = Critic(sizes, vocabulary) if critic else None

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As in PyTorch; weights of a critic make one to put them in."""
        if self.critic is None and any(name.startswith("critic.") for name in state_dict):
            with torch.device("meta") if assign else nullcontext():
                self.critic = Critic(self.sizes, self.vocabulary)
        return super().load_state_dict(state_dict, strict, assign)

    @property
    def alignment(self) -> int:
        return math.lcm(
            self.sizes.period,
            self.sizes.structure_stride if self.sizes.structure else 1,
            1 if self.generator is None else self.generator.align,
        )

    def encode(self, conditions: Sequence[Condition]) -> ConditionCode:
        """Resolves conditions (interpolating ISO) to tensors on the model's device."""
        device = next(self.parameters()).device
        return encode_conditions(self.vocabulary, [self.vocabulary.resolve(c) for c in conditions], device)

    def dequantize(self, values: Tensor, uniform: Tensor) -> Tensor:
        """UD: (values + u) / 2**bits with u ~ U[0, 1)."""
        return (values + uniform) / self.sizes.levels

    def likelihood(
        self, noisy: Tensor, clean: Tensor, code: ConditionCode, uniform_noisy: Tensor, uniform_clean: Tensor
    ) -> FlowLikelihood:
        """The flow's likelihood of real noise (equation 14).

        Args:
            noisy, clean: float [B, C, H, W] pixel values.
            code: conditions of the batch.
            uniform_noisy, uniform_clean: independent dequantization noise in [0, 1).
        """
        sizes = self.sizes
        clean_dequantized = self.dequantize(clean, uniform_clean)
        noise = self.dequantize(noisy, uniform_noisy) - clean_dequantized
        transform = self.flow.at(clean_dequantized, code)
        latent, log_derivative = transform.latent(noise)
        log_det = log_derivative - math.log(sizes.levels)
        log_prob = -0.5 * math.log(2 * math.pi) - 0.5 * latent**2
        if sizes.tone:
            # The unclipped value lies anywhere at or beyond black (or white): the probability of all of that.
            for clipped, edge, side in (
                (noisy <= 0, 1.0, 1),
                (noisy >= sizes.levels - 1, sizes.levels - 1, -1),
            ):
                there = transform.at(clipped)
                edge_latent, _ = there.latent(edge / sizes.levels - there.clean)
                log_prob = log_prob.masked_scatter(clipped, torch.special.log_ndtr(side * edge_latent))
                log_det = log_det.masked_fill(clipped, 0.0)
        return FlowLikelihood(latent, log_det.sum(dim=(1, 2, 3)), log_prob.sum(dim=(1, 2, 3)))

    def correlate_linearly(self, noise: Tensor, code: ConditionCode) -> Tensor:
        """The filter, where there is one."""
        return noise if self.correlation is None else self.correlation(noise, code)

    def correlate(self, noise: Tensor, clean: Tensor, code: ConditionCode) -> Tensor:
        """Filter and generator, where there are such, on latents or on noise in units of 256 8-bit grey levels.

        `clean` is in pixel values.
        """
        noise = self.correlate_linearly(noise, code)
        if self.generator is None:
            return noise
        return self.generator(noise, clean / self.sizes.levels, code)

    def steps(
        self, clean: Tensor, code: ConditionCode, noise: Randomness, strength: float = 1.0
    ) -> SampleSteps:
        """Samples, keeping every intermediate (differentiable; without rounding or clipping of the result)."""
        if self.sizes.latent:
            transform = self.flow.at(self.dequantize(clean, noise.uniform), code).scaled(strength)
            latent = self.correlate(noise.normal, clean, code)
            noisy = (transform.clean + transform.noise(latent)) * self.sizes.levels
            return SampleSteps(transform.clean, None, clean, noise.normal, latent, noisy)
        dequantized, pixel, base, generator_in = self.pixel_steps(clean, code, noise)
        generator_out = self.correlate(generator_in, clean, code)
        noisy = generator_out * (strength * PUBLISHED_UNIT * self.sizes.grey) + base
        return SampleSteps(dequantized, pixel, base, generator_in, generator_out, noisy)

    def pixel_steps(
        self, clean: Tensor, code: ConditionCode, noise: Randomness
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The pixel-wise half of sampling as published: the first four fields of `SampleSteps`."""
        levels = self.sizes.levels
        dequantized = self.dequantize(clean, noise.uniform)
        pixel = self.flow.inverse(noise.normal, dequantized, code) + dequantized
        # floor(2**bits * dequantized), not the input, is what the published sampler subtracts and adds back;
        # they differ where float32 rounds clean + u up.
        base = torch.floor(levels * dequantized).clamp(0, levels - 1)
        pixel_noise = torch.floor(levels * pixel).clamp(0, levels - 1) - base
        return dequantized, pixel, base, pixel_noise / (PUBLISHED_UNIT * self.sizes.grey)

    @torch.inference_mode()
    def sample(
        self, clean: Tensor, condition: Sequence[Condition], *, noise: Randomness, strength: float = 1.0
    ) -> Tensor:
        """See `NoiseModel.sample`. Puts no module in eval mode: a model is loaded in it.

        A model as published has clipped and rounded pixel-wise noise inside; its strength acts behind the generator.
        """
        noisy = self.steps(clean, self.encode(condition), noise, strength).noisy
        # Dequantization put level k at [k, k + 1); the published generator's output is centred on whole levels.
        if not self.sizes.latent:
            noisy = noisy + 0.5
        return torch.floor(noisy).clamp_(0, self.sizes.levels - 1)
