"""16-bit arithmetic changes noise by less than one sees or measures."""

from __future__ import annotations

import pytest
import torch
from nm_flowgan_fixtures import inputs, tiny_model
from precision_fixtures import assert_within_bounds

from noisegen.models import load_noise_model, prepare_for_synthesis


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("preset", ["paper", "hybrid"])
def test_noise_of_a_generator_stays_within_the_bounds(preset: str, precision: str) -> None:
    assert_within_bounds(tiny_model(preset, unet_width=16), precision, "cpu")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_embedded_model_is_the_same_in_every_precision(precision: str) -> None:
    model = load_noise_model()
    clean, noise = inputs(model, 48, 64)
    exact, other = (
        prepare_for_synthesis(model, device="cpu", precision=name).sample(
            clean, [model.vocabulary.known[0]], noise=noise
        )
        for name in ("float32", precision)
    )
    assert torch.equal(exact, other)
