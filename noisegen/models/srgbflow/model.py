"""sRGBFlow: sizes and model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import UsageError
from noisegen.models.condition_codes import (
    ConditionCode,
    ConditionTable,
    ResidualEncoder,
    encode_conditions,
)
from noisegen.models.learning import LearnedModel, ModelSizes
from noisegen.models.protocol import Randomness
from noisegen.models.srgbflow.layers import ConditionalCoupling, ConditionalLinear, Invertible1x1

__all__ = ["SRGBFlow", "SRGBFlowSizes"]


@dataclass(frozen=True)
class SRGBFlowSizes(ModelSizes):
    """Architecture of an sRGBFlow; the defaults are those of the authors' published model, of 6160 parameters.

    Attributes:
        blocks: number of blocks, each a conditional linear layer and its couplings.
        couplings: couplings of a block, each behind an invertible 1x1 convolution.
        width: hidden channels of the couplings' networks.
        batch_norm: batch norm in the couplings' networks. It learns from patches of other conditions and is a fixed
            scale and shift once trained, which a small batch estimates badly.
        condition_encoder: "residual" is the paper's network on one-hot codes, with batch norm too; "table" one learned
            number for each (ISO, camera).
    """

    blocks: int = 4
    couplings: int = 2
    width: int = 4
    batch_norm: bool = True
    condition_encoder: Literal["residual", "table"] = "residual"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("blocks", "couplings", "width"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.condition_encoder not in ("residual", "table"):
            raise UsageError(f"condition_encoder must be residual or table, not {self.condition_encoder!r}")


class SRGBFlow(LearnedModel):
    """A conditional normalizing flow for the noise of a whole picture.

    Kousha, Maleky, Brown and Brubaker, "Modeling sRGB Camera Noise with Normalizing Flows", CVPR 2022. With clean c
    and noisy picture y, both dequantized by uniform noise u and in units of 2**bit_depth grey levels, the noise
    x = (y + u') - (c + u) goes through `blocks` times

        conditional linear, (invertible 1x1 convolution, conditional affine coupling) x `couplings`

    and becomes standard normal: log p(y | c, camera, ISO) = log N(z; 0, 1) + sum of log-determinants - log 2**bit_depth
    for each value. Sampling goes the other way and ends with y = floor(c + u + noise), clipped.

    What the paper leaves open is as in the authors' published model (widths, order, what each network sees). Differing
    from it, all weights but those that make a coupling the identity start as PyTorch's layers do, and the amplitude of
    the log-scales at 1 rather than 1e-4, which only delays what couplings learn. Grey pictures are not in the paper:
    see `ConditionalCoupling`; with one channel there are no 1x1 convolutions.

    The networks see 5 x 5 pixels, so noise depends on what is up to 2 * blocks * couplings pixels away, and near the
    border of a tile on where that is.
    """

    sizes: SRGBFlowSizes

    def __init__(self, sizes: SRGBFlowSizes, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.sizes, self.vocabulary = sizes, vocabulary
        channels = sizes.channels
        rows = len(vocabulary.isos) * len(vocabulary.cameras)
        layers: list[nn.Module] = []
        for _ in range(sizes.blocks):
            layers.append(ConditionalLinear(rows, channels))
            for turn in range(sizes.couplings):
                if channels > 1:
                    layers.append(Invertible1x1(channels))
                layers.append(
                    ConditionalCoupling(
                        _encoder(sizes, vocabulary),
                        channels,
                        sizes.width,
                        batch_norm=sizes.batch_norm,
                        turn=turn % 2,
                    )
                )
        self.layers = nn.ModuleList(layers)

    @property
    def alignment(self) -> int:
        return 1 if self.channels > 1 else 2

    def encode(self, conditions: Sequence[Condition]) -> ConditionCode:
        """Resolves conditions (interpolating ISO) to tensors on the model's device.

        Raises:
            InputError: a camera or ISO that the model does not cover.
        """
        device = next(self.parameters()).device
        return encode_conditions(self.vocabulary, [self.vocabulary.resolve(c) for c in conditions], device)

    def forward(self, noise: Tensor, clean: Tensor, code: ConditionCode) -> tuple[Tensor, Tensor]:
        """noise -> (latent [B, C, H, W], log-determinant [B] in nats per picture).

        Args:
            noise, clean: float [B, C, H, W] in units of 2**bit_depth grey levels, dequantized.
            code: conditions of the batch.
        """
        log_det = noise.new_zeros(len(noise))
        for layer in self.layers:
            noise, change = layer(noise, clean, code)
            log_det = log_det + change
        return noise, log_det

    def inverse(self, latent: Tensor, clean: Tensor, code: ConditionCode) -> Tensor:
        """latent -> noise, the inverse of `forward`."""
        for layer in reversed(self.layers):
            assert isinstance(layer, ConditionalLinear | Invertible1x1 | ConditionalCoupling)
            latent = layer.inverse(latent, clean, code)
        return latent

    def log_likelihood(
        self, noisy: Tensor, clean: Tensor, code: ConditionCode, uniform_noisy: Tensor, uniform_clean: Tensor
    ) -> Tensor:
        """Log-likelihood of noisy pictures, [B] in nats per picture.

        Args:
            noisy, clean: float [B, C, H, W] pixel values.
            code: conditions of the batch.
            uniform_noisy, uniform_clean: independent dequantization noise in [0, 1).
        """
        levels = self.sizes.levels
        dequantized = (clean + uniform_clean) / levels
        latent, log_det = self((noisy + uniform_noisy) / levels - dequantized, dequantized, code)
        log_prob = -0.5 * (latent.square() + math.log(2 * math.pi)) - math.log(levels)
        return log_det + log_prob.sum(dim=(1, 2, 3))

    @torch.inference_mode()
    def sample(
        self, clean: Tensor, condition: Sequence[Condition], *, noise: Randomness, strength: float = 1.0
    ) -> Tensor:
        """See `NoiseModel.sample`. Between two ISO settings every table's row and condition's weight is blended."""
        levels = self.sizes.levels
        dequantized = clean + noise.uniform
        drawn = self.inverse(noise.normal, dequantized / levels, self.encode(condition))
        return torch.floor(dequantized + drawn * (strength * levels)).clamp_(0, levels - 1)


def _encoder(sizes: SRGBFlowSizes, vocabulary: Vocabulary) -> nn.Module:
    isos, cameras = len(vocabulary.isos), len(vocabulary.cameras)
    if sizes.condition_encoder == "residual":
        return ResidualEncoder(isos + cameras, 1)
    table = ConditionTable(isos * cameras, 1, std=0.0)
    nn.init.ones_(table.table)
    return table
