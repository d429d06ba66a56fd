"""Random numbers of a whole noisy picture, the same in all of its tiles: a pure function of its key."""

from __future__ import annotations

import torch
from torch import Tensor

from noisegen.models.protocol import Randomness
from noisegen.philox import philox4x32

__all__ = ["picture_normals", "picture_uniforms"]


def picture_uniforms(noise: Randomness, count: int, *, stream: int = 0) -> Tensor:
    """Uniform numbers in (0, 1), float64 [B, count], independent of `Randomness.normal` and `Randomness.uniform`.

    The counter is (n, stream, 1, 0); that of pixels has 0 for its third word.

    Args:
        noise: with keys.
        count: of numbers for each picture.
        stream: numbers of different streams are independent; 0 is for models, 1 picks references.

    Raises:
        ValueError: the randomness has no key.
    """
    if noise.key is None:
        raise ValueError("this model draws numbers for whole pictures; hand it a Randomness with keys")
    device = noise.key.device
    low, high = noise.key[:, :1], noise.key[:, 1:]
    blocks = -(-count // 4)
    zero, one, second = (
        torch.full((1, 1), value, dtype=torch.int64, device=device) for value in (0, 1, stream)
    )
    out = [torch.zeros((len(noise.key), blocks), dtype=torch.int64, device=device) for _ in range(5)]
    words = philox4x32(
        (torch.arange(blocks, device=device)[None], second, one, zero), (low, high), out[:4], out[4]
    )
    numbers = torch.stack([word & 0xFFFFFFFF for word in words], dim=2).flatten(1)[:, :count]
    return (numbers.double() + 0.5) * 2.0**-32


def picture_normals(noise: Randomness, count: int) -> Tensor:
    """As `picture_uniforms`, standard normal, float32."""
    return torch.special.ndtri(picture_uniforms(noise, count)).float()
