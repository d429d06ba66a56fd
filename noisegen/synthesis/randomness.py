"""Random numbers as a pure function of (seed, image id, variant, pixel): one Philox4x32-10 block a pixel."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch

from noisegen import native
from noisegen.models.protocol import Randomness
from noisegen.native.random import fill_randomness
from noisegen.philox import MASK, philox4x32

__all__ = ["batch_randomness", "device_randomness", "randomness", "tile_key", "tile_places"]

# The working set of a chunk (five int64 arrays and a few float32) must stay inside a core's L2 cache.
CHUNK_PIXELS = 16384
# Vectorised log, sin and cos may end an array with a scalar routine that rounds differently. Here they
# only see whole multiples of this many elements, so that a pixel's value cannot depend on its place.
VECTOR_MULTIPLE = 64


def tile_key(seed: int, image_id: str, variant: int) -> int:
    """The 64-bit Philox key shared by all pixels of one variant of a photograph.

    Args:
        seed: the run's seed.
        image_id: the photograph's id in the manifest.
        variant: number of the noisy version of this photograph, from 0.
    """
    message = f"noise\0{seed}\0{variant}\0{image_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little")


def randomness(
    key: int, y: int, x: int, height: int, width: int, channels: int, *, device: torch.device | str = "cpu"
) -> Randomness:
    """The random numbers of a rectangle of a photograph.

    A pixel's numbers depend on the key and its coordinates in the photograph alone, never on the rectangle.
    The counter is (x, y, 0, 0); the upper 24 bits of the four words make two Box-Muller pairs, the lower 8
    bits one uniform each.

    Args:
        key: 64-bit key, see `tile_key`.
        y, x: the rectangle's first row and column in the photograph; negative beyond its border.
        height, width: its size in pixels.
        channels: 1 or 3.
        device: where to make the numbers.

    Returns:
        ``normal`` and ``uniform``, float32 [channels, height, width] without a batch dimension; ``uniform``
        takes the values 0/256 ... 255/256; ``key`` int64 [1, 2].
    """
    batch = batch_randomness([key], [y], [x], height, width, channels, device=device)
    return Randomness(batch.normal[0], batch.uniform[0], batch.key)


def batch_randomness(
    keys: Sequence[int],
    ys: Sequence[int],
    xs: Sequence[int],
    height: int,
    width: int,
    channels: int,
    *,
    device: torch.device | str = "cpu",
) -> Randomness:
    """`randomness` for several rectangles of one size: tensors are float32 [B, channels, height, width]."""
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels}")
    device = torch.device(device)
    if device.type != "cpu":
        return device_randomness(tile_places(keys, ys, xs).to(device), height, width, channels)
    shape = (len(keys), channels, height, width)
    normal = torch.empty(shape, dtype=torch.float32)
    uniform = torch.empty(shape, dtype=torch.float32)
    kernels = native.library()
    if kernels is not None:
        for i, (key, y, x) in enumerate(zip(keys, ys, xs, strict=True)):
            fill_randomness(kernels, key, y, x, normal[i], uniform[i])
    else:
        rows = max(1, min(height, CHUNK_PIXELS // width))
        scratch = _Scratch(1, rows, width, device)
        for i, (key, y, x) in enumerate(zip(keys, ys, xs, strict=True)):
            columns = torch.arange(x, x + width).view(1, 1, width)
            for top in range(0, height, rows):
                bottom = min(top + rows, height)
                lines = torch.arange(y + top, y + bottom).view(1, -1, 1)
                out = normal[i : i + 1, :, top:bottom], uniform[i : i + 1, :, top:bottom]
                _fill(key & MASK, key >> 32, lines, columns, *out, scratch)
    return Randomness(normal, uniform, tile_places(keys, ys, xs)[:, :2])


def tile_places(keys: Sequence[int], ys: Sequence[int], xs: Sequence[int]) -> torch.Tensor:
    """What the random numbers of rectangles are functions of: int64 [B, 4], the key's low and high word, y and x."""
    rows = [(key & MASK, key >> 32, y, x) for key, y, x in zip(keys, ys, xs, strict=True)]
    return torch.tensor(rows, dtype=torch.int64)


def device_randomness(places: torch.Tensor, height: int, width: int, channels: int) -> Randomness:
    """`batch_randomness` for `tile_places` that are on the device, without a word between it and the host.

    All rectangles together: on a GPU the number of kernels counts, not their size.
    """
    device, batch = places.device, len(places)
    low, high, ys, xs = (column.view(-1, 1, 1) for column in places.unbind(dim=1))
    lines = ys + torch.arange(height, device=device).view(-1, 1)
    columns = xs + torch.arange(width, device=device)
    normal = torch.empty((batch, channels, height, width), dtype=torch.float32, device=device)
    uniform = torch.empty_like(normal)
    _fill(low, high, lines, columns, normal, uniform, _Scratch(batch, height, width, device))
    return Randomness(normal, uniform, places[:, :2])


class _Scratch:
    """Flat working memory for rectangles of up to `batch` x `height` x `width` pixels."""

    def __init__(self, batch: int, height: int, width: int, device: torch.device) -> None:
        size = -(-batch * height * width // VECTOR_MULTIPLE) * VECTOR_MULTIPLE
        self.words = torch.zeros((5, size), dtype=torch.int64, device=device)
        self.reals = torch.zeros((3, size), dtype=torch.float32, device=device)


def _fill(
    k0: int | torch.Tensor,
    k1: int | torch.Tensor,
    lines: torch.Tensor,
    columns: torch.Tensor,
    normal: torch.Tensor,
    uniform: torch.Tensor,
    scratch: _Scratch,
) -> None:
    """Fills ``normal`` and ``uniform`` [B, C, h, w]; ``lines`` is [B, h, 1], ``columns`` [B, 1, w]."""
    batch, channels, height, width = normal.shape
    pixels = batch * height * width
    shape = (batch, height, width)
    buffers = [words[:pixels].view(shape) for words in scratch.words]
    zero = torch.zeros((1, 1, 1), dtype=torch.int64, device=normal.device)
    words = philox4x32((columns, lines, zero, zero), (k0, k1), buffers[:4], buffers[4])

    spare = buffers[4]
    for channel in range(channels):
        uniform[:, channel].copy_(torch.bitwise_and(words[channel], 0xFF, out=spare))
    uniform.mul_(2.0**-8)

    padded = -(-pixels // VECTOR_MULTIPLE) * VECTOR_MULTIPLE
    radius, angle, wave = (reals[:padded] for reals in scratch.reals)
    for first in range(0, channels, 2):
        for real, word in ((radius, words[first]), (angle, words[first + 1])):
            torch.bitwise_right_shift(word, 8, out=spare).bitwise_and_(0xFFFFFF)
            real[:pixels].view(shape).copy_(spare)
        # (n + 1) / 2**24 lies in (0, 1], so the logarithm is finite
        radius.add_(1.0).mul_(2.0**-24).log_().mul_(-2.0).sqrt_()
        angle.mul_(math.tau * 2.0**-24)
        for channel, function in zip(
            range(first, min(first + 2, channels)), (torch.cos, torch.sin), strict=False
        ):
            function(angle, out=wave).mul_(radius)
            normal[:, channel].copy_(wave[:pixels].view(shape))
