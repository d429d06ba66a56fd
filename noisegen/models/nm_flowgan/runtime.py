"""NM-FlowGAN for synthesis: the same function as `NMFlowGAN.sample`, arranged for speed.

The affine layers of the flow are folded into one scale and shift per pixel from one pass over their encoders; what
depends on the condition alone is computed once and kept; convolutions run in channels-last layout, wide ones on a CPU
by Winograd's algorithm, or in bfloat16 where asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.conditions import Condition, Vocabulary
from noisegen.models.nm_flowgan.flow import fold_inverse
from noisegen.models.nm_flowgan.layers import ConditionalLinear, SignalDependent, StructureAware
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.winograd import WINOGRAD_CHANNELS, winograd_conv3x3_relu, winograd_weights
from noisegen.models.protocol import Randomness

__all__ = ["FusedNMFlowGAN"]

# Conditions met in one run are few; interpolated ISO settings could be many.
CACHED_CONDITIONS = 256


class FusedNMFlowGAN:
    """A `NoiseModel` that computes what its `NMFlowGAN` does; `noisegen.models.prepare_for_synthesis` makes it.

    Args:
        model: the trained model; it is copied.
        device: where to run.
        dtype: of the generator's convolutions. The flow's output reaches the result through the generator's
            residual connection, so the flow always runs in float32.
    """

    def __init__(self, model: NMFlowGAN, device: str, dtype: torch.dtype = torch.float32) -> None:
        self.config = model.config
        self.dtype = dtype
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.model.critic = None
        self.model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.wide: dict[nn.Module, Tensor] = {}
        generator = self.model.generator
        if generator is not None:
            generator.to(dtype)
        if generator is not None and dtype == torch.float32 and torch.device(device).type == "cpu":
            deepest = set(generator.down[-1].modules())
            for layer in generator.modules():
                if (
                    isinstance(layer, nn.Conv2d)
                    and layer.kernel_size == (3, 3)
                    and min(layer.in_channels, layer.out_channels) >= WINOGRAD_CHANNELS
                ):
                    self.wide[layer] = winograd_weights(layer.weight, 2 if layer in deepest else 4)
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
        noisy = self.generate(pixel, clean, constants.levels)
        noisy.mul_(config.unet_unit * config.grey).add_(base)
        return noisy.add_(0.5).floor_().clamp_(0, config.levels - 1)

    def pixel_noise(self, normal: Tensor, clean: Tensor, constants: _Constants) -> Tensor:
        """The flow's inverse in units of 2**bit_depth, as one affine map per pixel."""
        layers = zip(self.model.flow.layers, constants.flow, strict=True)
        scale, shift = fold_inverse(_scale_and_bias(layer, clean, constant) for layer, constant in layers)
        return (scale * normal).add_(shift)

    def generate(self, noise: Tensor, clean: Tensor, biases: list[Tensor] | None) -> Tensor:
        """`SpatialGenerator.forward`: noise in units of `unet_unit`, clean in pixel values; float32 in and out."""
        generator = self.model.generator
        if generator is None:
            return noise
        height, width = noise.shape[2:]
        x = noise
        if biases is not None:
            x = torch.cat([noise, (clean / self.config.levels).sub_(0.5)], dim=1)
        bottom, right = -height % generator.align, -width % generator.align
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        x = x.to(self.dtype)
        skips = []
        for level, block in enumerate(generator.down):
            if level:
                skips.append(x)
                x = F.max_pool2d(x, 2)
            x = self.block(block, x, None if biases is None else biases[level])
        for up, merge in zip(generator.up, generator.merge, strict=True):
            x = self.block(merge, torch.cat([up(x), skips.pop()], dim=1), None)
        correction = _pointwise(generator.last, x)[:, :, :height, :width]
        return correction.float().add_(noise)

    def block(self, block: nn.Module, x: Tensor, bias: Tensor | None) -> Tensor:
        """Two 3x3 convolutions with ReLU; `bias` [B, out, 1, 1] is added after the first."""
        assert isinstance(block, nn.Sequential)
        return self.convolve(block[2], self.convolve(block[0], x, bias), None)

    def convolve(self, layer: nn.Module, x: Tensor, bias: Tensor | None) -> Tensor:
        """A 3x3 convolution, an additional bias, ReLU."""
        weights = self.wide.get(layer)
        if weights is None or x.shape[2] % 4 or x.shape[3] % 4:
            out: Tensor = layer(x)
            return F.relu_(out if bias is None else out.add_(bias.to(out.dtype)))
        assert isinstance(layer.bias, Tensor)
        total = layer.bias.expand(len(x), -1) if bias is None else layer.bias + bias.flatten(1)
        return winograd_conv3x3_relu(x, weights, total)

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
                weight = first.weight[:, :, 0, 0]
                bias = F.linear(embedding, weight[:, : embedding.shape[1]], first.bias)
                self.flow.append((bias[:, None, None, :], weight[:, embedding.shape[1] :].contiguous()))
            else:
                assert isinstance(layer, StructureAware)
                self.flow.append((layer.encoder(code)[:, :, None, None], nothing))
        generator = model.generator
        self.levels: list[Tensor] | None = None
        if generator is not None and generator.conditional:
            biases = generator.condition(code).split(generator.widths, dim=1)
            self.levels = [bias[:, :, None, None] for bias in biases]


def _scale_and_bias(
    layer: nn.Module, clean: Tensor, constant: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    if isinstance(layer, ConditionalLinear):
        return constant
    if isinstance(layer, SignalDependent):
        bias, weight = constant
        x = F.linear(clean.permute(0, 2, 3, 1), weight).add_(bias).permute(0, 3, 1, 2)
        log_scale, shift = _run(list(layer.body)[1:], x).chunk(2, dim=1)
        return log_scale, shift
    assert isinstance(layer, StructureAware)
    log_scale, shift = _run(list(layer.body), clean).mul_(constant[0]).chunk(2, dim=1)
    return log_scale, shift


def _run(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Runs layers with activations in place, which halves their memory traffic."""
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.ReLU):
            F.relu_(x)
        elif isinstance(layer, nn.LeakyReLU):
            F.leaky_relu_(x, layer.negative_slope)
        elif isinstance(layer, nn.Tanh):
            torch.tanh_(x)
        elif isinstance(layer, nn.Conv2d) and isinstance(following, nn.InstanceNorm2d):
            x = _normalised_pointwise(layer, following, x)
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            x = _pointwise(layer, x)
        elif not isinstance(layer, nn.InstanceNorm2d):
            x = layer(x)
    return x


def _pointwise(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution as the matrix product it is in channels-last layout."""
    return F.linear(x.permute(0, 2, 3, 1), layer.weight[:, :, 0, 0], layer.bias).permute(0, 3, 1, 2)


def _normalised_pointwise(layer: nn.Conv2d, norm: nn.InstanceNorm2d, x: Tensor) -> Tensor:
    """A 1x1 convolution and the instance norm after it in one pass over the pixels; `x` is overwritten.

    The variance of the convolution's output follows from the covariance of its input, so the norm becomes part of the
    convolution's weights.
    """
    batch, _, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).view(batch, height * width, -1)
    pixels.sub_(pixels.mean(dim=1, keepdim=True))
    covariance = torch.bmm(pixels.mT, pixels) / pixels.shape[1]
    weight = layer.weight[:, :, 0, 0]
    variance = ((weight @ covariance) * weight).sum(dim=2)
    scaled = weight * (norm.weight * torch.rsqrt(variance + norm.eps))[:, :, None]
    out = torch.baddbmm(norm.bias[None, None], pixels, scaled.mT)
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2)
