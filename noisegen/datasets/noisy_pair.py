"""A noisy/clean pair as training loops take it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["NoisyPair", "in_unit", "pixel_tensor"]


class NoisyPair(NamedTuple):
    """A noisy picture and its clean one; a named tuple, so that PyTorch's DataLoader makes batches of it.

    >>> import torch
    >>> from torch.utils.data import default_collate
    >>> import noisegen
    >>> picture = torch.rand(3, 8, 8)
    >>> pair = noisegen.NoisyPair(picture, picture, "S6", 800, "a tile")
    >>> batch = default_collate([pair, pair])
    >>> noisy, clean, *_ = batch
    >>> noisy.shape, batch.iso
    (torch.Size([2, 3, 8, 8]), tensor([800, 800]))

    Attributes:
        noisy: float32 [C, H, W] from 0 (black) to 1 (white), RGB or grey; or uint8 or uint16 where raw pixel values
            were asked for.
        clean: likewise.
        camera: whose noise it is.
        iso: at which setting.
        key: names the pair: the tile in its dataset's index, the pair in its table, or the photograph.
    """

    noisy: Tensor
    clean: Tensor
    camera: str
    iso: int
    key: str


def pixel_tensor(picture: np.ndarray) -> Tensor:
    """A picture [H, W, C] as [C, H, W] of the same type, contiguous and of its own memory."""
    return torch.from_numpy(np.array(picture.transpose(2, 0, 1), order="C"))


def in_unit(pixels: Tensor, bit_depth: int) -> Tensor:
    """Whole pixel values as float32 from 0 to 1, the largest that these bits hold; overwrites float32."""
    return pixels.float().div_((1 << bit_depth) - 1)
