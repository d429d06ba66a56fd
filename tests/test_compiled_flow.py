"""The compact model on compiled kernels: the model's own pictures, the same bits on every instruction set."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from nm_flowgan_fixtures import A100, A400, A1600, B400, inputs, one_of, tiny_model
from synthesis_fixtures import photograph

from noisegen import native
from noisegen.conditions import Condition
from noisegen.models import load_noise_model
from noisegen.models.nm_flowgan.compiled_flow import CompiledFlow
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.runtime import FusedNMFlowGAN
from noisegen.models.protocol import NoiseModel, Randomness
from noisegen.synthesis.engine import synthesize

COMPILED = native.compiled()
pytestmark = pytest.mark.skipif(not COMPILED, reason="no kernels were compiled for this CPU")

VARIANTS = [
    {},
    {"channels": 1},
    {"structure": False},
    {"signal": False},
    {"structure": False, "signal": False},
    {"tone": False},
    {"tails": False, "intensity_knots": 0},
    {"structure": False, "signal": False, "tone": False, "tails": False, "intensity_knots": 0},
    {"structure_stride": 1, "structure_width": 7},
    {"period": 1, "filter_size": 3},
    {"period": 1, "structure_stride": 1, "filter_size": 5},
    {"period": 1, "filter_size": 0},
    {"filter_size": 17, "structure_depth": 1, "signal_widths": (5,)},
    {"structure_modulated": False, "flow_blocks": 2},
    {"bit_depth": 12},
    {"bit_depth": 16, "channels": 1},
]
SIZES = [(48, 64), (37, 53), (1, 1), (5, 3), (2, 40), (33, 7)]


def fused(model: NMFlowGAN, name: str, monkeypatch: pytest.MonkeyPatch) -> FusedNMFlowGAN:
    """The model on the kernels of one instruction set."""
    with monkeypatch.context() as patch:
        patch.setattr(native, "library", lambda: native.load(name))
        return FusedNMFlowGAN(model, "cpu")


def unrounded(
    fast: FusedNMFlowGAN, clean: torch.Tensor, condition: Condition, noise: Randomness, strength: float = 1.0
) -> torch.Tensor:
    constants = fast.constants_of((condition,), strength)
    assert isinstance(constants.fused, CompiledFlow)
    return fast.from_latents(clean, noise, constants)


def assert_near(drawn: torch.Tensor, expected: torch.Tensor, model: NMFlowGAN) -> None:
    """As near as float32 is to float64 here: noise has 10 to 30 grey levels."""
    levels = model.sizes.levels
    difference = (drawn.clamp(0, levels) - expected.clamp(0, levels)) / model.sizes.grey
    assert difference.square().mean().sqrt() < 1e-4
    assert difference.abs().max() < 3e-3


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: ",".join(map(str, changes)) or "compact")
def test_values_before_rounding_are_those_of_the_model_itself(
    changes: dict[str, int | bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On all variants of the model, of all sizes, with an interpolated ISO and another strength."""
    model = tiny_model("compact", **changes)
    kernels = [fused(model, name, monkeypatch) for name in COMPILED]
    for height, width in SIZES:
        clean, noise = inputs(model, height, width)
        for condition, strength in ((A400, 1.0), (B400, 1.7)):
            with torch.inference_mode():
                expected = model.steps(clean, model.encode([condition]), noise, strength).noisy
            drawn = [unrounded(fast, clean, condition, noise, strength) for fast in kernels]
            assert_near(drawn[0], expected, model)
            # and the same bits on each instruction set
            assert all(torch.equal(drawn[0], other) for other in drawn[1:])


def test_a_hybrid_model_takes_its_filter_and_flow_from_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("hybrid")
    fast = fused(model, COMPILED[0], monkeypatch)
    clean, noise = inputs(model, 37, 53)
    with torch.inference_mode():
        expected = model.steps(clean, model.encode([A1600]), noise).noisy
    assert_near(unrounded(fast, clean, A1600, noise), expected, model)


def test_a_filter_larger_than_the_kernels_take_is_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("compact", filter_size=19)
    fast = fused(model, COMPILED[0], monkeypatch)
    clean, noise = inputs(model, 44, 40)
    assert fast.kernels is None
    difference = fast.sample(clean, [A100], noise=noise) - model.sample(clean, [A100], noise=noise)
    assert difference.abs().max() <= 1


def test_pictures_of_a_batch_are_drawn_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("compact")
    fast = fused(model, COMPILED[0], monkeypatch)
    clean, noise = inputs(model, 21, 34, batch=3)
    conditions = [A1600, A100, B400]
    together = fast.sample(clean, conditions, noise=noise, strength=0.5)
    for index, condition in enumerate(conditions):
        part, part_noise = one_of(clean, noise, index)
        alone = fast.sample(part, [condition], noise=part_noise, strength=0.5)
        assert torch.equal(alone[0], together[index])


def test_threads_do_not_disturb_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = fused(tiny_model("compact"), COMPILED[0], monkeypatch)
    pictures = [inputs(fast.model, 64, 64, seed=seed) for seed in range(8)]

    def draw(index: int) -> torch.Tensor:
        clean, noise = pictures[index % 8]
        return fast.sample(clean, [(A100, A400, B400)[index % 3]], noise=noise)

    expected = [draw(index) for index in range(24)]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(torch.equal, pool.map(draw, range(24)), expected))


def test_values_beyond_the_bit_depth_stay_inside_the_intensity_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory is read beside the curve's table; the noise there is that of the curve's end."""
    model = tiny_model("compact")
    fast = fused(model, COMPILED[0], monkeypatch)
    clean, noise = inputs(model, 16, 16)
    for value in (-1e9, 1e9, float("nan")):
        drawn = fast.sample(torch.full_like(clean, value), [A100], noise=noise)
        assert drawn.shape == clean.shape


PICTURES = """
import hashlib, sys
from noisegen import native
from noisegen.conditions import Condition
from noisegen.models import load_noise_model, prepare_for_synthesis
from noisegen.synthesis.engine import synthesize
from synthesis_fixtures import photograph
model = prepare_for_synthesis(load_noise_model(), device="cpu")
noisy = synthesize(model, photograph(64, 75), Condition("S6", 300), seed=5, image_id="a")
print(native.instruction_set(), hashlib.sha256(noisy.tobytes()).hexdigest())
"""


@pytest.mark.skipif("avx2" not in COMPILED, reason="for CPUs with AVX2")
def test_the_embedded_model_draws_the_same_pictures_in_a_process_limited_to_avx2() -> None:
    here = synthesize(
        FusedNMFlowGAN(load_noise_model(), "cpu"),
        photograph(64, 75),
        Condition("S6", 300),
        seed=5,
        image_id="a",
    )
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    limited = os.environ | {"OPENCV_CPU_DISABLE": "AVX512-SKX", "PYTHONPATH": paths}
    out = subprocess.run(
        [sys.executable, "-c", PICTURES], env=limited, capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == ["avx2", hashlib.sha256(here.tobytes()).hexdigest()]


def test_without_compiled_kernels_the_same_pictures_come_from_pytorch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def draw(model: NoiseModel) -> np.ndarray:
        return synthesize(model, photograph(90, 70), Condition("S6", 800), seed=1, image_id="a").astype(int)

    model = load_noise_model()
    compiled = draw(FusedNMFlowGAN(model, "cpu"))
    monkeypatch.setattr(native, "library", lambda: None)
    plain = FusedNMFlowGAN(model, "cpu")
    assert plain.kernels is None
    difference = np.abs(draw(plain) - compiled)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.001
