"""The spatial-correlation generator (U-Net) and the critic (paper section III-D)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.conditions import Vocabulary
from noisegen.models.condition_codes import ConditionCode, ConditionTable
from noisegen.models.nm_flowgan.layers import pixel_shuffle, pixel_unshuffle
from noisegen.models.nm_flowgan.sizes import NMFlowGANSizes

__all__ = ["Critic", "SpatialGenerator"]


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.Conv2d(after, after, 3, padding=1), nn.ReLU()
    )


class SpatialGenerator(nn.Module):
    """Residual U-Net from pixel-wise noise to spatially correlated noise.

    Down: two 3x3 convolutions with ReLU per level and max-pooling between levels; up: transposed 2x2 convolution, skip
    concatenation, two 3x3 convolutions; a 1x1 convolution at the end; plus its input.
    """

    def __init__(self, sizes: NMFlowGANSizes, vocabulary: Vocabulary) -> None:
        super().__init__()
        channels = sizes.channels
        widths = [sizes.unet_width * 2**level for level in range(sizes.unet_depth)]
        self.stride = sizes.unet_stride
        self.align = self.stride * 2 ** (sizes.unet_depth - 1)
        self.conditional = sizes.conditional
        squares = channels * self.stride**2
        inputs = 2 * squares if self.conditional else squares
        self.down = nn.ModuleList(
            _block(before, after) for before, after in zip([inputs, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in reversed(widths[:-1])
        )
        self.merge = nn.ModuleList(_block(2 * width, width) for width in reversed(widths[:-1]))
        self.last = nn.Conv2d(widths[0], squares, 1)
        if self.conditional:
            rows = len(vocabulary.isos) * len(vocabulary.cameras)
            self.widths = widths
            self.condition = ConditionTable(rows, 2 * sum(widths), std=0.1)
            # The generator starts as the identity, which keeps the adversarial game near the flow's noise.
            nn.init.zeros_(self.last.weight)
            assert self.last.bias is not None
            nn.init.zeros_(self.last.bias)

    def forward(
        self, noise: Tensor, clean: Tensor | None = None, code: ConditionCode | None = None
    ) -> Tensor:
        """Correlates the noise.

        Args:
            noise: float [B, C, H, W], latents or noise in units of 256 8-bit grey levels; any H and W.
            clean: float [B, C, H, W] in [0, 1], needed by a conditional generator.
            code: the conditions, needed by a conditional generator.
        """
        height, width = noise.shape[2:]
        x, levels = noise, None
        if self.conditional:
            assert clean is not None and code is not None
            x = torch.cat([noise, clean - 0.5], dim=1)
            levels = self.modulation(code)
        bottom, right = -height % self.align, -width % self.align
        if bottom or right:
            # Replication works at every size; reflection needs the picture to be larger than the padding.
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        x = pixel_unshuffle(x, self.stride)
        skips = []
        for level, block in enumerate(self.down):
            if level:
                skips.append(x)
                x = F.max_pool2d(x, 2)
            assert isinstance(block, nn.Sequential)
            x = block[0](x)
            if levels is not None:
                scale, bias = levels[level]
                x = scale * x + bias
            x = block[1:](x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([up(x), skips.pop()], dim=1))
        return noise + pixel_shuffle(self.last(x), self.stride)[:, :, :height, :width]

    def modulation(self, code: ConditionCode) -> list[tuple[Tensor, Tensor]]:
        """What the conditions do to the channels of each level of a conditional generator: scale and bias."""
        scales, biases = self.condition(code)[:, :, None, None].chunk(2, dim=1)
        return [
            (1 + scale, bias)
            for scale, bias in zip(
                scales.split(self.widths, dim=1), biases.split(self.widths, dim=1), strict=True
            )
        ]


class Critic(nn.Module):
    """VGG-like WGAN critic of concat(noise, clean): five halvings, InstanceNorm, LeakyReLU (section III-D).

    The paper's patch is 96x96; other sizes are averaged to the 3x3 grid that the classifier expects.
    """

    def __init__(self, sizes: NMFlowGANSizes, vocabulary: Vocabulary) -> None:
        super().__init__()
        width = sizes.critic_width
        rows = len(vocabulary.isos) * len(vocabulary.cameras)
        self.condition = ConditionTable(rows, width, std=0.1) if sizes.conditional else None
        widths = [width * m for m in (1, 2, 2, 4, 4, 8, 8, 8, 8)]
        # As in the published code, no activation follows the first convolution.
        self.first = nn.Conv2d(2 * sizes.channels, width, 7, padding=3)
        layers: list[nn.Module] = []
        before = width
        for index, after in enumerate(widths):
            kernel, stride = (4, 2) if index % 2 == 0 else (3, 1)
            layers.append(
                nn.Sequential(
                    nn.Conv2d(before, after, kernel, stride, padding=1),
                    nn.InstanceNorm2d(after, affine=True),
                    nn.LeakyReLU(0.2),
                )
            )
            before = after
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(before * 9, 100), nn.LeakyReLU(0.2), nn.Linear(100, 1))

    def forward(self, pair: Tensor, code: ConditionCode) -> Tensor:
        """Scores a batch.

        Args:
            pair: float [B, 2C, H, W], noise in units of `critic_unit` 8-bit grey levels and clean picture in [0, 1];
                sides at least 64.
            code: conditions of the batch.

        Returns:
            float [B, 1].
        """
        x = self.first(pair)
        if self.condition is not None:
            x = x + self.condition(code)[:, :, None, None]
        x = self.features(x)
        if x.shape[2:] != (3, 3):
            x = F.adaptive_avg_pool2d(x, 3)
        return self.classifier(x.flatten(1))
