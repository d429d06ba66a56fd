"""The fused flow and the latents' filter on the kernels of `noisegen.native`: one picture at a time, on a CPU."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from noisegen.models.linear_filters import convolve_squares, filter_latent
from noisegen.models.nm_flowgan.fused_flow import FusedFlow, Signal, Structure
from noisegen.models.nm_flowgan.sizes import NMFlowGANSizes
from noisegen.native.convolution import LARGEST_KERNEL, Convolution, Network, filter_squares
from noisegen.native.flow import Flow, Rendering

__all__ = ["CompiledFilter", "CompiledFlow", "can_compile"]


def can_compile(sizes: NMFlowGANSizes) -> bool:
    """Whether there are kernels for the filter of such a model, and for its flow if it `can_fuse`."""
    return sizes.latent and sizes.filter_size <= LARGEST_KERNEL


class CompiledFilter:
    """`filter_latent` with the kernels [1, out, in, k, k] of one condition over squares of `period` pixels."""

    def __init__(self, kernels: ctypes.CDLL, weights: Tensor, period: int) -> None:
        self.kernels, self.weights, self.period = kernels, weights.float(), period
        self.layer = Convolution(weights[0])

    def __call__(self, latent: Tensor) -> Tensor:
        """A batch of one."""
        return filter_latent(latent, self.weights, self.period, self._convolve)

    def _convolve(self, latent: Tensor, weights: Tensor, period: int) -> Tensor:
        if weights.shape[-2] != weights.shape[-1]:  # of a picture too small for them
            return convolve_squares(latent, weights, period)
        layer = self.layer if weights is self.weights else Convolution(weights[0])
        return filter_squares(self.kernels, layer, latent[0].contiguous(), period)[None]


class CompiledFlow:
    """`FusedFlow.render` for one condition.

    Args:
        kernels: the library.
        flow: of one condition; in float64 its constants come out the same on every processor.
        channels: of the pictures.
        filter: of the latents, where nothing comes between it and the flow.
    """

    def __init__(
        self, kernels: ctypes.CDLL, flow: FusedFlow, channels: int, filter: CompiledFilter | None = None
    ) -> None:
        self.kernels, self.filter = kernels, filter
        networks = [*map(_structure, flow.structures), *map(_signal, flow.signals)]
        rendering = _rendering(flow, channels)
        self.filtered = Flow(networks, rendering)
        self.whole = None if filter is None else Flow(networks, rendering, filter.layer, filter.period)

    def render(self, latent: Tensor, clean: Tensor, uniform: Tensor) -> Tensor:
        """See `FusedFlow.render`; a batch of one. Latents are filtered first if there is a filter."""
        flow = self.filtered
        if self.filter is not None and self.whole is not None:
            _, channels, height, width = clean.shape
            if self.filter.layer.fits(channels, height, width, self.filter.period):
                flow = self.whole
            else:
                latent = self.filter(latent)
        latent, clean, uniform = (values[0].contiguous() for values in (latent, clean, uniform))
        return flow(self.kernels, latent, clean, uniform)[None]


def _rendering(flow: FusedFlow, channels: int) -> Rendering:
    curve = per_value = None
    for part in flow.curves:
        starts, slopes = part.starts, part.slopes
        curve = (starts, slopes) if curve is None else (curve[0] + starts, curve[1] + slopes)
        per_value = part.per_value
    tone = None
    if flow.gamma_inverse is not None and flow.toe is not None:
        tone = flow.gamma_inverse.item(), flow.toe.item()
    return Rendering(
        flow.common[0].expand(channels, -1, -1),
        curve,
        per_value or 0.0,
        None if flow.tail_inverse is None else flow.tail_inverse.flatten(),
        tone,
    )


def _signal(part: Signal) -> Network:
    last = len(part.weights) - 1
    layers = [
        Convolution(weight[0, :, :, None, None], bias[0, :, 0], 1.0 if index == last else part.slope)
        for index, (weight, bias) in enumerate(zip(part.weights, part.biases, strict=True))
    ]
    return Network(layers, torch.ones(len(part.weights[-1][0])), 1)


def _structure(part: Structure) -> Network:
    first, bias = part.hidden[0]
    layers = [Convolution(first.flatten(1)[:, :, None, None], bias, 0.0)]
    layers += [Convolution(weight, bias, 0.0) for weight, bias in part.hidden[1:]]
    layers.append(Convolution(part.last[0, :, :, None, None], part.last_bias))
    return Network(layers, part.factor.flatten(), part.stride)
