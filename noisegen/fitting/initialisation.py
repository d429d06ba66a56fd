"""Data-dependent initialisation of the flow."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from noisegen.fitting.draws import Draw
from noisegen.models.nm_flowgan.layers import ConditionalLinear
from noisegen.models.nm_flowgan.model import NMFlowGAN

__all__ = ["initialise_flow"]


def initialise_flow(model: NMFlowGAN, draws: Iterable[Draw], *, by_condition: bool = True) -> None:
    """Starts the flow with latents of zero mean and unit variance per condition.

    The signal- and structure-aware layers start near the identity; the last conditional linear layer's table takes
    the mean and deviation of what reaches it.

    Args:
        model: in which the flow is changed in place.
        draws: batches of real patches.
        by_condition: otherwise every condition gets the same level, and mean 0: a generator without a flow is given
            noise that knows nothing of the camera.
    """
    last = model.flow.layers[-1]
    assert isinstance(last, ConditionalLinear)
    model.flow.train()
    with torch.no_grad():
        for layer in model.flow.layers:
            body = getattr(layer, "body", None)
            if body is not None:
                body[-2].weight.mul_(0.01)
                body[-2].bias.zero_()
        sums = torch.zeros(3, *last.log_scale.shape, device=last.log_scale.device)
        for drawn in draws:
            code = model.encode(drawn.conditions)
            uniform_noisy, uniform_clean = drawn.uniform(), drawn.uniform()
            latent = model.likelihood(drawn.noisy, drawn.clean, code, uniform_noisy, uniform_clean).latent
            moments = torch.stack([torch.ones_like(latent), latent, latent.square()]).mean(dim=(3, 4))
            sums.index_add_(1, code.row, moments)
        if not by_condition:
            sums[1] = 0
            sums = sums.sum(dim=(1, 2), keepdim=True).expand_as(sums)
        seen = sums[0] > 0
        mean = sums[1] / sums[0].clamp(min=1)
        deviation = (sums[2] / sums[0].clamp(min=1) - mean.square()).clamp(min=1e-12).sqrt()
        last.log_scale.copy_(torch.where(seen, -deviation.log(), last.log_scale))
        last.bias.copy_(torch.where(seen, -mean / deviation, last.bias))
