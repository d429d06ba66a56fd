"""NM-FlowGAN for synthesis: the same function as `NMFlowGAN.sample`, arranged for speed.

The affine layers of the flow are folded into one scale and shift per pixel from one pass over their encoders, everything that depends
on the condition alone is computed once and kept, and convolutions run in channels-last layout, in bfloat16 where asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.conditions import Condition, Vocabulary
from noisegen.models.nm_flowgan.layers import ConditionalLinear, SignalDependent, StructureAware
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.networks import SpatialGenerator
from noisegen.models.protocol import Randomness

__all__ = ["FusedNMFlowGAN"]

# Conditions met in one run are few; interpolated ISO settings could be many.
CACHED_CONDITIONS = 256


class FusedNMFlowGAN:
    """A `NoiseModel` that computes what its `NMFlowGAN` does; make one by `noisegen.models.prepare_for_synthesis`.

    Args:
        model: the trained model; it is copied.
        device: where to run.
        dtype: of the generator's convolutions. The flow, whose output is added to the result without a network in between,
            always runs in float32.
    """

    def __init__(self, model: NMFlowGAN, device: str, dtype: torch.dtype = torch.float32) -> None:
        self.config = model.config
        self.device = torch.device(device)
        self.dtype = dtype
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.model.critic = None
        self.model.to(device=self.device, memory_format=torch.channels_last)
        self.model.generator.to(dtype)
        self.constants: dict[tuple[Condition, ...], _Constants] = {}

    @property
    def vocabulary(self) -> Vocabulary:
        return self.model.vocabulary

    @property
    def channels(self) -> int:
        return self.config.channels

    @property
    def bit_depth(self) -> int:
        return self.config.bit_depth

    @torch.inference_mode()
    def sample(self, clean: Tensor, condition: Sequence[Condition], *, noise: Randomness) -> Tensor:
        """See `NoiseModel.sample`."""
        config = self.config
        constants = self.constants_of(tuple(condition))
        clean = clean.contiguous(memory_format=torch.channels_last)
        uniform = noise.uniform.contiguous(memory_format=torch.channels_last)
        normal = noise.normal.contiguous(memory_format=torch.channels_last)
        dequantized = torch.add(clean, uniform).div_(config.levels)
        pixel = self.pixel_noise(normal, dequantized, constants)
        if config.quantize:
            base = torch.floor(dequantized * config.levels).clamp_(0, config.levels - 1)
            pixel.add_(dequantized).mul_(config.levels).floor_().clamp_(0, config.levels - 1).sub_(base)
            pixel.div_(config.unet_unit * config.grey)
        else:
            base = clean
            pixel.mul_(256.0 / config.unet_unit)
        noisy = _generate(self.model.generator, pixel, clean, config.levels, constants.levels, self.dtype)
        noisy.mul_(config.unet_unit * config.grey).add_(base)
        return noisy.add_(0.5).floor_().clamp_(0, config.levels - 1)

    def pixel_noise(self, normal: Tensor, clean: Tensor, constants: _Constants) -> Tensor:
        """The flow's inverse in units of 2**bit_depth, as one affine map per pixel (see `PixelFlow.affine`)."""
        log_total: Tensor | None = None
        shift: Tensor | None = None
        for layer, constant in zip(self.model.flow.layers, constants.flow, strict=True):
            log_scale, bias = _scale_and_bias(layer, clean, constant)
            log_total = log_scale if log_total is None else log_total + log_scale
            step = bias * torch.exp(-log_total)
            shift = step if shift is None else shift + step
        assert log_total is not None and shift is not None
        return torch.exp(-log_total).mul(normal).sub_(shift)

    def constants_of(self, conditions: tuple[Condition, ...]) -> _Constants:
        found = self.constants.get(conditions)
        if found is None:
            if len(self.constants) >= CACHED_CONDITIONS:
                self.constants.clear()
            found = self.constants[conditions] = _Constants(self.model, conditions)
        return found


class _Constants:
    """What a batch's conditions contribute to each layer."""

    def __init__(self, model: NMFlowGAN, conditions: tuple[Condition, ...]) -> None:
        code = model.encode(conditions)
        nothing = torch.empty(0)
        self.flow: list[tuple[Tensor, Tensor]] = []
        for layer in model.flow.layers:
            if isinstance(layer, ConditionalLinear):
                self.flow.append(layer(nothing, code))
            elif isinstance(layer, SignalDependent):
                # The embedding is the same at every pixel: its share of the first pointwise layer is a bias.
                embedding = layer.encoder(code)
                first = layer.body[0]
                assert isinstance(first, nn.Conv2d)
                bias = F.linear(embedding, first.weight[:, : embedding.shape[1], 0, 0], first.bias)
                self.flow.append((bias[:, :, None, None], first.weight[:, embedding.shape[1] :]))
            else:
                weights = layer.encoder(code)[:, :, None, None]
                self.flow.append((weights, nothing))
        self.levels: list[Tensor] | None = None
        generator = model.generator
        if generator.conditional:
            biases = generator.condition(code).split(generator.widths, dim=1)
            self.levels = [bias[:, :, None, None] for bias in biases]


def _scale_and_bias(
    layer: nn.Module, clean: Tensor, constant: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    if isinstance(layer, ConditionalLinear):
        return constant
    if isinstance(layer, SignalDependent):
        bias, weight = constant
        x = F.conv2d(clean, weight).add_(bias)
        log_scale, shift = _run(layer.body[1:], x).chunk(2, dim=1)
        return log_scale, shift
    assert isinstance(layer, StructureAware)
    log_scale, shift = _run(layer.body, clean).mul_(constant[0]).chunk(2, dim=1)
    return log_scale, shift


def _run(layers: Sequence[nn.Module] | nn.Sequential, x: Tensor) -> Tensor:
    """Runs layers with activations in place, which halves their memory traffic."""
    for layer in layers:
        if isinstance(layer, nn.ReLU):
            x = F.relu_(x)
        elif isinstance(layer, nn.LeakyReLU):
            x = F.leaky_relu_(x, layer.negative_slope)
        elif isinstance(layer, nn.Tanh):
            x = torch.tanh_(x)
        else:
            x = layer(x)
    return x


def _generate(
    generator: SpatialGenerator,
    noise: Tensor,
    clean: Tensor,
    levels: float,
    biases: list[Tensor] | None,
    dtype: torch.dtype,
) -> Tensor:
    """`SpatialGenerator.forward` without autograd: float32 in and out, convolutions in `dtype`."""
    height, width = noise.shape[2:]
    x = noise
    if biases is not None:
        x = torch.cat([noise, clean / levels - 0.5], dim=1)
    bottom, right = -height % generator.align, -width % generator.align
    if bottom or right:
        x = F.pad(x, (0, right, 0, bottom), mode="replicate")
    x = x.to(dtype)
    skips = []
    for level, block in enumerate(generator.down):
        assert isinstance(block, nn.Sequential)
        if level:
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = block[0](x)
        if biases is not None:
            x.add_(biases[level].to(dtype))
        x = _run(block[1:], x)
    for up, merge in zip(generator.up, generator.merge, strict=True):
        assert isinstance(merge, nn.Sequential)
        x = _run(merge, torch.cat([up(x), skips.pop()], dim=1))
    correction = generator.last(x)[:, :, :height, :width]
    return correction.float().add_(noise)
