"""Tones that the training pairs lack get the noise level of the nearest tone that they have."""

from __future__ import annotations

import numpy as np
import torch
from nm_flowgan_fixtures import tiny_model

from noisegen.conditions import Condition
from noisegen.fitting.draws import Draw
from noisegen.models.nm_flowgan.curve_support import carry_on_curves
from noisegen.models.nm_flowgan.layers import IntensityCurve


class NarrowPatches:
    """Clean values from 96 to 160, and in each draw a single stray one at 240."""

    def of_condition(self, condition: Condition, count: int, *, draw: int = 0) -> Draw:
        clean = torch.randint(
            96, 161, (count, 3, 32, 32), generator=torch.Generator().manual_seed(draw)
        ).float()
        clean[0, 0, 0, 0] = 240
        return Draw(clean, clean, [condition] * count, torch.Generator(), slice(None), "cpu")


def test_knots_without_pixels_take_the_value_of_the_next_that_has_some() -> None:
    model = tiny_model("compact")
    (layer,) = (layer for layer in model.flow.layers if isinstance(layer, IntensityCurve))
    with torch.no_grad():
        layer.knots.copy_(torch.arange(layer.knots.numel()).view_as(layer.knots) / 100)
    before = layer.knots.detach().clone()
    carry_on_curves(model, NarrowPatches())
    for condition in model.vocabulary.known:
        row = int(model.encode([condition]).row[0])
        first, last = (round(value / 255 * 16) for value in (96, 160))
        expected = before[row][np.clip(np.arange(17), first, last)]
        assert torch.equal(layer.knots[row], expected)
    untouched = set(range(len(before))) - {
        int(model.encode([condition]).row[0]) for condition in model.vocabulary.known
    }
    assert all(torch.equal(layer.knots[row], before[row]) for row in untouched)
