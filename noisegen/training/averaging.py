"""Exponential moving average of weights."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["update_average"]


def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Moves `average` towards the same weights of `model`; in the first steps faster than `decay` says."""
    decay = min(decay, (1 + step) / (10 + step))
    weights = model.state_dict()
    with torch.no_grad():
        for name, mean in average.state_dict().items():
            value = weights[name]
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)
