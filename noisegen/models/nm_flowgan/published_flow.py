"""The published model's pixel-wise noise on the compiled kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from noisegen.models.condition_codes import ConditionCode
from noisegen.models.nm_flowgan.flow import PixelFlow
from noisegen.models.nm_flowgan.layers import ConditionalLinear, SignalDependent, StructureAware
from noisegen.models.nm_flowgan.sizes import NMFlowGANSizes
from noisegen.native.convolution import Convolution, Network
from noisegen.native.published import AffineLayer, Norm, Signal, pixel_noise, structure

__all__ = ["PublishedFlow"]

# clean and uniform [C, H, W] to a layer of the flow
_Layer = Callable[[Tensor, Tensor], AffineLayer]


class PublishedFlow:
    """What `NMFlowGAN.pixel_steps` computes for one picture and condition, up to rounding.

    Args:
        kernels: the library.
        flow: of a configuration that `fits`; in float64 its constants come out the same on every processor.
        sizes: of the model.
        code: the condition of one picture.
        unit: pixel values that make 1 for the generator.
    """

    def __init__(
        self, kernels: ctypes.CDLL, flow: PixelFlow, sizes: NMFlowGANSizes, code: ConditionCode, unit: float
    ) -> None:
        self.kernels = kernels
        self.levels, self.unit = sizes.levels, unit
        self.layers = [self._layer(layer, code) for layer in flow.layers]

    @staticmethod
    def fits(sizes: NMFlowGANSizes) -> bool:
        """Whether the kernels can run the flow of such a model."""
        plain = sizes.shift and not (sizes.latent or sizes.intensity_knots or sizes.tone or sizes.tails)
        return plain and sizes.period == 1

    def __call__(self, clean: Tensor, uniform: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
        """What the generator gets and the clean picture in whole levels, from three float32 [C, H, W]."""
        clean, uniform, normal = (values.contiguous() for values in (clean, uniform, normal))
        layers = [layer(clean, uniform) for layer in self.layers]
        return pixel_noise(self.kernels, layers, clean, uniform, normal, levels=self.levels, unit=self.unit)

    def _layer(self, layer: nn.Module, code: ConditionCode) -> _Layer:
        if isinstance(layer, ConditionalLinear):
            log_scale, bias = (values.flatten() for values in layer.tables(code) if values is not None)
            affine = AffineLayer(table=torch.cat([torch.exp(-log_scale), bias]).float())
            return lambda clean, uniform: affine
        if isinstance(layer, SignalDependent):
            return partial(self._signal, _signal(layer, self.levels, code))
        assert isinstance(layer, StructureAware)
        return partial(self._structure, _structure(layer, self.levels, code))

    def _signal(self, signal: Signal, clean: Tensor, uniform: Tensor) -> AffineLayer:
        return AffineLayer(planes=signal(self.kernels, clean, uniform))

    def _structure(self, network: Network, clean: Tensor, uniform: Tensor) -> AffineLayer:
        return AffineLayer(planes=structure(self.kernels, network, clean, uniform))


def _signal(layer: SignalDependent, levels: float, code: ConditionCode) -> Signal:
    embedding = layer.encoder(code)[0]
    channels = len(embedding)
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    norms: list[Norm | None] = []
    slope, epsilon = 1.0, 0.0
    active = True
    for part in layer.body:
        if isinstance(part, nn.Conv2d):
            weight, bias = _parameters(part)
            if active:
                weights.append(weight)
                biases.append(bias)
                norms.append(None)
            else:  # nothing lies between this convolution and the last one: they are one
                biases[-1] = bias + weight @ biases[-1]
                weights[-1] = weight @ weights[-1]
            active = False
        elif isinstance(part, nn.InstanceNorm2d):
            norms[-1] = Norm(part.weight, part.bias)
            epsilon = part.eps
        else:
            active = True
            slope = part.negative_slope if isinstance(part, nn.LeakyReLU) else slope
    # The embedding is the same at every pixel: its share of the first layer is a bias.
    biases[0] = biases[0] + weights[0][:, :channels] @ embedding
    weights[0] = weights[0][:, channels:] / levels
    layers = [
        Convolution(weight[:, :, None, None], bias) for weight, bias in zip(weights, biases, strict=True)
    ]
    return Signal(layers, norms, slope=slope, epsilon=epsilon)


def _structure(layer: StructureAware, levels: float, code: ConditionCode) -> Network:
    convolutions = [part for part in layer.body if isinstance(part, nn.Conv2d)]
    changes = layer.hidden_changes(code)
    layers = []
    for index, part in enumerate(convolutions):
        weight, bias = part.weight, part.bias
        assert bias is not None
        if index == 0:
            weight = weight / levels
        if index < len(changes):
            scale, shift = (values[0] for values in changes[index])
            weight, bias = weight * scale[:, None], bias * scale.flatten() + shift.flatten()
        layers.append(Convolution(weight, bias, slope=1.0 if part is convolutions[-1] else 0.0))
    factor = layer.encoder(code)[0].repeat_interleave(layer.stride**2)
    return Network(layers, factor, layer.stride)


def _parameters(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    assert layer.bias is not None
    return layer.weight[:, :, 0, 0], layer.bias
