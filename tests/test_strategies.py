"""What each strategy and each ablation moves, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from training_fixtures import STEPS, recipe, shrink, train_nm_flowgan, two_cameras

from noisegen.datasets.pairs import read_pairs
from noisegen.errors import UsageError
from noisegen.fitting import trainer
from noisegen.models import load_noise_model
from noisegen.models.nm_flowgan.layers import ConditionalLinear
from noisegen.models.nm_flowgan.model_type import NM_FLOWGAN
from noisegen.models.nm_flowgan.recipes import RECIPES, NMFlowGANRecipe
from noisegen.models.nm_flowgan.schedule import turn_at
from noisegen.models.nm_flowgan.sizes import PRESETS
from noisegen.training.distributed import Ranks


@pytest.fixture(autouse=True, scope="module")
def small_sizes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink(monkeypatch)
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_cameras(tmp_path_factory.mktemp("pairs"))


def begin(table: Path, config: NMFlowGANRecipe) -> trainer._Training:
    training = trainer._Training(NM_FLOWGAN, read_pairs(table), config, 3, 8, "cpu", False, Ranks())
    training.start(table.parent / "none", {})
    return training


def moved_by(training: trainer._Training, step: int) -> set[str]:
    """The networks that a step changes."""
    networks = nn.ModuleDict({**dict(training.model.named_children()), **training.learner.networks})
    before = {name: values.clone() for name, values in networks.named_parameters()}
    training.step(step)
    after = networks.named_parameters()
    return {name.split(".")[0] for name, values in after if not torch.equal(values, before[name])}


def flow_gradients(training: trainer._Training) -> list[torch.Tensor]:
    training.step(0)
    return [p.grad for p in training.model.flow.parameters() if p.grad is not None]


@pytest.mark.parametrize("preset", ["hybrid", "paper"])
def test_only_in_joint_training_do_the_generator_s_losses_reach_the_flow(table: Path, preset: str) -> None:
    for strategy, reached in (("simultaneous", False), ("joint", True)):
        gradients = []
        for weight in (1.0, 0.0):
            losses = {"adversarial": weight, "statistics": weight, "quantiles": weight}
            config = recipe(preset, adversarial_from=0, generator_every=1, strategy=strategy, **losses)
            gradients.append(flow_gradients(begin(table, config)))
        alike = [torch.allclose(*pair, rtol=1e-4, atol=1e-6) for pair in zip(*gradients, strict=True)]
        assert all(alike) != reached
        assert any(not same for same in alike) == reached


def test_joint_training_moves_all_networks_at_once(table: Path) -> None:
    training = begin(table, recipe("hybrid", strategy="joint", adversarial_from=0))
    assert moved_by(training, 0) == {"flow", "generator", "critic"}


@pytest.mark.parametrize("preset", ["hybrid", "paper"])
def test_in_two_stages_the_flow_comes_first_and_then_stays_as_it_is(table: Path, preset: str) -> None:
    config = recipe(preset, strategy="two-stage", flow_share=0.4, steps=5, generator_every=1)
    training = begin(table, replace(config, adversarial_from=0))
    assert [moved_by(training, step) for step in range(5)] == [{"flow"}] * 2 + [{"generator", "critic"}] * 3
    buffers = {name: values.clone() for name, values in training.model.flow.named_buffers()}
    training.step(4)
    assert all(torch.equal(v, buffers[name]) for name, v in training.model.flow.named_buffers())


def test_the_rates_run_through_their_schedule_in_each_stage() -> None:
    config = replace(RECIPES["paper"], strategy="two-stage", flow_share=0.5)
    rates = [turn_at(config, step, 16).rate for step in range(16)]
    assert rates == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125] * 2
    at_once = [turn_at(RECIPES["paper"], step, 8).rate for step in range(8)]
    assert at_once == rates[:8]


def test_in_two_stages_the_critic_waits_for_the_generator() -> None:
    config = recipe("hybrid", strategy="two-stage", flow_share=0.5, adversarial_from=2)
    assert [turn_at(config, step, 8).critic for step in range(8)] == [False] * 4 + [True] * 4
    assert [turn_at(config, step, 8).flow for step in range(8)] == [True] * 4 + [False] * 4


ABLATIONS = {
    "sal": {"SignalDependent", "ConditionalLinear"},
    "sdl": {"StructureAware", "ConditionalLinear"},
    "sal,sdl": {"ConditionalLinear"},
    "gan": {"StructureAware", "SignalDependent", "ConditionalLinear"},
    "flow": {"ConditionalLinear"},
}


@pytest.mark.parametrize("preset", ["hybrid", "paper"])
@pytest.mark.parametrize("without", ABLATIONS)
def test_an_ablation_trains_what_is_left_and_its_checkpoint_says_what_that_is(
    table: Path, preset: str, without: str, tmp_path: Path
) -> None:
    config = recipe(preset, without=tuple(without.split(",")), steps=3)
    output = tmp_path / "model.safetensors"
    train_nm_flowgan(table, output, config, quiet=True)
    model = load_noise_model(output)
    layers = set(ABLATIONS[without])
    if PRESETS[preset].intensity_knots and without in ("sal", "gan"):
        layers.add("IntensityCurve")
    assert {type(layer).__name__ for layer in model.flow.layers} == layers
    assert (model.generator is None) == (without == "gan")
    logged = {line.split(",")[1] for line in (tmp_path / "model.safetensors.train/log.csv").open()}
    assert ("nll" in logged) == (without != "flow")
    assert ("critic" in logged) == (without != "gan")


def test_without_a_flow_the_generator_gets_noise_of_one_level_that_is_never_trained(table: Path) -> None:
    training = begin(table, recipe("hybrid", without=("flow",), adversarial_from=0))
    (layer,) = training.model.flow.layers
    assert isinstance(layer, ConditionalLinear)
    assert layer.log_scale.unique().numel() == 1 and (layer.bias is None or not layer.bias.any())
    # noise of 6 and 15 grey levels in the two pictures, drawn about equally often
    level = 256 * (-layer.log_scale.detach()).exp().mean().item()
    assert level == pytest.approx(((6**2 + 15**2) / 2) ** 0.5, rel=0.2)
    assert moved_by(training, 0) == {"generator", "critic"}


def test_without_a_generator_only_the_flow_is_trained(table: Path) -> None:
    training = begin(table, recipe("hybrid", without=("gan",), adversarial_from=0, steps=STEPS))
    assert not training.learner.networks
    assert moved_by(training, 0) == {"flow"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"without": ("sal", "ssl")}, "cannot train without 'ssl'"),
        ({"without": ("flow", "gan")}, "nothing to train"),
        ({"without": ("gan",), "strategy": "joint"}, "needs the flow and the generator"),
        ({"strategy": "alternating"}, "unknown strategy 'alternating'"),
        ({"strategy": "two-stage", "flow_share": 1.0}, "between 0 and 1"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe("hybrid", **changes)


@pytest.mark.parametrize(
    "changes", [{"strategy": "two-stage"}, {"strategy": "joint"}, {"without": ("flow",)}]
)
def test_what_needs_a_generator_is_refused_where_there_is_none(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"has no generator.*use --recipe hybrid or paper"):
        recipe("compact", **changes)


def test_a_shorter_recipe_keeps_its_proportions() -> None:
    config = replace(RECIPES["compact"], steps=3000, adversarial_from=2000)
    assert config.lasting(300).adversarial_from == 200
    assert config.lasting(300).steps == 300
