"""Adversarial losses of generators (WGAN-GP; Gulrajani et al. 2017; NM-FlowGAN, equations 15 and 16)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Score", "critic_loss", "generator_loss", "gradient_penalty"]

Score = Callable[[Tensor], Tensor]


def generator_loss(score: Score, fake: Tensor) -> Tensor:
    """-E[D(fake)]; `score` maps concat(noise, clean) [B, 2C, H, W] to [B, 1]."""
    return -score(fake).mean()


def gradient_penalty(score: Score, real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """E[(|grad D(alpha * real + (1 - alpha) * fake)| - 1)^2] (Gulrajani et al. 2017).

    Args:
        score: the critic.
        real, fake: concat(noise, clean) [B, 2C, H, W] in the critic's units; the gradient is taken in both parts, as
            the published code does.
        alpha: [B, 1, 1, 1], drawn from U(0, 1) in training.
    """
    mixed = (alpha * real + (1 - alpha) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(score(mixed).sum(), mixed, create_graph=True)
    return ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()


def critic_loss(score: Score, real: Tensor, fake: Tensor, alpha: Tensor, penalty: float = 10.0) -> Tensor:
    """E[D(fake)] - E[D(real)] + penalty * gradient penalty; `fake` is detached."""
    fake = fake.detach()
    difference = score(fake).mean() - score(real).mean()
    return difference + penalty * gradient_penalty(score, real, fake, alpha)
