"""NM-FlowGAN for synthesis: the same function as `NMFlowGAN.sample`, arranged for speed.

The layers of the flow are folded into one map per pixel (`affine_flow` and `fused_flow`), and what depends on the
condition alone is computed once and kept. On a CPU with compiled kernels those compute the flow (`compiled_flow`,
`published_flow`) and, in float32, a wide generator (`wide_generator`). Elsewhere the generator's convolutions run in
channels-last layout, in 16 bits where asked for.
"""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen import native
from noisegen.conditions import Condition, Vocabulary
from noisegen.models.condition_codes import ConditionCode, code_of_rows, condition_rows
from noisegen.models.linear_filters import filter_latent
from noisegen.models.nm_flowgan.affine_flow import AffineFlow, pointwise
from noisegen.models.nm_flowgan.compiled_flow import CompiledFilter, CompiledFlow, can_compile
from noisegen.models.nm_flowgan.cuda_layers import convolve_relu, has_fused_relu, pad_inputs, pad_outputs
from noisegen.models.nm_flowgan.fused_flow import FusedFlow, can_fuse
from noisegen.models.nm_flowgan.layers import StructureAware, pixel_shuffle, pixel_unshuffle
from noisegen.models.nm_flowgan.model import PUBLISHED_UNIT, NMFlowGAN
from noisegen.models.nm_flowgan.published_flow import PublishedFlow
from noisegen.models.nm_flowgan.wide_generator import WideGenerator
from noisegen.models.protocol import Randomness

__all__ = ["FusedNMFlowGAN"]

# Conditions met in one run are few; interpolated ISO settings could be many.
CACHED_CONDITIONS = 256

# A wide generator reads hundreds of megabytes of weights each time: pictures of so many pixels share that.
SHARED_PIXELS = 2**18
# Tensor cores take channels by eights of 16 bits; fewer are filled up with zeros.
CUDA_CHANNELS = 8


class FusedNMFlowGAN:
    """A `NoiseModel` that computes what its `NMFlowGAN` does; `noisegen.models.prepare_for_synthesis` makes it.

    Args:
        model: the trained model; it is copied.
        device: where to run.
        dtype: of the generator's convolutions. The flow's output reaches the result through the generator's
            residual connection, so the flow runs in float32; with float16 the structure-aware convolutions of a
            published flow do too.
    """

    def __init__(self, model: NMFlowGAN, device: str, dtype: torch.dtype = torch.float32) -> None:
        self.sizes = model.sizes
        self.dtype = dtype
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.model.critic = None
        self.model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        on_cpu = torch.device(device).type == "cpu"
        generator = self.model.generator
        self.wide: WideGenerator | None = None
        if generator is not None and on_cpu and dtype == torch.float32 and WideGenerator.fits(generator):
            self.wide = WideGenerator(generator)
        elif generator is not None:
            generator.to(dtype)
            if dtype != torch.float32 and torch.device(device).type == "cuda":
                first = generator.down[0]
                assert isinstance(first, nn.Sequential) and isinstance(first[0], nn.Conv2d)
                pad_inputs(first[0], CUDA_CHANNELS)
                pad_outputs(generator.last, CUDA_CHANNELS)
        compiled = on_cpu and (can_compile(self.sizes) or PublishedFlow.fits(self.sizes))
        self.kernels = native.library() if compiled else None
        self.exact = None if self.kernels is None else _exact(model)
        if dtype == torch.float16 and not can_fuse(model.sizes):
            for part in self.model.flow.layers:
                if isinstance(part, StructureAware):
                    part.body.half()
        self.constants: dict[tuple[tuple[Condition, ...], float], _Constants] = {}

    @property
    def vocabulary(self) -> Vocabulary:
        return self.model.vocabulary

    @property
    def channels(self) -> int:
        return self.sizes.channels

    @property
    def bit_depth(self) -> int:
        return self.sizes.bit_depth

    @property
    def alignment(self) -> int:
        return self.model.alignment

    @torch.inference_mode()
    def sample(
        self, clean: Tensor, condition: Sequence[Condition], *, noise: Randomness, strength: float = 1.0
    ) -> Tensor:
        """See `NoiseModel.sample`."""
        if self.wide is not None and self.kernels is not None:
            return self._published(clean, condition, noise, strength)
        if self.kernels is not None and len(clean) > 1:
            return self._one_by_one(clean, condition, noise, strength)
        return self.render(clean, noise, self.constants_of(tuple(condition), strength))

    def pictures_at_once(self, height: int, width: int) -> int:
        """See `BatchedModel.pictures_at_once`."""
        return 1 if self.wide is None or self.kernels is None else max(1, SHARED_PIXELS // (height * width))

    def condition_rows(self, condition: Sequence[Condition]) -> Tensor:
        """See `PreparedModel.condition_rows`."""
        return condition_rows(self.vocabulary, [self.vocabulary.resolve(c) for c in condition])

    @torch.inference_mode()
    def prepare(self, rows: Tensor, strength: float) -> _Constants:
        """See `PreparedModel.prepare`."""
        return _Constants(self.model, code_of_rows(self.vocabulary, rows), strength, None, None)

    @torch.inference_mode()
    def render(self, clean: Tensor, noise: Randomness, constants: _Constants) -> Tensor:
        """See `PreparedModel.render`."""
        render = self.from_latents if self.sizes.latent else self.as_published
        noisy = render(clean, noise, constants)
        return noisy.floor_().clamp_(0, self.sizes.levels - 1)

    def _published(
        self, clean: Tensor, condition: Sequence[Condition], noise: Randomness, strength: float
    ) -> Tensor:
        """`sample` in the published order, the flow picture by picture and the generator for all."""
        pixel, base = torch.empty_like(clean), torch.empty_like(clean)
        for index, one in enumerate(condition):
            flow = self.constants_of((one,), strength).published
            assert flow is not None
            pixel[index], base[index] = flow(clean[index], noise.uniform[index], noise.normal[index])
        noisy = self._in_levels(self.generate(pixel, clean, None), base, strength)
        return noisy.floor_().clamp_(0, self.sizes.levels - 1)

    def _in_levels(self, generated: Tensor, base: Tensor, strength: float) -> Tensor:
        """Noisy pixel values half a level higher, from the generator's output, which is overwritten."""
        return generated.mul_(strength * PUBLISHED_UNIT * self.sizes.grey).add_(base).add_(0.5)

    def _one_by_one(
        self, clean: Tensor, condition: Sequence[Condition], noise: Randomness, strength: float
    ) -> Tensor:
        """`sample`, as compiled kernels take one picture."""
        singles = zip(clean.split(1), condition, noise.normal.split(1), noise.uniform.split(1), strict=True)
        return torch.cat(
            [
                self.sample(picture, [one], noise=Randomness(normal, uniform), strength=strength)
                for picture, one, normal, uniform in singles
            ]
        )

    def from_latents(self, clean: Tensor, noise: Randomness, constants: _Constants) -> Tensor:
        """`NMFlowGAN.steps` of a latent model, up to rounding."""
        latent = noise.normal
        if constants.correlate is not None:
            latent = constants.correlate(latent)
        latent = self.generate(latent, clean, constants.levels)
        if constants.fused is not None:
            return constants.fused.render(latent, clean, noise.uniform)
        assert constants.affine is not None
        dequantized = (clean + noise.uniform).div_(self.sizes.levels)
        transform = constants.affine.at(dequantized).scaled(constants.strength)
        return transform.noise(latent).add_(transform.clean).mul_(self.sizes.levels)

    def as_published(self, clean: Tensor, noise: Randomness, constants: _Constants) -> Tensor:
        """`NMFlowGAN.steps` in the published order, up to rounding, half a level higher."""
        if constants.published is not None:
            single = constants.published(clean[0], noise.uniform[0], noise.normal[0])
            pixel, base = (values[None] for values in single)
        else:
            pixel, base = self.pixel_noise(clean, noise, constants)
        return self._in_levels(self.generate(pixel, clean, constants.levels), base, constants.strength)

    def pixel_noise(self, clean: Tensor, noise: Randomness, constants: _Constants) -> tuple[Tensor, Tensor]:
        """What the generator gets and the clean picture in whole levels, as `NMFlowGAN.pixel_steps`."""
        levels, unit = self.sizes.levels, PUBLISHED_UNIT * self.sizes.grey
        clean, normal, uniform = (
            values.contiguous(memory_format=torch.channels_last)
            for values in (clean, noise.normal, noise.uniform)
        )
        dequantized = torch.add(clean, uniform).div_(levels)
        base = torch.floor(dequantized * levels).clamp_(0, levels - 1)
        assert constants.affine is not None
        pixel = constants.affine.at(dequantized).noise(normal)
        pixel.add_(dequantized).mul_(levels).floor_().clamp_(0, levels - 1).sub_(base).div_(unit)
        return pixel, base

    def generate(self, noise: Tensor, clean: Tensor, levels: list[tuple[Tensor, Tensor]] | None) -> Tensor:
        """`SpatialGenerator.forward`, clean in pixel values; float32 in and out."""
        generator = self.model.generator
        if generator is None:
            return noise
        if self.wide is not None:
            return self.wide(noise)
        height, width = noise.shape[2:]
        x = noise
        if levels is not None:
            x = torch.cat([noise, (clean / self.sizes.levels).sub_(0.5)], dim=1)
        bottom, right = -height % generator.align, -width % generator.align
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        x = pixel_unshuffle(x.to(self.dtype), generator.stride)
        first = generator.down[0].get_submodule("0")
        assert isinstance(first, nn.Conv2d)
        if x.shape[1] < first.in_channels:
            x = F.pad(x, (0, 0, 0, 0, 0, first.in_channels - x.shape[1]))
        x = x.contiguous(memory_format=torch.channels_last)
        skips = []
        for level, block in enumerate(generator.down):
            if level:
                skips.append(x)
                x = F.max_pool2d(x, 2)
            x = self.block(block, x, None if levels is None else levels[level])
        for up, merge in zip(generator.up, generator.merge, strict=True):
            x = self.block(merge, torch.cat([up(x), skips.pop()], dim=1), None)
        squares = pointwise(generator.last, x)
        correction = pixel_shuffle(squares[:, : self.channels * generator.stride**2], generator.stride)
        correction = correction[:, :, :height, :width].float()
        if self.dtype == torch.float16:
            # what was too large for float16 becomes no number, rather than white after clipping
            correction = correction + (correction - correction)
        return correction + noise

    def block(self, block: nn.Module, x: Tensor, modulation: tuple[Tensor, Tensor] | None) -> Tensor:
        """Two 3x3 convolutions with ReLU, the first one's output scaled and shifted by `modulation` [B, out, 1, 1]."""
        assert isinstance(block, nn.Sequential)
        return self.convolve(block[2], self.convolve(block[0], x, modulation), None)

    def convolve(self, layer: nn.Module, x: Tensor, modulation: tuple[Tensor, Tensor] | None) -> Tensor:
        """A 3x3 convolution, scale and bias, ReLU."""
        if modulation is None and has_fused_relu(layer, x):
            return convolve_relu(layer, x)
        out: Tensor = layer(x)
        if modulation is not None:
            scale, bias = modulation
            out = torch.addcmul(bias.to(out.dtype), out, scale.to(out.dtype))
        return F.relu_(out)

    def constants_of(self, conditions: tuple[Condition, ...], strength: float) -> _Constants:
        found = self.constants.get((conditions, strength))
        if found is None:
            if len(self.constants) >= CACHED_CONDITIONS:
                self.constants.clear()
            code = self.model.encode(conditions)
            found = _Constants(self.model, code, strength, self.kernels, self.exact)
            self.constants[conditions, strength] = found
        return found


class _Constants:
    """What a batch's conditions and the strength of the noise contribute to each part of the model.

    Args:
        kernels, exact: the compiled kernels and the model in float64, to use them; one condition then.
    """

    def __init__(
        self,
        model: NMFlowGAN,
        code: ConditionCode,
        strength: float,
        kernels: ctypes.CDLL | None,
        exact: NMFlowGAN | None,
    ) -> None:
        self.strength = strength
        self.fused: FusedFlow | CompiledFlow | None = None
        self.affine: AffineFlow | None = None
        self.published: PublishedFlow | None = None
        self.correlate: Callable[[Tensor], Tensor] | None = None
        sizes = model.sizes
        if kernels is not None and exact is not None:
            precise = replace(code, onehot=code.onehot.double())
            filter = None
            if exact.correlation is not None:
                filter = CompiledFilter(kernels, exact.correlation.kernels(precise), sizes.period)
            joined = filter if can_fuse(sizes) and model.generator is None else None
            if joined is None:
                self.correlate = filter
            if can_fuse(sizes):
                flow = FusedFlow(exact.flow, sizes.levels, precise, strength)
                self.fused = CompiledFlow(kernels, flow, sizes.channels, joined)
            if not sizes.latent:
                self.published = PublishedFlow(
                    kernels, exact.flow, sizes, precise, PUBLISHED_UNIT * sizes.grey
                )
        else:
            if can_fuse(sizes):
                self.fused = FusedFlow(model.flow, sizes.levels, code, strength)
            if model.correlation is not None:
                weights = model.correlation.kernels(code)
                self.correlate = partial(filter_latent, kernels=weights, period=sizes.period)
        if self.fused is None and self.published is None:
            self.affine = AffineFlow(model.flow, code)
        generator = model.generator
        self.levels: list[tuple[Tensor, Tensor]] | None = None
        if generator is not None and generator.conditional:
            self.levels = generator.modulation(code)


def _exact(model: NMFlowGAN) -> NMFlowGAN:
    """Flow and filter in float64, in which constants come out the same on every processor, but for their last bits."""
    exact = copy.deepcopy(model).eval().requires_grad_(False)
    exact.generator = exact.critic = None
    return exact.cpu().double()
