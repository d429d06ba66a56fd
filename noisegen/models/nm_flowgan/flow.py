"""The pixel-wise normalizing flow: noise -> latent, a chain of conditional affine layers (paper section III-C)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from noisegen.conditions import Vocabulary
from noisegen.models.nm_flowgan.config import NMFlowGANConfig
from noisegen.models.nm_flowgan.layers import (
    ConditionalLinear,
    ConditionCode,
    ConditionTable,
    ResidualEncoder,
    SignalDependent,
    StructureAware,
)

__all__ = ["PixelFlow", "fold_inverse", "standard_normal_log_prob"]


class PixelFlow(nn.Module):
    """SAL, SDL, CL2 (those the configuration has), repeated `flow_blocks` times, in the direction noise -> latent.

    No layer's scale or bias depends on the noise. Noise, clean picture and latent are float [B, C, H, W]; noise and
    clean in units of 2**bit_depth grey levels, the clean one dequantized (see `NMFlowGAN.dequantize`).
    """

    def __init__(self, config: NMFlowGANConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        rows = len(vocabulary.isos) * len(vocabulary.cameras)
        channels = config.channels

        def encoder(out: int) -> nn.Module:
            if config.condition_encoder == "table":
                return ConditionTable(rows, out)
            return ResidualEncoder(len(vocabulary.isos) + len(vocabulary.cameras), out)

        layers: list[nn.Module] = []
        for _ in range(config.flow_blocks):
            if config.structure:
                layers.append(
                    StructureAware(
                        encoder(2 * channels), channels, config.structure_width, config.structure_depth
                    )
                )
            if config.signal:
                layers.append(
                    SignalDependent(encoder(channels), channels, config.signal_widths, config.signal_norm)
                )
            layers.append(ConditionalLinear(rows, channels))
        self.layers = nn.ModuleList(layers)

    def forward(self, noise: Tensor, clean: Tensor, code: ConditionCode) -> tuple[Tensor, Tensor]:
        """noise -> (latent [B, C, H, W], log-determinant [B] in nats per picture)."""
        z = noise
        log_det = noise.new_zeros(noise.shape[0])
        for layer in self.layers:
            log_scale, bias = layer(clean, code)
            z = z * torch.exp(log_scale) + bias
            log_det = log_det + log_scale.expand_as(z).sum(dim=(1, 2, 3))
        return z, log_det

    def inverse(self, z: Tensor, clean: Tensor, code: ConditionCode) -> Tensor:
        """latent -> noise, the inverse of `forward`."""
        noise = z
        for layer in reversed(self.layers):
            log_scale, bias = layer(clean, code)
            noise = (noise - bias) / torch.exp(log_scale)
        return noise

    def affine(self, clean: Tensor, code: ConditionCode) -> tuple[Tensor, Tensor]:
        """The whole inverse as one affine map per pixel: noise = scale * z + shift, each [B, C, H, W]."""
        return fold_inverse(layer(clean, code) for layer in self.layers)


def fold_inverse(layers: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """One affine map for the inverse of a chain of affine layers.

    Args:
        layers: (log-scale, bias) of each, in the direction noise -> latent.

    Returns:
        scale and shift with noise = scale * z + shift.
    """
    log_total: Tensor | float = 0.0
    shift: Tensor | float = 0.0
    scale: Tensor | None = None
    for log_scale, bias in layers:
        log_total = log_total + log_scale
        scale = torch.exp(-log_total)
        shift = shift - bias * scale
    assert scale is not None and isinstance(shift, Tensor)
    return scale, shift


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I) summed over each picture: [B, C, H, W] -> [B], nats."""
    return (-0.5 * math.log(2 * math.pi) - 0.5 * z**2).sum(dim=(1, 2, 3))
