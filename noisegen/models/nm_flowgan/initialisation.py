"""Data-dependent initialisation of the flow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from noisegen.models.condition_codes import ConditionCode, ConditionTable
from noisegen.models.learning import Batch
from noisegen.models.nm_flowgan.curve_support import ENOUGH, nearest_supported, sums_near_knots
from noisegen.models.nm_flowgan.layers import (
    NEAR,
    ConditionalLinear,
    IntensityCurve,
    SignalDependent,
    StructureAware,
)
from noisegen.models.nm_flowgan.model import NMFlowGAN

__all__ = ["initialise_flow"]


def initialise_flow(model: NMFlowGAN, draws: Iterable[Batch], *, by_condition: bool = True) -> None:
    """Starts the flow with latents of zero mean and unit variance per condition.

    The signal- and structure-aware layers start near the identity; the last conditional linear layer's table takes
    the mean and deviation of what reaches it. A structure-aware layer whose condition codes are a table starts the same
    for all conditions, so that what one of them teaches serves the others.

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
            if isinstance(layer, SignalDependent | StructureAware):
                factor = 0.01
                if isinstance(layer, StructureAware) and isinstance(layer.encoder, ConditionTable):
                    layer.encoder.table.fill_(2.0)
                    factor = 0.2
                out = layer.body[-2]
                assert isinstance(out, nn.Conv2d) and out.bias is not None
                out.weight.mul_(factor)
                out.bias.zero_()
        kept = list(draws)
        for layer in model.flow.layers:
            if isinstance(layer, IntensityCurve):
                _initialise_curve(model, layer, kept)
        table = last.log_scale
        period = table.shape[2] if table.dim() == 4 else 1
        sums = torch.zeros(3, len(table), table.shape[1], period, period, device=table.device)
        for drawn in kept:
            code = model.encode(drawn.conditions)
            latent = _latent(model, drawn, code)
            squares = latent.unflatten(3, (-1, period)).unflatten(2, (-1, period))
            moments = torch.stack([torch.ones_like(squares), squares, squares.square()]).mean(dim=(3, 5))
            sums.index_add_(1, code.row, moments)
        sums = sums.view(3, *table.shape)
        if not by_condition:
            sums[1] = 0
            sums = sums.flatten(1).sum(dim=1)[:, None].expand(3, table.numel()).view(sums.shape)
        seen = sums[0] > 0
        mean = sums[1] / sums[0].clamp(min=1)
        deviation = (sums[2] / sums[0].clamp(min=1) - mean.square()).clamp(min=1e-12).sqrt()
        last.log_scale.copy_(torch.where(seen, -deviation.log(), last.log_scale))
        if last.bias is not None:
            last.bias.copy_(torch.where(seen, -mean / deviation, last.bias))


def _initialise_curve(model: NMFlowGAN, layer: IntensityCurve, draws: Sequence[Batch]) -> None:
    """The relative deviation of latents near each knot's clean value; where pixels are few, that of the next knot."""
    rows, knots = layer.knots.shape
    channels = model.channels
    sums = torch.zeros(2, rows, channels, knots, device=layer.knots.device)
    for drawn in draws:
        code = model.encode(drawn.conditions)
        squares = _latent(model, drawn, code).square()
        clean = drawn.clean / (model.sizes.levels - 1)
        for total, values in zip(sums, (torch.ones_like(squares), squares), strict=True):
            total.index_add_(0, code.row, sums_near_knots(values, clean, knots))
    counts, squares = sums
    levels = squares.sum(dim=2, keepdim=True) / counts.sum(dim=2, keepdim=True).clamp(min=1)
    pixels = counts.sum(dim=1)
    relative = (squares / levels.clamp(min=1e-12)).sum(dim=1) / pixels.clamp(min=1)
    nearest = relative.gather(1, nearest_supported(pixels))
    seen = (pixels >= ENOUGH).any(dim=1, keepdim=True)
    layer.knots.copy_(torch.where(seen, -0.5 * nearest.clamp(min=1e-4).log() / NEAR, layer.knots))


def _latent(model: NMFlowGAN, drawn: Batch, code: ConditionCode) -> Tensor:
    return model.likelihood(drawn.noisy, drawn.clean, code, drawn.uniform(), drawn.uniform()).latent
