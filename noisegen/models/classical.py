"""The classical models, independent from pixel to pixel: Gaussian and two signal-dependent Gaussian noises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisegen.conditions import Condition, Vocabulary
from noisegen.models.protocol import Randomness

__all__ = ["Awgn", "Heteroscedastic", "PoissonGaussian"]

# In squared grey levels of the model's bit depth: far below rounding, and keeps the logarithm finite.
MIN_VARIANCE = 1e-6


@dataclass(frozen=True)
class Awgn:
    """White Gaussian noise of one standard deviation for each condition and channel.

    Attributes:
        vocabulary, channels, bit_depth: see `noisegen.models.protocol.NoiseModel`.
        std: per known condition, one value a channel, in levels of ``bit_depth``.
    """

    vocabulary: Vocabulary
    channels: int
    bit_depth: int
    std: Mapping[Condition, tuple[float, ...]]

    def variance(self, clean: Tensor, condition: Condition) -> Tensor:
        """Variance for clean [C, H, W] at a known condition, broadcastable to it."""
        return clean.new_tensor(self.std[condition]).square_().view(-1, 1, 1)

    @property
    def alignment(self) -> int:
        return 1

    def sample(
        self, clean: Tensor, condition: Sequence[Condition], *, noise: Randomness, strength: float = 1.0
    ) -> Tensor:
        """See `NoiseModel.sample`. Between two ISO settings the log variance is linear in log ISO."""
        return _sample(self, clean, condition, noise, strength)


@dataclass(frozen=True)
class Heteroscedastic:
    """Gaussian noise whose variance is linear in the clean value, for each condition and channel.

    The line is kept as its two ends, both at least 0, so that it is a variance everywhere between them.

    Attributes:
        vocabulary, channels, bit_depth: see `noisegen.models.protocol.NoiseModel`.
        dark, bright: variance at 0 and at 2**bit_depth - 1, per known condition, one value a channel, in
            squared levels of ``bit_depth``.
    """

    vocabulary: Vocabulary
    channels: int
    bit_depth: int
    dark: Mapping[Condition, tuple[float, ...]]
    bright: Mapping[Condition, tuple[float, ...]]

    def variance(self, clean: Tensor, condition: Condition) -> Tensor:
        """Variance [C, H, W] for clean [C, H, W] at a known condition."""
        dark, bright = (
            clean.new_tensor(table[condition]).view(-1, 1, 1) for table in (self.dark, self.bright)
        )
        return dark + (bright - dark) * (clean / (2**self.bit_depth - 1))

    @property
    def alignment(self) -> int:
        return 1

    def sample(
        self, clean: Tensor, condition: Sequence[Condition], *, noise: Randomness, strength: float = 1.0
    ) -> Tensor:
        """See `NoiseModel.sample`. Between two ISO settings the log variance is linear in log ISO."""
        return _sample(self, clean, condition, noise, strength)


@dataclass(frozen=True)
class PoissonGaussian:
    """Clipped Poisson-Gaussian noise (Foi et al. 2008): variance gain * clean + offset, then the sensor's clipping.

    The Poisson part is drawn from the normal distribution of its variance, as in that paper. Where
    `Heteroscedastic` describes the variance that is seen, here gain and offset are those before clipping: near black
    and white the noise is as strong as the line says, and what leaves the range is cut off.

    Attributes:
        vocabulary, channels, bit_depth: see `noisegen.models.protocol.NoiseModel`.
        gain: per known condition, one value a channel, at least 0, in levels of ``bit_depth``.
        offset: likewise, in squared levels.
    """

    vocabulary: Vocabulary
    channels: int
    bit_depth: int
    gain: Mapping[Condition, tuple[float, ...]]
    offset: Mapping[Condition, tuple[float, ...]]

    def variance(self, clean: Tensor, condition: Condition) -> Tensor:
        """Variance [C, H, W] before clipping, for clean [C, H, W] at a known condition."""
        gain, offset = (
            clean.new_tensor(table[condition]).view(-1, 1, 1) for table in (self.gain, self.offset)
        )
        return gain * clean + offset

    @property
    def alignment(self) -> int:
        return 1

    def sample(
        self, clean: Tensor, condition: Sequence[Condition], *, noise: Randomness, strength: float = 1.0
    ) -> Tensor:
        """See `NoiseModel.sample`. Between two ISO settings the log variance is linear in log ISO."""
        return _sample(self, clean, condition, noise, strength)


def _sample(
    model: Awgn | Heteroscedastic | PoissonGaussian,
    clean: Tensor,
    conditions: Sequence[Condition],
    noise: Randomness,
    strength: float,
) -> Tensor:
    noisy = torch.empty_like(clean)
    # picture by picture, so that the last bits cannot depend on the others of the batch
    for index, condition in enumerate(conditions):
        mix = model.vocabulary.resolve(condition)
        spread = model.variance(clean[index], mix.low).clamp(min=MIN_VARIANCE)
        if mix.low != mix.high:
            high = model.variance(clean[index], mix.high).clamp(min=MIN_VARIANCE)
            spread = torch.exp(torch.lerp(spread.log(), high.log(), mix.weight))
        noisy[index] = clean[index] + spread.sqrt().mul_(strength) * noise.normal[index]
    return noisy.round_().clamp_(0, 2**model.bit_depth - 1)
