"""The flow's inverse for synthesis as published: affine layers with biases, folded into one map per pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.models.condition_codes import ConditionCode
from noisegen.models.nm_flowgan.cuda_layers import convolve_relu, has_fused_relu
from noisegen.models.nm_flowgan.flow import PixelFlow, fold_inverse
from noisegen.models.nm_flowgan.layers import (
    ConditionalLinear,
    IntensityCurve,
    SignalDependent,
    StructureAware,
    on_curve,
    pixel_shuffle,
    pixel_unshuffle,
    repeat,
    split_affine,
)
from noisegen.models.nm_flowgan.transform import NoiseTransform

__all__ = ["AffineFlow", "pointwise"]

CUDA_PARTS = 64

# The clean picture, dequantized, in units of 2**bit_depth, to log-scale and bias in the direction noise -> latent.
_Layer = Callable[[Tensor], tuple[Tensor, Tensor | None]]


class AffineFlow:
    """`PixelFlow.at` for the conditions of one batch, up to rounding.

    Args:
        flow: in eval mode.
        code: the conditions.
    """

    def __init__(self, flow: PixelFlow, code: ConditionCode) -> None:
        self.layers = [_layer(layer, code) for layer in flow.layers]
        gamma, toe = (None, None) if flow.tone is None else flow.tone(code)
        self.curve = gamma, toe, None if flow.tails is None else flow.tails(code)

    def at(self, clean: Tensor) -> NoiseTransform:
        """The flow's map at each pixel; fastest for clean pictures in channels-last layout."""
        log_scale, shift = fold_inverse(layer(clean) for layer in self.layers)
        return NoiseTransform(clean, log_scale, shift, *self.curve)


def _layer(layer: nn.Module, code: ConditionCode) -> _Layer:
    if isinstance(layer, ConditionalLinear):
        log_scale, bias = layer.tables(code)
        return lambda clean: (repeat(log_scale, clean), None if bias is None else repeat(bias, clean))
    if isinstance(layer, IntensityCurve):
        curve = layer.curve(code)
        return lambda clean: (on_curve(clean, curve), None)
    if isinstance(layer, SignalDependent):
        return _signal(layer, code)
    assert isinstance(layer, StructureAware)
    return _structure(layer, code)


def _signal(layer: SignalDependent, code: ConditionCode) -> _Layer:
    # The embedding is the same at every pixel: its share of the first pointwise layer is a bias.
    embedding = layer.encoder(code)
    first = layer.body[0]
    assert isinstance(first, nn.Conv2d)
    weights = first.weight[:, :, 0, 0].split(
        [embedding.shape[1], first.in_channels - embedding.shape[1]], dim=1
    )
    bias = F.linear(embedding, weights[0], first.bias)[:, None, None, :]
    weight = weights[1].contiguous()

    def run(clean: Tensor) -> tuple[Tensor, Tensor | None]:
        x = F.linear(clean.permute(0, 2, 3, 1), weight).add_(bias).permute(0, 3, 1, 2)
        return split_affine(_run(list(layer.body)[1:], x), layer.shift)

    return run


def _structure(layer: StructureAware, code: ConditionCode) -> _Layer:
    factor = layer.encoder(code)[:, :, None, None]
    dtype = layer.body.get_parameter("0.weight").dtype
    changes = [(scale.to(dtype), bias.to(dtype)) for scale, bias in layer.hidden_changes(code)]

    def run(clean: Tensor) -> tuple[Tensor, Tensor | None]:
        height, width = clean.shape[2:]
        squares = pixel_unshuffle(clean, layer.stride).to(dtype)
        out = _run(list(layer.body), squares, changes).float()
        out = pixel_shuffle(out, layer.stride)[:, :, :height, :width]
        return split_affine(out.mul_(factor), layer.shift)

    return run


def _run(layers: Sequence[nn.Module], x: Tensor, changes: Sequence[tuple[Tensor, Tensor]] = ()) -> Tensor:
    """Runs layers with activations in place, which halves their memory traffic; `changes` come before each ReLU."""
    left = iter(changes)
    fused = False
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if fused:
            fused = False
        elif isinstance(following, nn.ReLU) and not changes and has_fused_relu(layer, x):
            x, fused = convolve_relu(layer, x), True
        elif isinstance(layer, nn.ReLU):
            change = next(left, None)
            x = F.relu_(x if change is None else torch.addcmul(change[1], x, change[0]))
        elif isinstance(layer, nn.LeakyReLU):
            F.leaky_relu_(x, layer.negative_slope)
        elif isinstance(layer, nn.Tanh):
            torch.tanh_(x)
        elif isinstance(layer, nn.Conv2d) and isinstance(following, nn.InstanceNorm2d):
            x = _normalised(layer, following, x)
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            x = pointwise(layer, x)
        elif not isinstance(layer, nn.InstanceNorm2d):
            x = layer(x)
    return x


def pointwise(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution as the matrix product it is in channels-last layout."""
    return F.linear(x.permute(0, 2, 3, 1), layer.weight[:, :, 0, 0], layer.bias).permute(0, 3, 1, 2)


def _normalised(layer: nn.Conv2d, norm: nn.InstanceNorm2d, x: Tensor) -> Tensor:
    """A 1x1 convolution and the instance norm after it in one pass over the pixels; `x` is overwritten.

    The variance of the convolution's output follows from the covariance of its input, so the norm becomes part of the
    convolution's weights.
    """
    batch, _, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).view(batch, height * width, -1)
    pixels.sub_(pixels.mean(dim=1, keepdim=True))
    # On CUDA a sum over all pixels would keep one multiprocessor busy for each picture.
    parts = CUDA_PARTS if x.device.type == "cuda" and height * width % CUDA_PARTS == 0 else 1
    each = pixels.view(batch * parts, -1, pixels.shape[2])
    covariance = torch.bmm(each.mT, each).unflatten(0, (batch, parts)).sum(dim=1) / pixels.shape[1]
    weight = layer.weight[:, :, 0, 0]
    variance = ((weight @ covariance) * weight).sum(dim=2)
    scaled = weight * (norm.weight * torch.rsqrt(variance + norm.eps))[:, :, None]
    out = torch.baddbmm(norm.bias[None, None], pixels, scaled.mT)
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2)
