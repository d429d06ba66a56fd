"""Residual blocks of C2N's generator and critic."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

__all__ = ["ResidualBlock", "convolution"]

Padding = Literal["zeros", "replicate"]


class ResidualBlock(nn.Module):
    def __init__(self, width: int, size: int, *, bias: bool = True, padding: Padding = "replicate") -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(width, width, size, bias=bias, padding=padding),
            nn.PReLU(),
            convolution(width, width, size, bias=bias, padding=padding),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def convolution(
    inputs: int, outputs: int, size: int, *, bias: bool = True, padding: Padding = "replicate"
) -> nn.Conv2d:
    # a 1x1 convolution pads nothing, and is slower when it is told how
    mode: Padding = padding if size > 1 else "zeros"
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, padding_mode=mode, bias=bias)
