"""Validation during training: what is scored, what is kept, and that an interruption changes neither."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from training_fixtures import (
    STEPS,
    assert_same_state,
    assert_same_weights,
    recipe,
    shrink,
    train_nm_flowgan,
    two_cameras_marked,
    write_pair,
    write_table,
)

from noisegen.datasets.pairs import read_pairs
from noisegen.evaluation.noise_eval import evaluate_noise
from noisegen.fitting import trainer
from noisegen.fitting.validation import Validation, Validator, validation_pictures
from noisegen.images import read_image
from noisegen.models import load_noise_model, prepare_for_synthesis
from noisegen.models.checkpoint import read_checkpoint
from noisegen.models.nm_flowgan.model_type import NM_FLOWGAN
from noisegen.training.curves import write_curves
from noisegen.training.journal import read_journal


@pytest.fixture(autouse=True, scope="module")
def small_sizes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink(monkeypatch)
        yield


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return two_cameras_marked(tmp_path)


def train(table: Path, name: str, **changes: object) -> Path:
    output = table.parent / f"{name}.safetensors"
    assert train_nm_flowgan(table, output, recipe(**({"validate_every": 2} | changes)), quiet=True)
    return output


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a training that ran through, validated after 2, 4 and 6 steps."""
    return train(two_cameras_marked(tmp_path_factory.mktemp("whole")), "whole")


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Makes the validations of a training give these scores."""
    remaining = iter(scores)

    def score(self: Validator, model: object, step: int) -> Validation:
        return Validation(step, next(remaining), 0.0, (("A", 100, 0.0, 0.0),))

    monkeypatch.setattr(Validator, "score", score)


def weights_after(table: Path, steps: int) -> dict[str, torch.Tensor]:
    """The averaged weights after so many of `STEPS` steps, and the filter fitted to them."""
    training = trainer._Training(
        NM_FLOWGAN, read_pairs(table, split="train"), recipe(), 3, 8, "cpu", False, trainer.Ranks()
    )
    training.start(table.parent / "none", {})
    for step in range(steps):
        training.step(step)
    return training.settled(steps).state_dict()


@pytest.mark.parametrize(
    ("scores", "best"),
    [([3, 2, 1], 6), ([2, 1, 1], 4), ([float("nan"), 3, 4], 4)],
)
def test_the_weights_of_the_best_validation_become_the_model(
    table: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], best: int
) -> None:
    scripted(monkeypatch, scores)
    checkpoint = read_checkpoint(train(table, "model"))
    assert checkpoint.card["selection"]["step"] == best
    assert checkpoint.card["selection"]["kept"] == "best"
    for name, values in weights_after(table, best).items():
        assert torch.equal(checkpoint.tensors[name], values), name


def test_the_last_weights_become_the_model_where_that_is_wanted(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [1, 2, 3])
    checkpoint = read_checkpoint(train(table, "model", keep="last"))
    assert checkpoint.card["selection"] | {"conditions": None} == {
        "kept": "last",
        "split": "val",
        "step": STEPS,
        "kld_nm": 3,
        "acf_error": 0,
        "conditions": None,
    }
    for name, values in weights_after(table, STEPS).items():
        assert torch.equal(checkpoint.tensors[name], values), name


@pytest.mark.parametrize("preset", ["compact", "hybrid"])
def test_validation_does_not_change_the_training(table: Path, preset: str) -> None:
    validated, alone = (table.parent / f"{name}.safetensors" for name in ("validated", "alone"))
    config = recipe(preset, keep="last", validate_every=2)
    train_nm_flowgan(table, validated, config, quiet=True)
    train_nm_flowgan(table, alone, config, validate_split="", quiet=True)
    assert read_checkpoint(validated).card["selection"] is not None
    assert_same_weights(validated, alone)
    assert read_checkpoint(alone).card["selection"] is None


def test_the_scores_in_the_card_are_those_that_evaluation_finds(whole: Path) -> None:
    selection = read_checkpoint(whole).card["selection"]
    model = prepare_for_synthesis(load_noise_model(whole), device="cpu")
    rows = evaluate_noise(model, read_pairs(whole.with_name("pairs.csv"), split="val"), crop=512)
    expected = [
        [r.condition.camera, r.condition.iso, r.score.kld_nm, r.score.acf_error] for r in rows if r.score
    ]
    assert selection["conditions"] == [pytest.approx(row) for row in expected]
    assert selection["kld_nm"] == pytest.approx((expected[0][2] + expected[1][2]) / 2)
    assert selection["acf_error"] == pytest.approx((expected[0][3] + expected[1][3]) / 2)


def test_each_validation_is_logged_and_so_is_each_loss(whole: Path) -> None:
    values = read_journal(whole.with_name("whole.safetensors.train") / "log.csv")
    assert [step for step, _ in values["kld_nm"]] == [step for step, _ in values["acf_error"]] == [1, 3, 5]
    assert [step for step, _ in values["nll"]] == list(range(STEPS))


def test_few_pictures_of_each_condition_are_scored_spread_over_the_table(tmp_path: Path) -> None:
    rows = {f"a{n}": ("A", 100, "val") for n in range(7)} | {"b": ("B", 200, "val")}
    for name in rows:
        write_pair(tmp_path, name, 5, size=(64, 64))
    pairs = read_pairs(write_table(tmp_path, rows))
    assert [pair.name for pair in validation_pictures(pairs, 3)] == [
        "a1_noisy",
        "a3_noisy",
        "a5_noisy",
        "b_noisy",
    ]
    assert validation_pictures(pairs, 7) == validation_pictures(pairs, 20) == pairs


def test_the_central_squares_are_kept_beside_the_state(table: Path) -> None:
    train(table, "model", steps=2, validate_crop=64)
    folder = table.parent / "model.safetensors.train" / "validation"
    squares = [read_image(path) for path in sorted(folder.iterdir())]
    assert [square.shape for square in squares] == [(64, 64, 3)] * 4
    original = read_image(table.parent / "one_val_clean.png")
    assert (squares[0] == original[8:72, 16:80]).all()


KILLED = """
import os, signal, sys
from pathlib import Path
import pytest
from training_fixtures import recipe, shrink, train_nm_flowgan
from noisegen.fitting import trainer

shrink(pytest.MonkeyPatch())
table, moment, step = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if moment == "validated":
    validate = trainer._Training.validate
    def kill(self, validator, done):
        scores = validate(self, validator, done)
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return scores
    trainer._Training.validate = kill
if moment == "saved":
    save = trainer.save_state
    def kill(path, done, *rest):
        save(path, done, *rest)
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)
    trainer.save_state = kill
train_nm_flowgan(table, table.with_name("killed.safetensors"), recipe(validate_every=2), quiet=True)
"""


@pytest.mark.parametrize(("moment", "step"), [("validated", 4), ("saved", 6)])
def test_a_killed_training_ends_with_the_same_checkpoint(
    table: Path, whole: Path, moment: str, step: int
) -> None:
    paths = [str(Path(__file__).parent), str(Path(trainer.__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", KILLED, str(table), moment, str(step)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    killed = table.parent / "killed.safetensors"
    assert not killed.exists()
    train(table, "killed")
    assert_same_weights(killed, whole)
    assert read_checkpoint(killed).card["selection"] == read_checkpoint(whole).card["selection"]
    state, whole_state = (path.with_name(f"{path.name}.train") for path in (killed, whole))
    assert_same_state(state / "state.safetensors", whole_state / "state.safetensors")
    assert (state / "log.csv").read_text() == (whole_state / "log.csv").read_text()


def test_the_curves_are_a_picture_beside_the_checkpoint(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    draw = write_curves

    def record(log: Path, picture: Path, **options: Any) -> None:
        draw(log, picture, **options)
        drawn.append(len(log.read_text().splitlines()))

    monkeypatch.setattr(trainer, "write_curves", record)
    output = train(table, "model", steps=4)
    assert len(drawn) == 3 and drawn == sorted(drawn)
    picture = read_image(output.with_name("model.safetensors.curves.png"))
    assert min(picture.shape[:2]) > 300 and picture.std() > 5
    assert not list(table.parent.glob("*.tmp"))


def test_a_training_without_validation_leaves_curves_of_its_losses(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "write_curves", write_curves)
    output = table.parent / "model.safetensors"
    train_nm_flowgan(table, output, recipe(steps=2), validate_split="", quiet=True)
    assert output.with_name("model.safetensors.curves.png").stat().st_size > 10_000


def test_the_state_says_what_was_best_so_far(whole: Path) -> None:
    state = whole.with_name("whole.safetensors.train") / "state.safetensors"
    with safe_open(state, framework="pt") as file:
        notes = json.loads(file.metadata()["notes"])
    selection = read_checkpoint(whole).card["selection"]
    assert notes["best"].items() <= selection.items()
    assert notes["last"]["step"] == STEPS
