"""Where the training pairs say something about the level of noise over the clean value, and what holds elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from noisegen.models.learning import Patches
from noisegen.models.nm_flowgan.layers import IntensityCurve
from noisegen.models.nm_flowgan.model import NMFlowGAN

__all__ = ["ENOUGH", "carry_on_curves", "nearest_supported", "sums_near_knots"]

# Values near a knot that are enough to know the level there
ENOUGH = 500
# Patches that are looked at, in so many draws
PATCHES, DRAWS = 64, 4


@torch.no_grad()
def carry_on_curves(model: NMFlowGAN, patches: Patches) -> None:
    """Gives knots without training pixels the value of the next knot that has enough.

    A few pixels at a tone that is otherwise missing move a knot as fast as millions do, because Adam scales its steps:
    two of them have set the noise at that tone to nearly nothing.

    Args:
        model: whose curves over the clean value, where it has such, are changed in place.
        patches: of the training pairs.
    """
    for layer in model.flow.layers:
        if not isinstance(layer, IntensityCurve):
            continue
        knots = layer.knots.shape[1]
        for condition in model.vocabulary.known:
            pixels = torch.zeros(knots, device=layer.knots.device)
            for draw in range(1, DRAWS + 1):
                clean = patches.of_condition(condition, PATCHES, draw=draw).clean / (model.sizes.levels - 1)
                pixels += sums_near_knots(torch.ones_like(clean), clean, knots).sum(dim=(0, 1))
            if (pixels >= ENOUGH).any():
                row = model.encode([condition]).row[0]
                layer.knots[row] = layer.knots[row][nearest_supported(pixels)]


def sums_near_knots(values: Tensor, clean: Tensor, knots: int) -> Tensor:
    """Sums of values [B, C, H, W] near each knot, [B, C, knots], by the clean value of their pixel, in 0 to 1."""
    position = (clean * (knots - 1)).round().long().flatten(2)
    zeros = torch.zeros(*position.shape[:2], knots, device=values.device)
    return zeros.scatter_add_(2, position, values.flatten(2))


def nearest_supported(pixels: Tensor) -> Tensor:
    """For each knot [..., knots] the nearest one with `ENOUGH` pixels, of two equally near the darker."""
    knots = pixels.shape[-1]
    places = torch.arange(knots, device=pixels.device)
    distance = (places[:, None] - places).abs() + knots * (pixels < ENOUGH)[..., None, :]
    return distance.argmin(dim=-1)
