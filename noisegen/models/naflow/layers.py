"""The invertible layers of NAFlow, each in the direction noise -> latent and back.

All act on x, float [B, C, h, w], given features of the clean picture, float [B, F, h, w] (or, where a layer squeezes,
[B, F, h / 2, w / 2]). `forward` returns the result and the log-determinant of a picture, [B] or one number, in nats.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

__all__ = ["ActNorm", "ConditionalCoupling", "FeatureAffine", "FlowLayer", "Mixing"]

# Largest absolute log-scale of an affine layer. Noise of one picture differs less than this, and the inverse of a
# layer, which divides by the scale, cannot blow a latent up.
LIMIT = 3.0


class FlowLayer(nn.Module, ABC):
    """An invertible map of x given features."""

    @abstractmethod
    def forward(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def inverse(self, z: Tensor, features: Tensor) -> Tensor: ...

    def initialise(self, x: Tensor, features: Tensor) -> None:
        """Sets the weights that the layer starts from, by its inputs for training patches of many settings."""


class ActNorm(FlowLayer):
    """y = exp(log_scale) * (x - centre) for each channel (Glow, section 3.1). It starts as standardisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))
        self.centre = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        return (x - self.centre) * torch.exp(self.log_scale), self.log_scale.sum() * x[0, 0].numel()

    def inverse(self, z: Tensor, features: Tensor) -> Tensor:
        return z * torch.exp(-self.log_scale) + self.centre

    @torch.no_grad()
    def initialise(self, x: Tensor, features: Tensor) -> None:
        std, mean = torch.std_mean(x, dim=(0, 2, 3))
        self.centre.copy_(mean[:, None, None])
        self.log_scale.copy_(-std.clamp(min=1e-6).log()[:, None, None])


class Mixing(FlowLayer):
    """y = W x at each position, an invertible 1x1 convolution, W = P L U (Glow, section 3.2).

    L has ones on its diagonal, U has sign * exp(log_diagonal); their triangles share a matrix of parameters. P is a
    fixed permutation. W starts as the identity, or, with `principal`, as the rotation to principal components.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int, *, principal: bool = False) -> None:
        super().__init__()
        self.principal = principal
        self.triangles = nn.Parameter(torch.zeros(channels, channels))
        self.log_diagonal = nn.Parameter(torch.zeros(channels))
        self.register_buffer("sign", torch.ones(channels))
        self.register_buffer("permutation", torch.arange(channels))

    def weight(self) -> Tensor:
        """W, [C, C]."""
        lower = self.triangles.tril(-1) + torch.eye(len(self.sign)).to(self.triangles)
        upper = self.triangles.triu(1) + torch.diag(self.sign * torch.exp(self.log_diagonal))
        return (lower @ upper)[self.permutation]

    def forward(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        y = nn.functional.conv2d(x, self.weight()[:, :, None, None])
        return y, self.log_diagonal.sum() * x[0, 0].numel()

    def inverse(self, z: Tensor, features: Tensor) -> Tensor:
        return nn.functional.conv2d(z, torch.linalg.inv(self.weight())[:, :, None, None])

    @torch.no_grad()
    def initialise(self, x: Tensor, features: Tensor) -> None:
        if not self.principal:
            return
        # every patch counts alike, whether its noise is strong or weak
        alike = x / x.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6)
        rows = alike.transpose(0, 1).flatten(1).double()
        _, vectors = torch.linalg.eigh(rows @ rows.T / rows.shape[1])
        permutation, lower, upper = torch.linalg.lu(vectors.T)
        diagonal = upper.diagonal()
        self.permutation.copy_(permutation.argmax(dim=1))
        self.triangles.copy_(lower.tril(-1) + upper.triu(1))
        self.sign.copy_(diagonal.sign())
        self.log_diagonal.copy_(diagonal.abs().log())


class FeatureAffine(FlowLayer):
    """y = exp(s) * (x + t) with s and t of all channels from the features alone: how noise follows the picture."""

    def __init__(self, channels: int, features: int, hidden: int) -> None:
        super().__init__()
        self.network = _affine_network(features, hidden, channels)

    def forward(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = _affine(self.network, features)
        return (x + shift) * torch.exp(log_scale), log_scale.sum(dim=(1, 2, 3))

    def inverse(self, z: Tensor, features: Tensor) -> Tensor:
        log_scale, shift = _affine(self.network, features)
        return z * torch.exp(-log_scale) - shift


class ConditionalCoupling(FlowLayer):
    """y_a = x_a, y_b = exp(s) * (x_b + t) with s and t from x_a and the features, a and b the channels' halves."""

    def __init__(self, channels: int, features: int, hidden: int) -> None:
        super().__init__()
        self.network = _affine_network(channels // 2 + features, hidden, channels - channels // 2)
        self.kept = channels // 2

    def forward(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        log_scale, shift = _affine(self.network, torch.cat([kept, features], dim=1))
        y = torch.cat([kept, (changed + shift) * torch.exp(log_scale)], dim=1)
        return y, log_scale.sum(dim=(1, 2, 3))

    def inverse(self, z: Tensor, features: Tensor) -> Tensor:
        kept, changed = z[:, : self.kept], z[:, self.kept :]
        log_scale, shift = _affine(self.network, torch.cat([kept, features], dim=1))
        return torch.cat([kept, changed * torch.exp(-log_scale) - shift], dim=1)


def _affine_network(inputs: int, hidden: int, channels: int) -> nn.Sequential:
    """Makes scale and shift of `channels` channels; it starts at a scale of 1 and a shift of 0."""
    last = nn.Conv2d(hidden, 2 * channels, 3, padding=1)
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 1),
        nn.ReLU(),
        last,
    )


def _affine(network: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    log_scale, shift = network(x).chunk(2, dim=1)
    return LIMIT * torch.tanh(log_scale / LIMIT), shift
