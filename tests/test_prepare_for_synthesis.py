"""A model prepared for synthesis draws the pictures that the model itself would."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nm_flowgan_fixtures import A100, A400, A1600, B400, inputs, one_of, tiny_model

from noisegen.conditions import Condition
from noisegen.errors import InputError
from noisegen.models import checkpoint_of_model, load_noise_model, prepare_for_synthesis
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.classical import Awgn
from noisegen.models.learning import ModelSizes
from noisegen.models.nm_flowgan.sizes import PRESETS

PRESET_NAMES = sorted(PRESETS)


def assert_alike(drawn: torch.Tensor, expected: torch.Tensor) -> None:
    difference = (drawn - expected).abs()
    assert drawn.shape == expected.shape and drawn.dtype == expected.dtype
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.001


@pytest.mark.parametrize("preset", PRESET_NAMES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(48, 64), (37, 53), (5, 3)])
def test_each_pixel_is_drawn_as_by_the_model_itself(
    preset: str, channels: int, height: int, width: int
) -> None:
    model = tiny_model(preset, channels=channels)
    fast = prepare_for_synthesis(model, device="cpu")
    clean, noise = inputs(model, height, width, batch=4)
    conditions = [A100, A400, B400, A1600]
    for index in range(4):
        part, part_noise = one_of(clean, noise, index)
        expected = model.sample(part, conditions[index : index + 1], noise=part_noise)
        assert_alike(fast.sample(part, conditions[index : index + 1], noise=part_noise), expected)
    assert_alike(fast.sample(clean, conditions, noise=noise), model.sample(clean, conditions, noise=noise))
    exact = conditions[:1] * 4
    assert_alike(fast.sample(clean, exact, noise=noise), model.sample(clean, exact, noise=noise))


ABLATIONS = [
    {"structure": False},
    {"signal": False},
    {"structure": False, "signal": False},
    {"generator": False},
    {"structure": False, "signal": False, "generator": False},
]


@pytest.mark.parametrize("preset", PRESET_NAMES)
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_a_model_without_some_of_its_parts_is_no_exception(
    preset: str, ablation: dict[str, bool], tmp_path: Path
) -> None:
    model = tiny_model(preset, **ablation)
    write_checkpoint(tmp_path / "model.safetensors", checkpoint_of_model("nm-flowgan", model, {}))
    read = load_noise_model(tmp_path / "model.safetensors")
    assert read.sizes == model.sizes
    clean, noise = inputs(model, 37, 53, batch=2)
    expected = model.sample(clean, [A400, B400], noise=noise)
    assert torch.equal(read.sample(clean, [A400, B400], noise=noise), expected)
    for precision in ("float32", "bfloat16"):
        fast = prepare_for_synthesis(read, device="cpu", precision=precision)
        drawn = fast.sample(clean, [A400, B400], noise=noise)
        if precision == "float32" or not model.sizes.generator:
            assert_alike(drawn, expected)


SIZES = [
    {"structure_stride": 1},
    {"period": 1},
    {"period": 1, "structure_stride": 1, "filter_size": 0},
    {"tone": False},
    {"tails": False, "intensity_knots": 0},
    {"structure_modulated": False, "flow_blocks": 2},
    {"shift": True},
    {"signal_norm": True},
    {"tone": False, "tails": False, "intensity_knots": 0, "structure": False, "signal": False, "period": 1},
    {"latent": False, "filter_size": 0, "tone": False, "tails": False},
]


@pytest.mark.parametrize("changes", SIZES, ids=lambda changes: ",".join(changes))
@pytest.mark.parametrize(("height", "width"), [(32, 48), (21, 35)])
def test_other_sizes_than_the_presets_are_no_exception(
    changes: dict[str, int | bool], height: int, width: int
) -> None:
    model = tiny_model("compact", **changes)
    fast = prepare_for_synthesis(model, device="cpu")
    clean, noise = inputs(model, height, width, batch=3)
    conditions = [A400, B400, A1600]
    assert_alike(fast.sample(clean, conditions, noise=noise), model.sample(clean, conditions, noise=noise))
    part, part_noise = one_of(clean, noise, 1)
    assert_alike(
        fast.sample(part, conditions[1:2], noise=part_noise),
        model.sample(part, conditions[1:2], noise=part_noise),
    )


@pytest.mark.parametrize("preset", ["paper", "hybrid"])
def test_wide_networks_are_no_exception(preset: str) -> None:
    model = tiny_model(preset, unet_width=64, unet_depth=2)
    fast = prepare_for_synthesis(model, device="cpu")
    for height, width in ((64, 64), (37, 53)):
        clean, noise = inputs(model, height, width)
        assert_alike(fast.sample(clean, [A400], noise=noise), model.sample(clean, [A400], noise=noise))


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_a_tile_comes_out_the_same_each_time_and_near_that_of_a_batch(preset: str) -> None:
    model = tiny_model(preset)
    clean, noise = inputs(model, 40, 56, batch=3)
    conditions = [A1600, A400, B400]
    together = prepare_for_synthesis(model, device="cpu").sample(clean, conditions, noise=noise)
    fast, again = (prepare_for_synthesis(model, device="cpu") for _ in range(2))
    for index in (2, 0, 1):
        part, part_noise = one_of(clean, noise, index)
        alone = fast.sample(part, conditions[index : index + 1], noise=part_noise)
        assert_alike(alone[0], together[index])
        assert torch.equal(again.sample(part, conditions[index : index + 1], noise=part_noise), alone)


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_neither_the_model_nor_its_inputs_are_changed(preset: str) -> None:
    model = tiny_model(preset, critic=True)
    weights = {name: values.clone() for name, values in model.state_dict().items()}
    clean, noise = inputs(model, 20, 30, batch=2)
    kept = clean.clone(), noise.normal.clone(), noise.uniform.clone()
    fast = prepare_for_synthesis(model, device="cpu", precision="bfloat16")
    fast.sample(clean, [A100, B400], noise=noise)
    assert all(map(torch.equal, kept, (clean, noise.normal, noise.uniform)))
    after = model.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], values) for name, values in weights.items())
    assert (fast.vocabulary, fast.channels, fast.bit_depth) == (model.vocabulary, 3, 8)


def test_bfloat16_stays_within_a_quarter_of_a_grey_level() -> None:
    # 16 bits, so that rounding to whole values hides nothing
    model = tiny_model("hybrid", bit_depth=16, unet_width=16)
    clean, noise = inputs(model, 64, 96, batch=2)
    expected = model.sample(clean, [A400, A1600], noise=noise)
    fast = prepare_for_synthesis(model, device="cpu", precision="bfloat16")
    difference = (fast.sample(clean, [A400, A1600], noise=noise) - expected) / 256
    assert 0 < difference.square().mean().sqrt() < 0.25
    assert difference.mean().abs() < 0.05


@pytest.mark.parametrize("preset", ["compact", "hybrid"])
@pytest.mark.parametrize("bit_depth", [12, 16])
def test_deep_pictures_are_drawn_as_by_the_model_itself(preset: str, bit_depth: int) -> None:
    model = tiny_model(preset, bit_depth=bit_depth)
    clean, noise = inputs(model, 37, 53)
    drawn = prepare_for_synthesis(model, device="cpu").sample(clean, [A400], noise=noise)
    difference = (drawn - model.sample(clean, [A400], noise=noise)).abs()
    # float32 keeps 24 bits, so a 16-bit value may round to a neighbour a little more often
    assert difference.max() <= 1 and (difference > 0).float().mean() < 0.03


def test_more_conditions_than_are_kept_still_come_out_right() -> None:
    model = tiny_model("compact")
    fast = prepare_for_synthesis(model, device="cpu")
    clean, noise = inputs(model, 6, 6)
    first = fast.sample(clean, [Condition("A", 100)], noise=noise)
    for iso in range(101, 400):
        fast.sample(clean, [Condition("A", iso)], noise=noise)
    assert torch.equal(fast.sample(clean, [Condition("A", 100)], noise=noise), first)


def test_an_unknown_condition_is_refused() -> None:
    model = tiny_model("compact")
    fast = prepare_for_synthesis(model, device="cpu")
    clean, noise = inputs(model, 8, 8)
    for condition in (Condition("C", 100), Condition("A", 6400)):
        with pytest.raises(InputError):
            fast.sample(clean, [condition], noise=noise)


def test_a_model_without_a_faster_form_comes_back_as_it_is() -> None:
    model = tiny_model("compact")
    awgn = Awgn.of(ModelSizes(), std=dict.fromkeys(model.vocabulary.known, (5.0,) * 3))
    assert prepare_for_synthesis(awgn, device="cpu") is awgn
