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
from noisegen.models.nm_flowgan.correlation import filter_latent
from noisegen.models.nm_flowgan.flow import fold_inverse
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
from noisegen.models.nm_flowgan.model import PUBLISHED_UNIT, NMFlowGAN
from noisegen.models.nm_flowgan.transform import NoiseTransform
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
        constants = self.constants_of(tuple(condition))
        clean = clean.contiguous(memory_format=torch.channels_last)
        uniform = noise.uniform.contiguous(memory_format=torch.channels_last)
        normal = noise.normal.contiguous(memory_format=torch.channels_last)
        dequantized = torch.add(clean, uniform).div_(self.config.levels)
        render = self.from_latents if self.config.latent else self.as_published
        noisy = render(normal, clean, dequantized, constants)
        return noisy.floor_().clamp_(0, self.config.levels - 1)

    def from_latents(
        self, normal: Tensor, clean: Tensor, dequantized: Tensor, constants: _Constants
    ) -> Tensor:
        """`NMFlowGAN.steps` of a latent model, up to rounding."""
        log_scale, shift = self.affine(dequantized, constants)
        if constants.kernels is not None:
            normal = filter_latent(normal, constants.kernels, self.config.period)
        latent = self.generate(normal, clean, constants.levels)
        transform = NoiseTransform(dequantized, log_scale, shift, *constants.curve)
        return transform.noise(latent).add_(dequantized).mul_(self.config.levels)

    def as_published(
        self, normal: Tensor, clean: Tensor, dequantized: Tensor, constants: _Constants
    ) -> Tensor:
        """`NMFlowGAN.steps` in the published order, up to rounding, half a level higher."""
        levels, unit = self.config.levels, PUBLISHED_UNIT * self.config.grey
        log_scale, shift = self.affine(dequantized, constants)
        base = torch.floor(dequantized * levels).clamp_(0, levels - 1)
        pixel = (torch.exp(log_scale) * normal).add_(shift)
        pixel.add_(dequantized).mul_(levels).floor_().clamp_(0, levels - 1).sub_(base).div_(unit)
        return self.generate(pixel, clean, constants.levels).mul_(unit).add_(base).add_(0.5)

    def affine(self, clean: Tensor, constants: _Constants) -> tuple[Tensor, Tensor]:
        """The flow's inverse in units of 2**bit_depth, as log-scale and shift of one affine map per pixel."""
        layers = zip(self.model.flow.layers, constants.flow, strict=True)
        return fold_inverse(
            _scale_and_bias(layer, clean, constant, constants.changes.get(layer, ()))
            for layer, constant in layers
        )

    def generate(self, noise: Tensor, clean: Tensor, levels: list[tuple[Tensor, Tensor]] | None) -> Tensor:
        """`SpatialGenerator.forward`, clean in pixel values; float32 in and out."""
        generator = self.model.generator
        if generator is None:
            return noise
        height, width = noise.shape[2:]
        x = noise
        if levels is not None:
            x = torch.cat([noise, (clean / self.config.levels).sub_(0.5)], dim=1)
        bottom, right = -height % generator.align, -width % generator.align
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        x = pixel_unshuffle(x.to(self.dtype), generator.stride)
        skips = []
        for level, block in enumerate(generator.down):
            if level:
                skips.append(x)
                x = F.max_pool2d(x, 2)
            x = self.block(block, x, None if levels is None else levels[level])
        for up, merge in zip(generator.up, generator.merge, strict=True):
            x = self.block(merge, torch.cat([up(x), skips.pop()], dim=1), None)
        correction = pixel_shuffle(_pointwise(generator.last, x), generator.stride)
        return correction[:, :, :height, :width].float() + noise

    def block(self, block: nn.Module, x: Tensor, modulation: tuple[Tensor, Tensor] | None) -> Tensor:
        """Two 3x3 convolutions with ReLU, the first one's output scaled and shifted by `modulation` [B, out, 1, 1]."""
        assert isinstance(block, nn.Sequential)
        return self.convolve(block[2], self.convolve(block[0], x, modulation), None)

    def convolve(self, layer: nn.Module, x: Tensor, modulation: tuple[Tensor, Tensor] | None) -> Tensor:
        """A 3x3 convolution, scale and bias, ReLU."""
        weights = self.wide.get(layer)
        if weights is None or modulation is not None or x.shape[2] % 4 or x.shape[3] % 4:
            out: Tensor = layer(x)
            if modulation is not None:
                scale, bias = modulation
                out = torch.addcmul(bias.to(out.dtype), out, scale.to(out.dtype))
            return F.relu_(out)
        assert isinstance(layer.bias, Tensor)
        return winograd_conv3x3_relu(x, weights, layer.bias.expand(len(x), -1))

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
        self.changes: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}
        self.flow: list[tuple[Tensor, Tensor | None]] = []
        for layer in model.flow.layers:
            if isinstance(layer, ConditionalLinear):
                self.flow.append(layer.tables(code))
            elif isinstance(layer, IntensityCurve):
                self.flow.append((layer.curve(code), None))
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
                self.flow.append((layer.encoder(code)[:, :, None, None], None))
                self.changes[layer] = layer.hidden_changes(code)
        flow, generator = model.flow, model.generator
        gamma, toe = (None, None) if flow.tone is None else flow.tone(code)
        self.curve = gamma, toe, None if flow.tails is None else flow.tails(code)
        self.kernels = None if model.correlation is None else model.correlation.kernels(code)
        self.levels: list[tuple[Tensor, Tensor]] | None = None
        if generator is not None and generator.conditional:
            self.levels = generator.modulation(code)


def _scale_and_bias(
    layer: nn.Module,
    clean: Tensor,
    constant: tuple[Tensor, Tensor | None],
    changes: Sequence[tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor | None]:
    if isinstance(layer, ConditionalLinear):
        return repeat(constant[0], clean), None if constant[1] is None else repeat(constant[1], clean)
    if isinstance(layer, IntensityCurve):
        return on_curve(clean, constant[0]), None
    if isinstance(layer, SignalDependent):
        bias, weight = constant
        assert weight is not None
        x = F.linear(clean.permute(0, 2, 3, 1), weight).add_(bias).permute(0, 3, 1, 2)
        return split_affine(_run(list(layer.body)[1:], x), layer.shift)
    assert isinstance(layer, StructureAware)
    height, width = clean.shape[2:]
    out = _run(list(layer.body), pixel_unshuffle(clean, layer.stride), changes)
    out = pixel_shuffle(out, layer.stride)
    return split_affine(out[:, :, :height, :width].mul_(constant[0]), layer.shift)


def _run(layers: Sequence[nn.Module], x: Tensor, changes: Sequence[tuple[Tensor, Tensor]] = ()) -> Tensor:
    """Runs layers with activations in place, which halves their memory traffic; `changes` come before each ReLU."""
    left = iter(changes)
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.ReLU):
            change = next(left, None)
            x = F.relu_(x if change is None else torch.addcmul(change[1], x, change[0]))
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
