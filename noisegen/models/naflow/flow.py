"""The multi-scale flow of NAFlow: noise -> latent, given the clean picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from noisegen.models.naflow.layers import (
    ActNorm,
    ConditionalCoupling,
    FeatureAffine,
    FlowLayer,
    Mixing,
)

__all__ = ["MultiScaleFlow"]


class CleanFeatures(nn.Module):
    """Features of the clean picture at every scale, each from the one before: [B, F, h, w] at 1/2, 1/4, ..."""

    def __init__(self, channels: int, scales: int, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(4 * channels, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU()
        )
        self.narrow = nn.ModuleList(nn.Conv2d(width, width // 4, 1) for _ in range(scales - 1))
        self.widen = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4 * (width // 4), width, 1), nn.ReLU()) for _ in range(scales - 1)
        )

    def forward(self, clean: Tensor) -> Iterator[Tensor]:
        features = self.first(nn.functional.pixel_unshuffle(clean, 2))
        yield features
        for narrow, widen in zip(self.narrow, self.widen, strict=True):
            features = widen(nn.functional.pixel_unshuffle(narrow(features), 2))
            yield features


class Scale(FlowLayer):
    """A squeeze (2 x 2 pixels become channels), transitions, then conditional steps.

    A transition is ActNorm and `Mixing`; a step is ActNorm, `Mixing`, `FeatureAffine` and `ConditionalCoupling`.
    `channels` are those after the squeeze.
    """

    def __init__(self, channels: int, transitions: int, steps: int, features: int, hidden: int) -> None:
        super().__init__()
        layers: list[FlowLayer] = []
        for _ in range(transitions):
            layers += [ActNorm(channels), Mixing(channels, principal=not layers)]
        for _ in range(steps):
            layers += [
                ActNorm(channels),
                Mixing(channels, principal=not layers),
                FeatureAffine(channels, features, hidden),
                ConditionalCoupling(channels, features, hidden),
            ]
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = nn.functional.pixel_unshuffle(x, 2), x.new_zeros(len(x))
        for layer in self._chain():
            x, gained = layer(x, features)
            log_det = log_det + gained
        return x, log_det

    def inverse(self, z: Tensor, features: Tensor) -> Tensor:
        for layer in reversed(self._chain()):
            z = layer.inverse(z, features)
        return nn.functional.pixel_shuffle(z, 2)

    def initialise(self, x: Tensor, features: Tensor) -> None:
        x = nn.functional.pixel_unshuffle(x, 2)
        for layer in self._chain():
            layer.initialise(x, features)
            x, _ = layer(x, features)

    def _chain(self) -> list[FlowLayer]:
        return cast(list[FlowLayer], list(self.layers))


class MultiScaleFlow(nn.Module):
    """One `Scale` after the other. No channel leaves before the last: a latent is of a square of 2**scales pixels.

    Sides of noise and clean picture are multiples of 2**scales. Noise and latent have as many values: [B, C, H, W] and
    [B, C * 4**scales, H / 2**scales, W / 2**scales]. The clean picture is in units of its whole range, less 1/2.
    """

    def __init__(
        self, channels: int, scales: int, transitions: int, steps: int, features: int, hidden: int
    ) -> None:
        super().__init__()
        self.features = CleanFeatures(channels, scales, features)
        self.scales = nn.ModuleList(
            Scale(channels * 4 ** (index + 1), transitions, steps, features, hidden)
            for index in range(scales)
        )

    def forward(self, noise: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """noise -> (latent, log-determinant [B] in nats per picture)."""
        x, log_det = noise, noise.new_zeros(len(noise))
        for scale, features in self._with_features(clean):
            x, gained = scale(x, features)
            log_det = log_det + gained
        return x, log_det

    def inverse(self, latent: Tensor, clean: Tensor) -> Tensor:
        """latent -> noise, the inverse of `forward`."""
        z = latent
        for scale, features in reversed(self._with_features(clean)):
            z = scale.inverse(z, features)
        return z

    @torch.no_grad()
    def initialise(self, noise: Tensor, clean: Tensor) -> None:
        """See `FlowLayer.initialise`; each layer sees what those before it, initialised themselves, make of noise."""
        x = noise
        for scale, features in self._with_features(clean):
            scale.initialise(x, features)
            x, _ = scale(x, features)

    def _with_features(self, clean: Tensor) -> list[tuple[Scale, Tensor]]:
        scales = cast(list[Scale], list(self.scales))
        return list(zip(scales, self.features(clean), strict=True))
