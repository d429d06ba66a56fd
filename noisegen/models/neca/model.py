"""NeCA-W as a noise model: with the gain of a noisy picture, or with those of the training pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisegen.conditions import Condition, Vocabulary
from noisegen.models.condition_codes import ConditionCode, encode_conditions
from noisegen.models.learning import LearnedModel
from noisegen.models.neca.config import NecaSizes
from noisegen.models.neca.networks import CorrelationNet, GainNet, LevelNet, PerCamera
from noisegen.models.picture_randomness import picture_uniforms
from noisegen.models.protocol import Randomness

__all__ = ["GAINS", "SMALLEST_GAIN", "Neca", "NoiseSteps"]

# Gains that are stored for each camera and ISO setting
GAINS = 8
# 8-bit grey levels; far below rounding, and keeps the logarithm finite.
SMALLEST_GAIN = 0.01
# Side in pixels of the parts of a large picture that its gain is estimated from
PART = 512


@dataclass(frozen=True)
class NoiseSteps:
    """How noise is made; float [B, C, H, W] in units of noise (`NecaSizes.noise_unit`).

    Attributes:
        level: standard deviation of `independent`.
        independent: signal-dependent noise, independent from pixel to pixel.
        noise: correlated with its neighbours.
    """

    level: Tensor
    independent: Tensor
    noise: Tensor


class Neca(LearnedModel):
    """The whole pipeline of the paper ("W"), with networks of its own for each camera; a `ReferencedModel`.

    Of a noisy picture y with the clean picture x, all in units of `NecaSizes.noise_unit`:

        g = GENet(y)               gain, one number
        s = NPNet(x, g)            noise level of each pixel and channel
        n = s * z, z ~ N(0, 1)     noise that depends on the signal
        v = NCNet(n)               and is correlated with its neighbours

    The description of a reference is its gain g, the mean over its area. Published noise wants a noisy picture.
    Without one, a gain of those in the training pictures of the camera and ISO is drawn here, for each noisy picture,
    from `log_gains`: a table of the gains' logarithms, float32 [ISOs * cameras, GAINS], ascending, read between its
    entries linearly, and between two ISO settings linearly in log ISO.
    """

    log_gains: Tensor

    def __init__(self, sizes: NecaSizes, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.sizes: NecaSizes = sizes
        self.vocabulary = vocabulary
        cameras = len(vocabulary.cameras)
        self.gain = PerCamera(lambda: GainNet(sizes), cameras)
        self.level = PerCamera(lambda: LevelNet(sizes), cameras)
        self.correlation = PerCamera(lambda: CorrelationNet(sizes), cameras)
        self.register_buffer("log_gains", torch.zeros(len(vocabulary.isos) * cameras, GAINS))

    @property
    def alignment(self) -> int:
        return self.correlation.of(0).align

    @property
    def needs_reference(self) -> bool:
        return False

    def cameras_of(self, conditions: Sequence[Condition]) -> list[int]:
        """Which camera's networks each picture goes through.

        Raises:
            InputError: a camera or ISO that the model does not cover.
        """
        return [
            self.vocabulary.cameras.index(self.vocabulary.resolve(condition).condition.camera)
            for condition in conditions
        ]

    def estimate_gain(self, noisy: Tensor, cameras: Sequence[int]) -> Tensor:
        """The gains [B, 1] of noisy pictures [B, C, H, W] in pixel values, as the network puts them out."""
        return self.gain(cameras, noisy / self.sizes.noise_unit)

    def noise_steps(self, clean: Tensor, gain: Tensor, normal: Tensor, cameras: Sequence[int]) -> NoiseSteps:
        """Noise for clean pictures [B, C, H, W] in pixel values at gains [B, 1]."""
        level = self.level(cameras, clean / self.sizes.levels, gain)
        independent = level * normal
        return NoiseSteps(level, independent, self.correlation(cameras, independent))

    @torch.inference_mode()
    def describe(self, noisy: Tensor, clean: Tensor, condition: Sequence[Condition]) -> Tensor:
        """See `ReferencedModel.describe`: the gains [B, 1], in units of noise. The clean picture is not looked at."""
        cameras = self.cameras_of(condition)
        total = noisy.new_zeros(len(noisy), 1)
        for rows in noisy.split(PART, dim=2):
            for part in rows.split(PART, dim=3):
                total += self.estimate_gain(part, cameras) * part[0, 0].numel()
        return (total / noisy[0, 0].numel()).clamp_(min=self.smallest_gain)

    @property
    def smallest_gain(self) -> float:
        """In units of noise; a gain is a standard deviation, and whatever a network says is above 0."""
        return SMALLEST_GAIN / self.sizes.unit

    def draw_gain(self, code: ConditionCode, uniform: Tensor) -> Tensor:
        """Gains [B, 1] from the tables of stored ones, at positions [B, 1] in (0, 1) between least and greatest."""
        table = code.blend(self.log_gains[code.row])
        position = uniform.to(table) * (GAINS - 1)
        left = position.floor().clamp(max=GAINS - 2)
        low, high = (table.gather(1, left.long() + step) for step in (0, 1))
        return torch.lerp(low, high, position - left).exp()

    @torch.inference_mode()
    def sample(
        self,
        clean: Tensor,
        condition: Sequence[Condition],
        *,
        noise: Randomness,
        strength: float = 1.0,
        reference: Tensor | None = None,
    ) -> Tensor:
        """See `ReferencedModel.sample`; the reference is a gain [B, 1], see `describe`."""
        cameras = self.cameras_of(condition)
        if reference is None:
            mixes = [self.vocabulary.resolve(one) for one in condition]
            code = encode_conditions(self.vocabulary, mixes, clean.device)
            reference = self.draw_gain(code, picture_uniforms(noise, 1))
        made = self.noise_steps(clean, reference, noise.normal, cameras).noise
        noisy = clean + made * (strength * self.sizes.noise_unit)
        return noisy.round_().clamp_(0, self.sizes.levels - 1)
