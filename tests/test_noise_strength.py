"""The strength of noise acts where noise is made: before tone curve, clipping and rounding."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from nm_flowgan_fixtures import A100, A400, A1600, B400, inputs, tiny_model
from synthesis_fixtures import photograph

from noisegen.conditions import Condition
from noisegen.models import prepare_for_synthesis
from noisegen.models.classical import Awgn, Heteroscedastic, PoissonGaussian
from noisegen.models.learning import ModelSizes
from noisegen.models.nm_flowgan.sizes import PRESETS
from noisegen.models.protocol import NoiseModel, Randomness
from noisegen.synthesis.engine import synthesize

S6 = Condition("S6", 100)
GREY = ModelSizes(channels=1)


def randomness(*shape: int) -> Randomness:
    generator = torch.Generator().manual_seed(0)
    return Randomness(torch.randn(shape, generator=generator), torch.rand(shape, generator=generator))


@pytest.mark.parametrize(
    ("model", "half"),
    [
        (Awgn.of(GREY, std={S6: (8.0,)}), Awgn.of(GREY, std={S6: (4.0,)})),
        (
            Heteroscedastic.of(GREY, dark={S6: (4.0,)}, bright={S6: (64.0,)}),
            Heteroscedastic.of(GREY, dark={S6: (1.0,)}, bright={S6: (16.0,)}),
        ),
        (
            PoissonGaussian.of(GREY, gain={S6: (0.4,)}, offset={S6: (4.0,)}),
            PoissonGaussian.of(GREY, gain={S6: (0.1,)}, offset={S6: (1.0,)}),
        ),
    ],
)
def test_a_classical_model_at_half_strength_is_the_model_of_half_the_deviation(
    model: NoiseModel, half: NoiseModel
) -> None:
    clean = torch.arange(256.0).repeat(64, 1)[None, None]  # black and white, where noise is clipped, too
    noise = randomness(1, 1, 64, 256)
    assert torch.equal(
        model.sample(clean, [S6], noise=noise, strength=0.5), half.sample(clean, [S6], noise=noise)
    )


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_a_flow_of_latents_at_another_strength_is_the_flow_with_that_level_of_noise(strength: float) -> None:
    model = tiny_model("compact")
    other = copy.deepcopy(model)
    other.flow.layers[-1].get_parameter("log_scale").data.sub_(math.log(strength))
    clean, noise = inputs(model, 40, 48)
    drawn = model.sample(clean, [A400], noise=noise, strength=strength)
    difference = (drawn - other.sample(clean, [A400], noise=noise)).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 0.001


def test_the_published_order_is_scaled_behind_the_generator() -> None:
    model = tiny_model("paper")
    clean, noise = inputs(model, 32, 32)
    code = model.encode([A400])
    once, thrice = model.steps(clean, code, noise), model.steps(clean, code, noise, 3.0)
    torch.testing.assert_close(thrice.noisy - clean, 3 * (once.noisy - clean), atol=0.01, rtol=1e-4)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("strength", [0.3, 1.0, 2.5])
def test_a_prepared_model_scales_as_the_model_itself(preset: str, strength: float) -> None:
    model = tiny_model(preset)
    clean, noise = inputs(model, 32, 48, batch=4)
    conditions = [A100, A400, B400, A1600]
    fast = prepare_for_synthesis(model, device="cpu")
    fast.sample(clean, conditions, noise=noise)  # what it keeps of another strength must not be taken
    drawn = fast.sample(clean, conditions, noise=noise, strength=strength)
    difference = (drawn - model.sample(clean, conditions, noise=noise, strength=strength)).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 0.001


def test_whole_photographs_take_every_level_at_twice_the_strength() -> None:
    model = prepare_for_synthesis(tiny_model("compact"), device="cpu")
    picture = np.clip(photograph(96, 96), 90, 160)  # far from black and white
    noises = [
        synthesize(model, picture, A100, seed=0, image_id="a", strength=scale).astype(int) - picture
        for scale in (1.0, 2.0)
    ]
    # up to what the tone curve does to stronger noise
    assert noises[1].std() == pytest.approx(2 * noises[0].std(), rel=0.1)
    # rounded noise times two would leave out every odd value
    odd = (noises[1] % 2 == 1).mean()
    assert odd == pytest.approx(0.5, abs=0.03)
