"""The flow's inverse for synthesis where its layers have no biases: few passes over the pixels, all of them vectorised.

Without biases the order of the layers does not matter. Their log-scales are summed, and what does not depend on the
pixel is computed once for each batch of conditions and folded into weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.models.condition_codes import ConditionCode
from noisegen.models.nm_flowgan.flow import PixelFlow
from noisegen.models.nm_flowgan.layers import (
    ConditionalLinear,
    IntensityCurve,
    SignalDependent,
    StructureAware,
    pixel_shuffle,
    repeat,
)
from noisegen.models.nm_flowgan.sizes import NMFlowGANSizes
from noisegen.models.nm_flowgan.transform import SMALLEST

__all__ = ["Curve", "FusedFlow", "Signal", "Structure", "can_fuse"]

# Pixels of which a CPU's cache holds all hidden channels of the signal-dependent layer
CHUNK = 8192


def can_fuse(sizes: NMFlowGANSizes) -> bool:
    """Whether `FusedFlow` can stand for the flow of such a model."""
    return sizes.latent and not sizes.shift and not sizes.signal_norm


class FusedFlow:
    """The flow's inverse for the conditions of one batch, in pixel values.

    Args:
        flow: of a model that `can_fuse`, in eval mode.
        levels: number of grey levels.
        code: the conditions.
        strength: see `NoiseModel.sample`.
    """

    def __init__(self, flow: PixelFlow, levels: float, code: ConditionCode, strength: float) -> None:
        self.tail_inverse = self.gamma_inverse = self.toe = None
        # What all pixels' log-scales have in common: of the unit, and of the halves and powers in `render`.
        common = code.onehot.new_full((1, 1, 1, 1), math.log(levels) + math.log(strength))
        if flow.tails is not None:
            self.tail_inverse = 1 / flow.tails(code)
            common = common - math.log(2)
        if flow.tone is not None:
            gamma, toe = flow.tone(code)
            self.gamma_inverse, self.toe = 1 / gamma, toe * levels
            common = common + torch.log(gamma)
        period = 1
        self.curves: list[Curve] = []
        self.signals: list[Signal] = []
        structures = []
        for layer in flow.layers:
            if isinstance(layer, ConditionalLinear):
                common = common - layer.tables(code)[0]
                period = common.shape[-1]
            elif isinstance(layer, IntensityCurve):
                self.curves.append(Curve.of(layer, levels, code))
            elif isinstance(layer, SignalDependent):
                self.signals.append(Signal.of(layer, levels, code))
            else:
                assert isinstance(layer, StructureAware)
                structures.append(layer)
        # Of each channel and place in the square, [B or 1, C or 1, period, period].
        self.common = common
        self.structures: list[Structure] = []
        taken = bool(structures) and structures[0].stride == period
        for index, layer in enumerate(structures):
            table = common if taken and index == 0 else None
            self.structures.append(Structure.of(layer, levels, code, table))
        self.table: Tensor | None = None if taken else common

    def render(self, latent: Tensor, clean: Tensor, uniform: Tensor) -> Tensor:
        """latent -> noisy pixel values, neither rounded nor clipped; those of whole level k lie in [k, k + 1).

        All are [B, C, H, W], the pictures in pixel values.
        """
        values = clean + uniform
        if self.tail_inverse is None:
            noise = torch.exp(self.log_scale(values)).mul_(latent)
        else:
            # sinh(a * asinh(x)) by e^asinh(x) = x + sqrt(1 + x^2)
            power = torch.square(latent).add_(1).sqrt_().add_(latent)
            power.log_().mul_(self.tail_inverse).exp_()
            noise = power.sub_(torch.reciprocal(power)).mul_(torch.exp(self.log_scale(values)))
        if self.gamma_inverse is None or self.toe is None:
            return noise.add_(values)
        base = values.add_(self.toe)
        noise.div_(base).add_(1).clamp_(min=SMALLEST)
        return noise.log_().mul_(self.gamma_inverse).exp_().mul_(base).sub_(self.toe)

    def log_scale(self, values: Tensor) -> Tensor:
        """Log-scale of the noise before the tone curve, up to the factors that `render` leaves out."""
        total: Tensor | None = None
        terms: list[Signal | Curve | Structure] = [*self.signals, *self.curves, *self.structures]
        for term in terms:
            total = term(values) if total is None else total.add_(term(values))
        if self.table is None:
            assert total is not None
            return total
        table = repeat(self.table, values)
        return table.expand_as(values) if total is None else total.add_(table)


@dataclass(frozen=True)
class Curve:
    """Lines between the knots of the intensity curves: start + slope * position, position = value * `per_value`.

    Attributes:
        starts, slopes: [B * knots], each picture's last line once more for values at the very end.
        row: int32 [B, 1, 1, 1], where each picture's begin.
        per_value: knots for each pixel value.
    """

    starts: Tensor
    slopes: Tensor
    row: Tensor
    per_value: float

    @staticmethod
    def of(layer: IntensityCurve, levels: float, code: ConditionCode) -> Curve:
        curve = -layer.curve(code)
        batch, knots = curve.shape
        slopes = curve.diff(dim=1)
        starts = curve[:, :-1] - torch.arange(knots - 1, device=curve.device) * slopes
        starts, slopes = (F.pad(values, (0, 1), mode="replicate").flatten() for values in (starts, slopes))
        row = torch.arange(0, batch * knots, knots, dtype=torch.int32, device=curve.device)
        return Curve(starts, slopes, row[:, None, None, None], (knots - 1) / levels)

    def __call__(self, values: Tensor) -> Tensor:
        """[B, C, H, W] pixel values to their share of the log-scale."""
        position = values * self.per_value
        index = position.int().add_(self.row).flatten()
        start, slope = (
            table.index_select(0, index).view(values.shape) for table in (self.starts, self.slopes)
        )
        return start.addcmul_(slope, position)


@dataclass(frozen=True)
class Signal:
    """The signal-dependent network on pixel values.

    Attributes:
        weights: [B, out, in] of each layer.
        biases: [B, out, 1] of each layer, the condition's share in the first.
        slope: of the leaky ReLU between them; tanh is behind the last.
    """

    weights: list[Tensor]
    biases: list[Tensor]
    slope: float

    @staticmethod
    def of(layer: SignalDependent, levels: float, code: ConditionCode) -> Signal:
        embedding = layer.encoder(code)
        batch, channels = embedding.shape
        weights, biases = [], []
        for part in layer.body:
            if isinstance(part, nn.Conv2d):
                weights.append(part.weight[:, :, 0, 0])
                biases.append(_bias(part).expand(batch, -1))
        # The embedding is the same at every pixel: its share of the first layer is a bias.
        biases[0] = F.linear(embedding, weights[0][:, :channels]) + biases[0]
        weights[0] = weights[0][:, channels:] / levels
        weights[-1], biases[-1] = -weights[-1], -biases[-1]
        slope = next(part.negative_slope for part in layer.body if isinstance(part, nn.LeakyReLU))
        return Signal(
            [weight.expand(batch, *weight.shape) for weight in weights],
            [bias[:, :, None] for bias in biases],
            slope,
        )

    def __call__(self, values: Tensor) -> Tensor:
        """[B, C, H, W] pixel values to their share of the log-scale."""
        pixels = values.flatten(2)
        out = torch.empty_like(pixels)
        chunk = CHUNK if values.device.type == "cpu" else pixels.shape[2]
        for start in range(0, pixels.shape[2], chunk):
            x = pixels[:, :, start : start + chunk]
            for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
                x = F.leaky_relu_(torch.baddbmm(bias, weight, x), self.slope)
            out[:, :, start : start + chunk] = torch.baddbmm(self.biases[-1], self.weights[-1], x)
        return out.tanh_().view(values.shape)


@dataclass(frozen=True)
class Structure:
    """The structure-aware network on pixel values.

    Attributes:
        hidden: weight and bias of each layer but the last; the first one's kernel is a square of pixels.
        changes: scale and bias [B, out, 1, 1] of each hidden layer's output, in batches of conditions; otherwise they
            are folded into the layers.
        last, last_bias: [B, squares, in] and [squares].
        factor: [B, squares, 1], of each output behind tanh.
        offset: [B or 1, squares, 1], added to it.
        stride: side of the squares in pixels.
    """

    hidden: list[tuple[Tensor, Tensor]]
    changes: list[tuple[Tensor, Tensor]]
    last: Tensor
    last_bias: Tensor
    factor: Tensor
    offset: Tensor
    stride: int

    @staticmethod
    def of(layer: StructureAware, levels: float, code: ConditionCode, table: Tensor | None) -> Structure:
        """`table` [B, C, stride, stride] is added."""
        stride = layer.stride
        convolutions = [part for part in layer.body if isinstance(part, nn.Conv2d)]
        parts = [(part.weight, _bias(part)) for part in convolutions]
        changes = layer.hidden_changes(code)
        factor = -layer.encoder(code)
        batch, channels = factor.shape
        # A square's pixels are the last axes of its channels, so a convolution with stride sees them in order.
        first = parts[0][0].view(-1, channels, stride, stride) / levels
        parts[0] = first, parts[0][1]
        if batch == 1 and changes:
            parts = [
                (weight * scale.view(-1, 1, 1, 1), torch.addcmul(shift.flatten(), bias, scale.flatten()))
                for (weight, bias), (scale, shift) in zip(parts, changes, strict=False)
            ] + parts[-1:]
            changes = []
        parts = [(weight.contiguous(memory_format=torch.channels_last), bias) for weight, bias in parts]
        last, last_bias = parts[-1]
        factor = factor.repeat_interleave(stride**2, dim=1)[:, :, None]
        offset = (
            torch.zeros_like(factor)
            if table is None
            else table.expand(batch, channels, stride, stride).reshape(batch, -1, 1)
        )
        last = last[:, :, 0, 0].expand(batch, -1, -1)
        return Structure(parts[:-1], changes, last, last_bias, factor, offset, stride)

    def __call__(self, values: Tensor) -> Tensor:
        """[B, C, H, W] pixel values to their share of the log-scale."""
        height, width = values.shape[2:]
        bottom, right = -height % self.stride, -width % self.stride
        x = F.pad(values, (0, right, 0, bottom), mode="replicate") if bottom or right else values
        x = x.contiguous(memory_format=torch.channels_last)
        for index, (weight, bias) in enumerate(self.hidden):
            if index == 0:
                x = F.conv2d(x, weight, bias, stride=self.stride)
            else:
                x = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
            if self.changes:
                x = torch.addcmul(self.changes[index][1], x, self.changes[index][0])
            F.relu_(x)
        rows, columns = x.shape[2:]
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2).mT
        out = torch.baddbmm(self.last_bias[:, None], self.last, pixels).tanh_()
        out = torch.addcmul(self.offset, out, self.factor).unflatten(2, (rows, columns))
        return pixel_shuffle(out, self.stride)[:, :, :height, :width]


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias
