"""The compiled layers of wide networks: what PyTorch computes, the same bits for every batch and instruction set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nm_flowgan_fixtures import A100, A400, A1600, inputs, tiny_model
from torch import Tensor

from noisegen import native
from noisegen.models import prepare_for_synthesis
from noisegen.models.nm_flowgan.model import PUBLISHED_UNIT
from noisegen.models.nm_flowgan.published_flow import PublishedFlow
from noisegen.models.nm_flowgan.wide_generator import WideGenerator
from noisegen.native.convolution import Convolution, Network
from noisegen.native.flow import Flow, Rendering
from noisegen.native.wide import Projection, Upsample2x2, WinogradConv3x3, interleave
from noisegen.synthesis.engine import Engine, TileJob

pytestmark = pytest.mark.skipif(native.library() is None, reason="noisegen is installed without its kernels")

# height and width: whole squares of 6 and of 4, ragged ones, less than one
SIZES = [(24, 36), (13, 17), (3, 2)]


def pictures(batch: int, channels: int, height: int, width: int) -> Tensor:
    values = torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(channels))
    return values.contiguous(memory_format=torch.channels_last)


def convolution(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(inputs)
    return torch.randn(outputs, inputs, 3, 3) / (9 * inputs) ** 0.5, torch.randn(outputs)


def on_every_instruction_set(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Tensor]) -> list[Tensor]:
    results = []
    for name in native.compiled():
        kernels = native.load(name)
        monkeypatch.setattr("noisegen.native.wide.library", lambda kernels=kernels: kernels)
        results.append(run())
    return results


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("channels", "skipped", "outputs"), [(16, 0, 32), (64, 64, 64), (160, 0, 32)])
def test_convolution_is_that_of_float64(
    channels: int, skipped: int, outputs: int, height: int, width: int
) -> None:
    weight, bias = convolution(channels + skipped, outputs)
    x = pictures(2, channels, height, width)
    skip = pictures(2, skipped, height, width) if skipped else None
    whole = x if skip is None else torch.cat([x, skip], dim=1)
    expected = F.relu(F.conv2d(whole.double(), weight.double(), bias.double(), padding=1))
    assert (WinogradConv3x3(weight, bias)(x, skip) - expected).abs().max() < 1e-4


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_pooled_results_are_those_of_max_pooling(height: int, width: int) -> None:
    layer = WinogradConv3x3(*convolution(32, 64))
    x = pictures(2, 32, height, width)
    whole, pooled = layer.and_pooled(x)
    assert torch.equal(whole, layer(x))
    assert torch.equal(pooled, F.max_pool2d(whole, 2))


def test_input_channels_are_filled_up() -> None:
    weight, bias = convolution(3, 32)
    planes = pictures(2, 3, 9, 14).contiguous()
    layer = WinogradConv3x3(weight, bias)
    expected = F.relu(F.conv2d(planes, weight, bias, padding=1))
    assert torch.allclose(layer(interleave(planes, layer.inputs)), expected, atol=1e-5)


def test_upsampling_is_the_transposed_convolution() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(48, 32, 2, 2) / 7, torch.randn(32)
    x = pictures(2, 48, 5, 17)
    expected = F.conv_transpose2d(x, weight, bias, stride=2)
    assert torch.allclose(Upsample2x2(weight, bias)(x), expected, atol=1e-5)


def test_projection_adds_what_lies_inside_the_residual() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(3, 32, 1, 1), torch.randn(3)
    x, residual = pictures(2, 32, 8, 12), torch.randn(2, 3, 7, 9)
    expected = F.conv2d(x, weight, bias)[:, :, :7, :9] + residual
    assert torch.allclose(Projection(weight, bias)(x, residual), expected, atol=1e-5)


def test_layers_refuse_what_they_cannot_run() -> None:
    layer = WinogradConv3x3(*convolution(16, 32))
    with pytest.raises(ValueError, match="16 channels"):
        layer(pictures(1, 32, 8, 8))
    with pytest.raises(ValueError, match="channels-last"):
        layer(torch.zeros(1, 16, 8, 8))
    with pytest.raises(ValueError, match="multiple of 32"):
        WinogradConv3x3(*convolution(16, 48))


def test_a_picture_is_the_same_in_every_batch_and_on_every_instruction_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("paper", unet_width=64, unet_depth=3)
    assert model.generator is not None and WideGenerator.fits(model.generator)
    generator = WideGenerator(model.generator)
    noise = torch.randn(5, 3, 40, 52)
    with torch.inference_mode():
        batches = on_every_instruction_set(monkeypatch, lambda: generator(noise))
        for batch in batches:
            assert torch.equal(batch, batches[0])
        for index in range(5):
            assert torch.equal(generator(noise[index : index + 1])[0], batches[0][index])
        assert torch.allclose(batches[0], model.generator(noise), atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"signal_norm": False},
        {"channels": 1},
        {"structure_stride": 2, "structure_modulated": True, "condition_encoder": "table"},
        {"flow_blocks": 1, "structure": False},
        {"bit_depth": 12},
    ],
)
@pytest.mark.parametrize(("height", "width"), [(64, 48), (37, 50), (5, 3)])
def test_published_flow_is_the_models_on_every_instruction_set(
    changes: dict[str, object], height: int, width: int
) -> None:
    model = tiny_model("paper", **changes)
    unit = PUBLISHED_UNIT * model.sizes.grey
    clean, noise = inputs(model, height, width)
    assert PublishedFlow.fits(model.sizes)
    with torch.inference_mode():
        for condition in (A400, A100, A1600):
            code = model.encode([condition])
            _, _, base, expected = model.pixel_steps(clean, code, noise)
            results = [
                PublishedFlow(native.load(name), model.flow, model.sizes, code, unit)(
                    clean[0], noise.uniform[0], noise.normal[0]
                )
                for name in native.compiled()
            ]
            for pixel, whole in results:
                assert torch.equal(whole, base[0])
                assert torch.equal(pixel, results[0][0])
            # Rounding to whole levels makes one level of the last bits of a few.
            differences = (results[0][0] - expected[0]).abs() * unit
            assert differences.max() < 1.001 and (differences > 0.5).float().mean() < 0.01


def test_tiles_drawn_together_are_those_drawn_alone() -> None:
    model = tiny_model("paper", unet_width=64, unet_depth=2)
    engine = Engine(prepare_for_synthesis(model, device="cpu"))
    clean = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)
    jobs = [TileJob(tile, (A400, A100)[i % 2], 5, 0, 64 * i) for i, tile in enumerate(clean)]
    assert engine.tiles_at_once(64) > len(jobs)
    for together, job in zip(engine.run(jobs), jobs, strict=True):
        assert np.array_equal(together, engine.run([job])[0])


def test_a_network_of_more_outputs_than_the_picture_has_channels_is_no_part_of_the_compact_flow() -> None:
    layer = Convolution(torch.ones(6, 3, 1, 1))
    rendering = Rendering(torch.zeros(3, 1, 1), None, 0.0, None, None)
    with pytest.raises(ValueError, match="different numbers of channels"):
        Flow([Network([layer], torch.ones(6), 1)], rendering)
