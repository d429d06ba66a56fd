"""Linear correlation of latents: what demosaicing and denoising in a camera do to noise, to second order."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.models.nm_flowgan.layers import ConditionCode

__all__ = ["CorrelationFilter", "wrap"]


class CorrelationFilter(nn.Module):
    """One filter over space and colour channels for each condition.

    White standard normal latents come out correlated, and still standard normal at every pixel: each filter is scaled
    to norm 1 per output channel, and the picture's sides are joined, so that a pixel at the border sees as many others
    as one in the middle. How strong the noise of a pixel is thus remains what the flow's likelihood made it.

    Args:
        rows: number of (ISO, camera) pairs.
        channels: of the picture.
        size: side of the filters in pixels, odd.
    """

    def __init__(self, rows: int, channels: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.channels = channels
        self.table = nn.Parameter(torch.zeros(rows, channels * channels, size, size))
        with torch.no_grad():
            self.table[:, :, size // 2, size // 2] = torch.eye(channels).flatten()

    def kernels(self, code: ConditionCode) -> Tensor:
        """The filters [B, C out, C in, size, size]; those between two ISO settings are blended."""
        table = self.table[code.row]
        blended = code.blend(table.flatten(1)).unflatten(1, (self.channels, -1, self.size, self.size))
        return blended / blended.square().sum(dim=(2, 3, 4), keepdim=True).sqrt()

    def forward(self, latent: Tensor, code: ConditionCode) -> Tensor:
        """latent [B, C, H, W] -> the same shape."""
        kernels = self.kernels(code)
        batch, channels = latent.shape[:2]
        pictures = wrap(latent, self.size // 2).reshape(1, batch * channels, *_grown(latent, self.size - 1))
        out = F.conv2d(pictures, kernels.flatten(0, 1), groups=batch)
        return out.view(latent.shape)


def wrap(picture: Tensor, margin: int) -> Tensor:
    """A picture [B, C, H, W] with `margin` pixels of its opposite side around it."""
    for axis in (2, 3):
        side = picture.shape[axis]
        index = torch.arange(-margin, side + margin, device=picture.device) % side
        picture = picture.index_select(axis, index)
    return picture


def _grown(picture: Tensor, pixels: int) -> tuple[int, int]:
    return picture.shape[2] + pixels, picture.shape[3] + pixels
