"""`noisegen train-noise-model` refuses what it cannot train on before it begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from training_fixtures import recipe, shrink, two_cameras, write_pair

from noisegen.cli import main
from noisegen.fitting import trainer
from noisegen.models.checkpoint import read_checkpoint
from noisegen.models.nm_flowgan.recipes import RECIPES


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shrink(monkeypatch)
    return two_cameras(tmp_path)


def run(table: Path, *options: str) -> tuple[int, str]:
    output = str(table.parent / "m.safetensors")
    fixed = ["train-noise-model", str(table), "-o", output, "-q", "--device", "cpu", "--precision", "float32"]
    result = CliRunner().invoke(main, [*fixed, *options])
    return result.exit_code, result.output


@pytest.fixture
def untrained(table: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table with which no training may begin."""

    def begin(*_: object, **__: object) -> None:
        raise AssertionError("the training began")

    monkeypatch.setattr(trainer, "_Training", begin)
    return table


def test_a_missing_file_ends_the_command_before_training(untrained: Path) -> None:
    (untrained.parent / "two_clean.png").unlink()
    code, output = run(untrained)
    assert code == 2 and "two_clean.png" in output and "row 2" in output


def test_pictures_of_different_size_end_the_command_before_training(untrained: Path) -> None:
    write_pair(untrained.parent, "other", 5, size=(80, 97))
    (untrained.parent / "two_clean.png").write_bytes((untrained.parent / "other_clean.png").read_bytes())
    code, output = run(untrained)
    assert code == 2 and "96x80" in output and "97x80" in output


def test_an_unknown_column_ends_the_command_before_training(untrained: Path) -> None:
    untrained.write_text(untrained.read_text().replace("camera", "camra"))
    code, output = run(untrained)
    assert code == 2 and "'camra'" in output


def test_pairs_of_several_kinds_end_the_command_before_training(untrained: Path) -> None:
    write_pair(untrained.parent, "two", 5, channels=1)
    code, output = run(untrained)
    assert code == 2 and "several kinds" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bit-depth", "12"], "does not fit"),
        (["--split", "val"], "no 'split' column"),
        (["--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_options_that_do_not_fit_end_the_command_before_training(
    untrained: Path, options: list[str], message: str
) -> None:
    code, output = run(untrained, *options)
    assert code == 2 and message in output


def test_an_output_that_cannot_be_written_ends_the_command_before_training(untrained: Path) -> None:
    code, output = run(untrained, "-o", str(untrained / "model.safetensors"))
    assert code == 2 and "cannot be made" in output


def test_a_patch_larger_than_a_picture_is_refused(table: Path) -> None:
    code, output = run(table, "--patch", "96")
    assert code == 2 and "96x80, smaller than the 96 pixel patch" in output


def test_the_command_trains_and_tells_so(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "compact", replace(recipe(), steps=100))
    options = ["--steps", "2", "--batch", "3", "--seed", "5"]
    assert run(table, *options) == (0, f"{table.parent / 'm.safetensors'}: trained\n")
    recorded = read_checkpoint(table.parent / "m.safetensors").card["recipe"]
    assert (recorded["steps"], recorded["batch"], recorded["seed"], recorded["patch"]) == (2, 3, 5, 64)
    code, output = run(table, *options)
    assert code == 0 and "already trained" in output


def test_a_size_can_be_changed_and_stands_in_the_checkpoint(table: Path) -> None:
    code, _ = run(
        table,
        "--steps",
        "2",
        "--batch",
        "2",
        "--patch",
        "64",
        "--size",
        "structure_width=6",
        "--size",
        "tone=false",
    )
    assert code == 0
    read = read_checkpoint(table.parent / "m.safetensors")
    assert read.config["structure_width"] == 6 and read.config["tone"] is False
    assert read.card["recipe"]["sizes"] == {"structure_width": 6, "tone": False}


@pytest.mark.parametrize("size", ["structure_widht=6", "structure_width=six", "structure_width"])
def test_a_size_that_is_none_is_refused(untrained: Path, size: str) -> None:
    code, output = run(untrained, "--size", size)
    assert code == 2 and size.split("=")[0] in output


@pytest.mark.parametrize("option", [["--strategy", "joint"], ["--without", "flow"]])
def test_what_needs_a_generator_is_refused_without_one(untrained: Path, option: list[str]) -> None:
    code, output = run(untrained, *option)
    assert code == 2 and "--recipe hybrid" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model-type", "srgbflow", "--strategy", "joint"], "--strategy: not an option of srgbflow"),
        (["--model-type", "awgn", "--steps", "3"], "awgn is fitted, not trained in steps; leave out --steps"),
        (["--model-type", "naflow", "--recipe", "hybrid"], "it has: compact, paper"),
        (["--model-type", "c2nn"], "did you mean 'c2n'?"),
    ],
)
def test_what_a_type_does_not_take_is_refused(untrained: Path, options: list[str], message: str) -> None:
    code, output = run(untrained, *options)
    assert code == 2 and message in output


def test_a_fitted_type_is_saved_like_any_other_and_left_as_it_is(table: Path) -> None:
    options = ["--model-type", "correlated-gaussian"]
    assert run(table, *options) == (0, f"{table.parent / 'm.safetensors'}: trained\n")
    assert read_checkpoint(table.parent / "m.safetensors").kind == "correlated-gaussian"
    code, output = run(table, *options)
    assert code == 0 and "already trained" in output
    code, output = run(table, "--model-type", "awgn")
    assert code == 2 and "another recipe" in output
