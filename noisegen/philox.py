"""Philox4x32-10, the counter-based random numbers behind all synthetic noise (Salmon et al. 2011)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["MASK", "philox4x32"]

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


def philox4x32(
    counter: Sequence[torch.Tensor],
    key: tuple[int | torch.Tensor, int | torch.Tensor],
    out: Sequence[torch.Tensor],
    spare: torch.Tensor,
) -> list[torch.Tensor]:
    """Philox4x32-10 (Salmon et al. 2011), the same integers on every device.

    Args:
        counter: four int64 tensors with values below 2**32 that broadcast to the shape of ``out``.
        key: two words below 2**32, numbers or int64 tensors that broadcast likewise.
        out: four int64 tensors to compute in; they hold the words afterwards, in another order.
        spare: int64 tensor of the same shape, overwritten.

    Returns:
        The four words in order; only the lower 32 bits of each element are meant.
    """
    k0, k1 = key
    c0, c1, c2, c3 = counter
    # Two rounds while the counter's words are still rows and columns cost next to nothing.
    for _ in range(2):
        p0 = (c0 & MASK) * MULTIPLIERS[0]
        p1 = (c2 & MASK) * MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1, (p0 >> 32) ^ c3 ^ k1, p0
        k0, k1 = (k0 + KEY_STEPS[0]) & MASK, (k1 + KEY_STEPS[1]) & MASK
    for buffer, value in zip(out, (c0, c1, c2, c3), strict=True):
        buffer.copy_(value.expand_as(buffer))
    c0, c1, c2, c3 = out
    for _ in range(ROUNDS - 2):
        # int64 products wrap around and keep all 64 bits; the shift's sign bits are masked in the next round
        c0.bitwise_and_(MASK).mul_(MULTIPLIERS[0])
        c2.bitwise_and_(MASK).mul_(MULTIPLIERS[1])
        c1.bitwise_xor_(torch.bitwise_right_shift(c2, 32, out=spare)).bitwise_xor_(k0)
        c3.bitwise_xor_(torch.bitwise_right_shift(c0, 32, out=spare)).bitwise_xor_(k1)
        c0, c1, c2, c3 = c1, c2, c3, c0
        k0, k1 = (k0 + KEY_STEPS[0]) & MASK, (k1 + KEY_STEPS[1]) & MASK
    return [c0, c1, c2, c3]
