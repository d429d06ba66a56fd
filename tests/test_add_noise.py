"""Noise for one photograph: that of a build, for every kind of picture, or an error that says what to give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthesis_fixtures import photograph, save_tiny_model, tiny_model

from noisegen import Condition, InputError, UsageError, add_noise
from noisegen.models import prepare_for_synthesis
from noisegen.synthesis.engine import synthesize


def test_the_noise_is_that_of_a_build_with_a_halo(tmp_path: Path) -> None:
    model, clean = save_tiny_model(tmp_path / "model.safetensors"), photograph(70, 300)
    noisy = add_noise(clean, camera="S6", iso=800, model=model, seed=4)
    fast = prepare_for_synthesis(tiny_model(), device="cpu")
    built = synthesize(fast, clean, Condition("S6", 800), seed=4, image_id="", halo=8)
    np.testing.assert_array_equal(noisy, built)
    other = add_noise(clean, camera="S6", iso=800, model=model, seed=5)
    assert (noisy != other).mean() > 0.5


def test_grey_pictures_of_twelve_bits_keep_their_shape_and_type(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "deep.safetensors", channels=1, bit_depth=12)
    clean = photograph(40, 50, channels=1, bits=16) // 16
    noisy = add_noise(clean, camera="N6", iso=400, model=model)
    assert noisy.shape == clean.shape and noisy.dtype == np.uint16 and noisy.max() < 4096
    flat = add_noise(clean[..., 0], camera="N6", iso=400, model=model)
    np.testing.assert_array_equal(flat, noisy[..., 0])


@pytest.mark.parametrize(
    "clean",
    [
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(clean: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"give uint8 or uint16 \[height, width, 1 or 3\]"):
        add_noise(clean, camera="S6", iso=800)


def test_a_seed_or_strength_that_makes_no_sense_is_refused() -> None:
    clean = np.zeros((8, 8, 3), np.uint8)
    for wrong in ({"strength": 0.0}, {"strength": float("nan")}, {"seed": -1}):
        with pytest.raises(UsageError, match=r"seed .* must be 0 or more, strength .* positive"):
            add_noise(clean, camera="S6", iso=800, **wrong)  # type: ignore[arg-type]
