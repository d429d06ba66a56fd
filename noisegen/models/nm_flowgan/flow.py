"""The pixel-wise normalizing flow: noise -> latent, a chain of conditional affine layers (paper section III-C)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from noisegen.conditions import Vocabulary
from noisegen.models.condition_codes import ConditionCode, ConditionTable, ResidualEncoder
from noisegen.models.nm_flowgan.layers import (
    ConditionalLinear,
    IntensityCurve,
    SignalDependent,
    StructureAware,
    TailWeight,
    ToneCurve,
)
from noisegen.models.nm_flowgan.sizes import NMFlowGANSizes
from noisegen.models.nm_flowgan.transform import NoiseTransform

__all__ = ["PixelFlow", "fold_inverse"]


class PixelFlow(nn.Module):
    """SAL, SDL, CL2 (those the configuration has), repeated `flow_blocks` times, in the direction noise -> latent.

    A tone curve before them and tails after them are extensions, see `noisegen.models.nm_flowgan.transform`. No layer's
    scale or bias depends on the noise. Noise, clean picture and latent are float [B, C, H, W]; noise and clean in units
    of 2**bit_depth grey levels, the clean one dequantized (see `NMFlowGAN.dequantize`).
    """

    def __init__(self, sizes: NMFlowGANSizes, vocabulary: Vocabulary) -> None:
        super().__init__()
        rows = len(vocabulary.isos) * len(vocabulary.cameras)
        channels, shift = sizes.channels, sizes.shift

        def encoder(out: int) -> nn.Module:
            if sizes.condition_encoder == "table":
                return ConditionTable(rows, out)
            return ResidualEncoder(len(vocabulary.isos) + len(vocabulary.cameras), out)

        layers: list[nn.Module] = []
        for _ in range(sizes.flow_blocks):
            if sizes.structure:
                layers.append(
                    StructureAware(
                        encoder((1 + shift) * channels),
                        channels,
                        sizes.structure_width,
                        sizes.structure_depth,
                        sizes.structure_stride,
                        shift,
                        ConditionTable(rows, 2 * sizes.structure_width * (sizes.structure_depth + 1), std=0.0)
                        if sizes.structure_modulated
                        else None,
                    )
                )
            if sizes.signal:
                layers.append(
                    SignalDependent(
                        encoder(channels), channels, sizes.signal_widths, sizes.signal_norm, shift
                    )
                )
            if sizes.intensity_knots:
                layers.append(IntensityCurve(rows, sizes.intensity_knots))
            layers.append(ConditionalLinear(rows, channels, shift, sizes.period))
        self.layers = nn.ModuleList(layers)
        self.tone = ToneCurve(len(vocabulary.cameras)) if sizes.tone else None
        self.tails = TailWeight(rows, channels) if sizes.tails else None

    def at(self, clean: Tensor, code: ConditionCode) -> NoiseTransform:
        """The flow's map between noise and latent for these clean pictures and conditions."""
        log_scale, shift = fold_inverse(layer(clean, code) for layer in self.layers)
        gamma, toe = (None, None) if self.tone is None else self.tone(code)
        tail = None if self.tails is None else self.tails(code)
        return NoiseTransform(clean, log_scale, shift, gamma, toe, tail)

    def forward(self, noise: Tensor, clean: Tensor, code: ConditionCode) -> tuple[Tensor, Tensor]:
        """noise -> (latent [B, C, H, W], log-determinant [B] in nats per picture)."""
        latent, log_derivative = self.at(clean, code).latent(noise)
        return latent, log_derivative.sum(dim=(1, 2, 3))

    def inverse(self, z: Tensor, clean: Tensor, code: ConditionCode) -> Tensor:
        """latent -> noise, the inverse of `forward`."""
        return self.at(clean, code).noise(z)


def fold_inverse(layers: Iterable[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor]:
    """One affine map for the inverse of a chain of affine layers.

    Args:
        layers: (log-scale, bias) of each, in the direction noise -> latent; a bias of None is 0.

    Returns:
        log-scale and shift with noise = exp(log-scale) * z + shift.
    """
    total: Tensor | None = None
    shift: Tensor | None = None
    for log_scale, bias in layers:
        total = -log_scale if total is None else total - log_scale
        if bias is not None:
            shift = -bias * torch.exp(total) if shift is None else shift - bias * torch.exp(total)
    assert total is not None
    return total, total.new_zeros(()) if shift is None else shift
