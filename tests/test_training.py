"""Training is a function of pairs, recipe and seed, whatever interrupts it."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_fixtures import (
    STEPS,
    assert_same_state,
    assert_same_weights,
    recipe,
    shrink,
    train_nm_flowgan,
    two_cameras,
    write_pair,
    write_table,
)

from noisegen.conditions import Condition
from noisegen.datasets.pairs import read_pairs
from noisegen.errors import NoisegenError, UsageError
from noisegen.fitting import trainer
from noisegen.fitting.selection import select_pairs
from noisegen.models import Randomness, load_noise_model
from noisegen.models.checkpoint import read_checkpoint
from noisegen.models.nm_flowgan import learner
from noisegen.models.nm_flowgan.model_type import NM_FLOWGAN
from noisegen.models.nm_flowgan.sizes import PRESETS
from noisegen.progress import Progress
from noisegen.training.distributed import Ranks

STATE = "state.safetensors"
PRESET_NAMES = sorted(PRESETS)


@pytest.fixture(autouse=True, scope="module")
def small_sizes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink(monkeypatch)
        yield


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return two_cameras(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model of each preset after a training that ran through."""
    table = two_cameras(tmp_path_factory.mktemp("whole"))
    return {preset: train(table, preset, preset) for preset in PRESET_NAMES}


def train(table: Path, name: str, preset: str = "compact", **changes: object) -> Path:
    output = table.parent / f"{name}.safetensors"
    assert train_nm_flowgan(table, output, recipe(preset, **changes), quiet=True)
    return output


def state_of(output: Path) -> Path:
    return output.with_name(output.name + ".train") / STATE


def losses_of(output: Path) -> dict[str, dict[int, float]]:
    losses: dict[str, dict[int, float]] = {}
    with (state_of(output).parent / "log.csv").open(newline="") as file:
        for step, name, value in csv.reader(file):
            steps = losses.setdefault(name, {})
            assert int(step) not in steps, "a step was logged twice"
            steps[int(step)] = float(value)
    return losses


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_the_same_seed_gives_the_same_model_bit_by_bit(
    table: Path, whole: dict[str, Path], preset: str
) -> None:
    again = train(table, "again", preset)
    assert_same_weights(again, whole[preset])
    assert_same_state(state_of(again), state_of(whole[preset]))


def test_another_seed_gives_another_model(table: Path, whole: dict[str, Path]) -> None:
    other = read_checkpoint(train(table, "other", seed=1)).tensors
    first = read_checkpoint(whole["compact"]).tensors
    assert not any(torch.equal(values, other[name]) for name, values in first.items())


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_an_interrupted_training_ends_as_if_it_had_run_through(
    table: Path, whole: dict[str, Path], monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    update = Progress.update

    def interrupt(self: Progress, n: int = 1, **fields: object) -> None:
        update(self, n, **fields)
        if self.done == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(table, "parts", preset)
    monkeypatch.setattr(Progress, "update", update)
    assert not (table.parent / "parts.safetensors").exists()
    parts = train(table, "parts", preset)
    assert_same_weights(parts, whole[preset])
    assert_same_state(state_of(parts), state_of(whole[preset]))
    assert losses_of(parts) == losses_of(whole[preset])


KILLED = """
import os, signal, sys
from pathlib import Path
import pytest
from training_fixtures import recipe, shrink, train_nm_flowgan
from noisegen.progress import Progress

update = Progress.update
def kill(self, n=1, **fields):
    update(self, n, **fields)
    if self.done == 4:
        os.kill(os.getpid(), signal.SIGKILL)
Progress.update = kill
shrink(pytest.MonkeyPatch())
table = Path(sys.argv[1])
train_nm_flowgan(table, table.with_name("killed.safetensors"), recipe("hybrid"), quiet=True)
"""


def test_a_killed_training_ends_as_if_it_had_run_through(table: Path, whole: dict[str, Path]) -> None:
    paths = [str(Path(__file__).parent), str(Path(trainer.__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.run([sys.executable, "-c", KILLED, str(table)], env=environment, check=False)
    assert process.returncode == -signal.SIGKILL
    killed = table.parent / "killed.safetensors"
    assert state_of(killed).exists() and not killed.exists()
    assert_same_weights(train(table, "killed", "hybrid"), whole["hybrid"])


def test_a_finished_model_is_left_as_it_is_and_never_overwritten_by_another(table: Path) -> None:
    output = train(table, "model", steps=2)
    before = output.read_bytes()
    assert not train_nm_flowgan(table, output, recipe(steps=2), quiet=True)
    with pytest.raises(UsageError, match="another recipe"):
        train_nm_flowgan(table, output, recipe(steps=2, batch=4), quiet=True)
    assert output.read_bytes() == before


def test_the_state_of_another_recipe_is_refused_and_the_difference_shown(table: Path) -> None:
    output = train(table, "model", steps=1)
    output.unlink()
    with pytest.raises(UsageError, match="batch: 3 -> 4; seed: 0 -> 7"):
        train_nm_flowgan(table, output, recipe(steps=1, batch=4, seed=7), quiet=True)


def test_the_state_of_other_pairs_is_refused(table: Path) -> None:
    output = train(table, "model", steps=1)
    output.unlink()
    write_pair(table.parent, "three", 3)
    write_table(table.parent, {"one": ("A", 100), "three": ("A", 100)})
    with pytest.raises(UsageError, match=r"other data \(training_pairs differ\)"):
        train_nm_flowgan(table, output, recipe(steps=1), quiet=True)
    (state_of(output).parent / "data.json").unlink()
    with pytest.raises(UsageError, match=r"state\.safetensors is of a model with other"):
        train_nm_flowgan(table, output, recipe(steps=1), quiet=True)


@pytest.mark.parametrize("damage", [b"", b"\x80\x02}q\x00.", "half"])
def test_a_damaged_state_is_refused_with_what_to_do(table: Path, damage: bytes | str) -> None:
    output = train(table, "model", steps=1)
    output.unlink()
    whole = state_of(output).read_bytes()
    state_of(output).write_bytes(damage if isinstance(damage, bytes) else whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"state\.safetensors is damaged .*delete it to start over"):
        train_nm_flowgan(table, output, recipe(steps=1), quiet=True)


def test_critic_and_adversarial_loss_join_at_their_step(whole: dict[str, Path]) -> None:
    losses = losses_of(whole["hybrid"])
    assert set(losses) == {"nll", "statistics", "quantiles", "critic", "generator"}
    for name in ("critic", "generator"):
        assert sorted(losses[name]) == list(range(2, STEPS))
    assert sorted(losses["nll"]) == list(range(STEPS))


def test_a_model_of_flow_and_filter_is_trained_by_its_likelihood_alone(whole: dict[str, Path]) -> None:
    losses = losses_of(whole["compact"])
    assert set(losses) == {"nll"} and sorted(losses["nll"]) == list(range(STEPS))
    table = read_checkpoint(whole["compact"]).tensors["correlation.table"]
    middle = table[:, :, 1, 1].unflatten(1, (12, 12))
    # both conditions' filters were fitted, and are of norm 1
    norms = table.unflatten(1, (12, 12)).square().sum(dim=(2, 3, 4))
    torch.testing.assert_close(norms[[0, 3]], torch.ones(2, 12))
    assert all((middle[row] != torch.eye(12)).any() for row in (0, 3))


def test_the_paper_recipe_steps_its_generator_once_in_several_critic_steps(whole: dict[str, Path]) -> None:
    losses = losses_of(whole["paper"])
    assert set(losses) == {"nll", "critic", "generator"}
    assert sorted(losses["critic"]) == list(range(STEPS))
    assert sorted(losses["generator"]) == sorted(losses["nll"]) == [1, 3, 5]


def test_the_generator_s_losses_do_not_move_the_flow(table: Path, whole: dict[str, Path]) -> None:
    full = read_checkpoint(whole["hybrid"])
    alone = read_checkpoint(train(table, "alone", "hybrid", adversarial=0.0, statistics=0.0, quantiles=0.0))
    moved = {
        name.split(".")[0] for name, t in full.tensors.items() if not torch.equal(t, alone.tensors[name])
    }
    assert moved == {"generator"}


def test_the_flow_s_gradient_is_that_of_its_likelihood_alone(table: Path) -> None:
    gradients = []
    for weight in (1.0, 0.0):
        config = recipe("hybrid", adversarial=weight, statistics=weight, quantiles=weight, adversarial_from=0)
        training = trainer._Training(NM_FLOWGAN, read_pairs(table), config, 3, 8, "cpu", False, Ranks())
        training.start(table.parent / "none", {})
        training.step(0)
        gradients.append([p.grad for p in training.model.flow.parameters()])
    assert all(map(torch.equal, *gradients))


def test_the_penalty_s_positions_are_drawn_from_0_to_1(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    loss = learner.critic_loss

    def record(
        score: object, real: object, fake: object, alpha: torch.Tensor, penalty: float
    ) -> torch.Tensor:
        assert alpha.shape == (3, 1, 1, 1)
        drawn.extend(alpha.flatten().tolist())
        return loss(score, real, fake, alpha, penalty)  # type: ignore[arg-type]

    monkeypatch.setattr(learner, "critic_loss", record)
    train(table, "model", "hybrid")
    assert len(drawn) == len(set(drawn)) == 3 * (STEPS - 2)
    assert min(drawn) >= 0 and max(drawn) <= 1
    assert min(drawn) < 0.25 and max(drawn) > 0.75


def test_the_flow_starts_at_the_spread_of_each_camera_s_noise(table: Path) -> None:
    model = load_noise_model(train(table, "model", steps=1, flow_lr=1e-9))
    clean = torch.full((2, 3, 96, 96), 128.0)
    noise = Randomness(torch.randn(clean.shape), torch.rand(clean.shape))
    conditions = [Condition("A", 100), Condition("B", 1600)]
    weak, strong = (model.sample(clean, conditions, noise=noise) - clean).std(dim=(1, 2, 3)).tolist()
    assert weak == pytest.approx(6, rel=0.15)
    assert strong == pytest.approx(15, rel=0.15)


def test_a_loss_that_is_not_finite_ends_the_training(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fake: torch.Tensor, real: torch.Tensor, *, variance: bool) -> torch.Tensor:
        return (fake * float("nan")).mean()

    monkeypatch.setattr(learner, "statistics_distance", broken)
    with pytest.raises(NoisegenError, match="loss statistics is nan at step 0"):
        train(table, "model", "hybrid")
    assert not state_of(table.parent / "model.safetensors").exists()


def test_the_card_says_what_the_model_was_trained_on(table: Path) -> None:
    output = table.parent / "model.safetensors"
    train_nm_flowgan(table, output, recipe(steps=1), licence="for tests only", quiet=True)
    checkpoint = read_checkpoint(output)
    assert checkpoint.vocabulary is not None
    assert checkpoint.vocabulary.known == (Condition("A", 100), Condition("B", 1600))
    assert checkpoint.card["licence"] == "for tests only"
    assert checkpoint.card["training_pairs"]["conditions"] == [["A", 100, 1], ["B", 1600, 1]]
    assert checkpoint.card["recipe"] == recipe(steps=1).to_dict()
    assert not any(name.startswith("critic") for name in checkpoint.tensors)


def test_grey_pairs_make_a_grey_model(tmp_path: Path) -> None:
    write_pair(tmp_path, "grey", 5, channels=1)
    output = train(write_table(tmp_path, {"grey": ("A", 100)}), "grey", steps=3)
    assert load_noise_model(output).channels == 1


def test_without_split_the_pairs_marked_for_training_are_used(table: Path) -> None:
    assert len(select_pairs(table).training) == 2
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0] + ",split", lines[1] + ",train", lines[2] + ",val"]) + "\n")
    assert [pair.name for pair in select_pairs(table).training] == ["one_noisy"]
    assert [pair.name for pair in select_pairs(table, split="val").training] == ["two_noisy"]
    assert len(read_pairs(table)) == 2
