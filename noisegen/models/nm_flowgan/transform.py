"""The flow at one pixel: the invertible map between noise and latent, given the clean picture and the condition.

noise -> tone curve -> affine -> tails -> latent. The published flow has the affine part alone.

The tone curve. A camera renders a sensor's nearly Gaussian noise by a concave curve and clips it at black. In sRGB that
gives noise a negative mean and skew that grow with its variance (for y = x^(1/g) the mean is about
-(g - 1) / 2 * variance / y), which no affine layer has. With value v = clean + noise and b = clean + toe,

    bent = b / gamma * ((v + toe)^gamma / b^gamma - 1),

the Box-Cox transform of v + toe relative to b: bent equals noise to first order, is 0 where noise is 0, and is the
noise itself for gamma 1. gamma and toe belong to the camera, not to the ISO.

Tails. The sinh-arcsinh transform (Jones and Pewsey 2009): latent = sinh(tail * asinh(z)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["NoiseTransform", "bend", "unbend"]

# Values are kept so far from the pole of the logarithm. Its root is below any toe, so such a value is clipped anyway.
SMALLEST = 1e-6


def bend(noise: Tensor, clean: Tensor, gamma: Tensor, toe: Tensor) -> tuple[Tensor, Tensor]:
    """Noise in the domain of the tone curve, and the logarithm of the derivative.

    Args:
        noise, clean: in units of 2**bit_depth grey levels.
        gamma, toe: positive; broadcastable.
    """
    base = clean + toe
    log_ratio = torch.log((1 + noise / base).clamp(min=SMALLEST))
    return base / gamma * torch.expm1(gamma * log_ratio), (gamma - 1) * log_ratio


def unbend(bent: Tensor, clean: Tensor, gamma: Tensor, toe: Tensor) -> Tensor:
    """The inverse of `bend`; what would lie below the curve's end lands below black."""
    base = clean + toe
    ratio = (1 + gamma * bent / base).clamp(min=SMALLEST)
    return base * torch.expm1(torch.log(ratio) / gamma)


@dataclass(frozen=True)
class NoiseTransform:
    """The map between noise and latent at every pixel of a batch; all broadcastable to [B, C, H, W].

    Attributes:
        clean: dequantized clean picture in units of 2**bit_depth grey levels, as the noise.
        log_scale, shift: bent noise = exp(log_scale) * z + shift.
        gamma, toe: of the tone curve, or None.
        tail: None, or the tail weight; 1 is the Gaussian's.
    """

    clean: Tensor
    log_scale: Tensor
    shift: Tensor
    gamma: Tensor | None = None
    toe: Tensor | None = None
    tail: Tensor | None = None

    def latent(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """noise -> (latent, logarithm of the derivative of latent by noise), both of the noise's shape."""
        log_derivative = -self.log_scale
        if self.gamma is not None and self.toe is not None:
            noise, log_bend = bend(noise, self.clean, self.gamma, self.toe)
            log_derivative = log_derivative + log_bend
        latent = (noise - self.shift) * torch.exp(-self.log_scale)
        if self.tail is not None:
            z = latent
            angle = self.tail * torch.asinh(z)
            latent = torch.sinh(angle)
            log_derivative = log_derivative + (
                torch.log(self.tail) + torch.log(torch.cosh(angle)) - 0.5 * torch.log1p(z * z)
            )
        return latent, log_derivative.expand_as(latent)

    def noise(self, latent: Tensor) -> Tensor:
        """latent -> noise, the inverse of `latent`."""
        if self.tail is not None:
            latent = torch.sinh(torch.asinh(latent) / self.tail)
        noise = torch.exp(self.log_scale) * latent + self.shift
        if self.gamma is not None and self.toe is not None:
            noise = unbend(noise, self.clean, self.gamma, self.toe)
        return noise

    def scaled(self, strength: float) -> NoiseTransform:
        """The map of noise that is `strength` times as strong before the tone curve."""
        return replace(self, log_scale=self.log_scale + math.log(strength), shift=self.shift * strength)

    def at(self, pixels: Tensor) -> NoiseTransform:
        """The same map at the pixels where the mask [B, C, H, W] is true, as flat tensors."""

        def there(values: Tensor) -> Tensor:
            return values.expand(pixels.shape)[pixels]

        return NoiseTransform(
            there(self.clean),
            there(self.log_scale),
            there(self.shift),
            None if self.gamma is None else there(self.gamma),
            None if self.toe is None else there(self.toe),
            None if self.tail is None else there(self.tail),
        )
