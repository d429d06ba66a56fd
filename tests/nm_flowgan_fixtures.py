"""Small NM-FlowGANs with random weights, whose noise looks like a camera's, and inputs for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from noisegen.conditions import Condition, Vocabulary
from noisegen.models.nm_flowgan.layers import ConditionalLinear, SignalDependent, StructureAware
from noisegen.models.nm_flowgan.model import PUBLISHED_UNIT, NMFlowGAN
from noisegen.models.nm_flowgan.sizes import PRESETS, NMFlowGANSizes
from noisegen.models.protocol import Randomness

A100, A1600, B400 = Condition("A", 100), Condition("A", 1600), Condition("B", 400)
A400 = Condition("A", 400)  # between two known ones, halfway
VOCABULARY = Vocabulary.of([A100, A1600, B400])
NOISE_STD = {100: 10.0, 400: 14.0, 1600: 20.0}  # in grey levels, about
# of what the generator adds, in grey levels; to latents a tenth of it
CORRECTION_STD = 3.0


def tiny_config(preset: str, **changes: Any) -> NMFlowGANSizes:
    """A preset with few channels; its depth stays where it is below 3."""
    sizes = {"unet_width": 4, "critic_width": 4, "unet_depth": min(3, PRESETS[preset].unet_depth)}
    return replace(PRESETS[preset], **(sizes | changes))


def tiny_model(preset: str, *, critic: bool = False, seed: int = 0, **changes: Any) -> NMFlowGAN:
    """A model in eval mode in which every parameter matters."""
    config = tiny_config(preset, **changes)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = NMFlowGAN(config, VOCABULARY, critic=critic)
        for name, values in model.state_dict().items():
            if "running_mean" in name:
                values.normal_(std=0.2)
            elif "running_var" in name:
                values.uniform_(0.5, 1.5)
        unit = 1.0 if config.latent else PUBLISHED_UNIT
        for name, curve in (("tone.log_gamma", 0.07), ("tails.log_tail", -0.02)):
            if name in model.flow.state_dict():
                model.flow.get_parameter(name).fill_(curve)
        # what starts as nothing
        for name, values in model.flow.named_parameters():
            if name.endswith((".modulation.table", ".knots")):
                values.normal_(std=0.05)
        if model.correlation is not None:
            model.correlation.table.add_(0.05 * torch.randn(model.correlation.table.shape))
        for layer in model.flow.layers:
            if isinstance(layer, ConditionalLinear):
                for iso_index, iso in enumerate(VOCABULARY.isos):
                    rows = slice(
                        iso_index * len(VOCABULARY.cameras), (iso_index + 1) * len(VOCABULARY.cameras)
                    )
                    layer.log_scale[rows] = math.log(256 / NOISE_STD[iso]) / config.flow_blocks
            elif isinstance(layer, SignalDependent | StructureAware):
                last = layer.body[-2]
                for values in (last.weight, last.bias):
                    scales = len(values) // 2 if config.shift else len(values)
                    values[:scales] *= 0.2
                    values[scales:] *= 0.02
        model.eval()
        if model.generator is None:
            return model
        last = model.generator.last
        last.weight.normal_()
        assert last.bias is not None
        last.bias.zero_()
        clean, noise = inputs(model, 32, 32)
        steps = model.steps(clean, model.encode([A400]), noise)
        correction = unit * (
            steps.generator_out - model.correlate_linearly(steps.generator_in, model.encode([A400]))
        )
        scale = CORRECTION_STD / (10.0 if config.latent else 1.0) / correction.std()
        last.weight *= scale
        shift = -scale * correction.mean(dim=(0, 2, 3)) / unit
        last.bias.copy_(shift.repeat_interleave(config.unet_stride**2))
    return model


def inputs(
    model: NMFlowGAN, height: int, width: int, *, batch: int = 1, seed: int = 0
) -> tuple[torch.Tensor, Randomness]:
    """Clean pictures of smooth content with some texture, and randomness for them."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((batch, model.channels, 4, 4), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    shape = (batch, model.channels, height, width)
    texture = 0.05 * torch.randn(shape, generator=generator)
    levels = model.sizes.levels
    clean = ((smooth + texture) * (levels - 1)).round().clamp(0, levels - 1)
    normal = torch.randn(shape, generator=generator)
    return clean, Randomness(normal, torch.rand(shape, generator=generator))


def one_of(clean: torch.Tensor, noise: Randomness, index: int) -> tuple[torch.Tensor, Randomness]:
    """One picture of a batch as a batch of one."""
    part = slice(index, index + 1)
    return clean[part], Randomness(noise.normal[part], noise.uniform[part])


def cycle(conditions: Sequence[Condition], count: int) -> list[Condition]:
    return [conditions[index % len(conditions)] for index in range(count)]
