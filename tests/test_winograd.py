"""Winograd convolution is the direct one to rounding, and the paper-size model uses it unnoticeably."""

from __future__ import annotations

import pytest
import torch

from noisegen.conditions import Condition, Vocabulary
from noisegen.models import Randomness, prepare_for_synthesis
from noisegen.models.nm_flowgan.config import PRESETS
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.runtime import FusedNMFlowGAN
from noisegen.models.nm_flowgan.winograd import winograd_conv3x3_relu, winograd_weights


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize(
    ("inputs", "outputs", "height", "width"), [(5, 7, 4, 8), (16, 8, 36, 20), (130, 128, 8, 64)]
)
def test_equals_the_direct_convolution_in_double_precision(
    inputs: int, outputs: int, height: int, width: int, tile: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, inputs, height, width, generator=generator)
    weight = torch.randn(outputs, inputs, 3, 3, generator=generator) / (3 * inputs**0.5)
    bias = torch.randn(2, outputs, generator=generator)
    want = torch.nn.functional.conv2d(x.double(), weight.double(), padding=1)
    with torch.inference_mode():
        got = winograd_conv3x3_relu(
            x.contiguous(memory_format=torch.channels_last), winograd_weights(weight, tile), bias
        )
    want = (want + bias[:, :, None, None]).relu()
    assert (got - want).abs().max() < 1e-4
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_paper_size_synthesis_uses_it_and_stays_within_one_level() -> None:
    torch.manual_seed(0)
    model = NMFlowGAN(PRESETS["paper"], Vocabulary.grid(["A"], [100])).eval()
    with torch.no_grad():
        for name, parameter in model.flow.named_parameters():
            if name.endswith("log_scale"):
                parameter.fill_(1.5)
    fast = prepare_for_synthesis(model, device="cpu")
    assert isinstance(fast, FusedNMFlowGAN) and len(fast.wide) == 13
    clean = torch.randint(0, 256, (1, 3, 64, 64)).float()
    noise = Randomness(torch.randn(clean.shape), torch.rand(clean.shape))
    condition = [Condition("A", 100)]
    exact, fused = (m.sample(clean, condition, noise=noise) for m in (model, fast))
    assert (exact - clean).std() > 5
    difference = (exact - fused).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 1e-3
