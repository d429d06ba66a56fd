"""The spatial-correlation generator on the compiled kernels, for networks as wide as the paper's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.models.nm_flowgan.networks import SpatialGenerator
from noisegen.native import library
from noisegen.native.wide import PANEL, Projection, Upsample2x2, WinogradConv3x3, interleave

__all__ = ["WideGenerator"]


class WideGenerator:
    """`SpatialGenerator.forward` without conditions, float32 on a CPU, up to rounding.

    Every picture's result is the same to the last bit whatever the batch.

    Args:
        generator: one that `fits`.
    """

    def __init__(self, generator: SpatialGenerator) -> None:
        self.align = generator.align
        self.down = [_block(block) for block in generator.down]
        self.up = [Upsample2x2(*_parameters(up)) for up in generator.up]
        self.merge = [_block(block) for block in generator.merge]
        self.last = Projection(*_parameters(generator.last))

    @staticmethod
    def fits(generator: SpatialGenerator) -> bool:
        """Whether the kernels can run such a generator, and are there."""
        narrowest = generator.last.in_channels
        return (
            not generator.conditional
            and generator.stride == 1
            and narrowest % PANEL == 0
            and library() is not None
        )

    def __call__(self, noise: Tensor) -> Tensor:
        """float32 [B, C, H, W], any H and W, to the same shape."""
        height, width = noise.shape[2:]
        bottom, right = -height % self.align, -width % self.align
        x = F.pad(noise, (0, right, 0, bottom), mode="replicate") if bottom or right else noise
        x = interleave(x, self.down[0][0].inputs)
        skips = []
        for first, second in self.down[:-1]:
            skip, x = second.and_pooled(first(x))
            skips.append(skip)
        first, second = self.down[-1]
        x = second(first(x))
        for up, (first, second) in zip(self.up, self.merge, strict=True):
            x = second(first(up(x), skips.pop()))
        return self.last(x, noise)


def _block(block: nn.Module) -> tuple[WinogradConv3x3, WinogradConv3x3]:
    assert isinstance(block, nn.Sequential)
    return WinogradConv3x3(*_parameters(block[0])), WinogradConv3x3(*_parameters(block[2]))


def _parameters(layer: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(layer.weight, Tensor) and isinstance(layer.bias, Tensor)
    return layer.weight.detach(), layer.bias.detach()
