"""DnCNN, the denoiser that measures what noisy/clean pairs are worth (Zhang et al. 2017; paper section IV-D)."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["DnCNN"]


class DnCNN(nn.Module):
    """Residual denoiser: `layers` 3x3 convolutions of `width` channels with BatchNorm; returns x - net(x).

    Pictures are float [B, C, H, W] in units of 2**bit_depth grey levels, any H and W.

    Args:
        channels: 1 (grey) or 3 (RGB).
        layers: convolutions.
        width: channels between them.
        bit_depth: of the pictures it is for, 8 to 16; the network itself does not use it.
    """

    def __init__(self, channels: int = 3, layers: int = 18, width: int = 64, bit_depth: int = 8) -> None:
        super().__init__()
        self.channels, self.layers, self.width, self.bit_depth = channels, layers, width, bit_depth
        body: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        for _ in range(layers - 2):
            body += [
                nn.Conv2d(width, width, 3, padding=1),
                nn.BatchNorm2d(width, momentum=0.9, eps=1e-4),
                nn.ReLU(),
            ]
        body.append(nn.Conv2d(width, channels, 3, padding=1))
        self.body = nn.Sequential(*body)

    def forward(self, noisy: Tensor) -> Tensor:
        return noisy - self.body(noisy)
