"""Pipelines: what a file may say, and how its steps run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from noisegen.cli import COMMANDS, main
from noisegen.errors import UsageError
from noisegen.models.registry import model_types
from noisegen.pipelines import Pipeline, read_pipeline, run_pipeline

ROOT = Path(__file__).parents[1]


def written(folder: Path, text: str) -> Path:
    path = folder / "p.yaml"
    path.write_text(text)
    return path


def read(folder: Path, text: str, **settings: str) -> Pipeline:
    return read_pipeline(written(folder, text), settings, COMMANDS)


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "noisegen", "run", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def save_photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)


def test_a_step_is_split_as_a_shell_would_or_given_as_a_list(tmp_path: Path) -> None:
    text = """
description: two steps
steps:
  - make-manifest 'my photos' -o m.parquet
  - [noisegen, build-dataset, m.parquet, --seed, 7]
"""
    assert read(tmp_path, text).steps == (
        ("make-manifest", "my photos", "-o", "m.parquet"),
        ("build-dataset", "m.parquet", "--seed", "7"),
    )


def test_a_variable_is_one_argument_and_can_be_set(tmp_path: Path) -> None:
    text = "variables: {PHOTOS: my photos, N: 1}\nsteps: ['make-manifest ${PHOTOS} -o runs/${N}.parquet']"
    assert read(tmp_path, text).steps == (("make-manifest", "my photos", "-o", "runs/1.parquet"),)
    assert read(tmp_path, text, N="$(x)").steps == (
        ("make-manifest", "my photos", "-o", "runs/$(x).parquet"),
    )


def test_steps_are_repeated_for_each_word_of_a_list(tmp_path: Path) -> None:
    text = """
variables: {SETS: one two}
steps:
  - for: SET
    in: ${SETS} three
    steps:
      - status runs/${SET}
      - {for: N, in: 1 2, steps: ["verify runs/${SET}/${N}"]}
  - status runs
"""
    steps = read(tmp_path, text, SETS="a").steps
    assert steps == (
        ("status", "runs/a"),
        ("verify", "runs/a/1"),
        ("verify", "runs/a/2"),
        ("status", "runs/three"),
        ("verify", "runs/three/1"),
        ("verify", "runs/three/2"),
        ("status", "runs"),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps: [status x]\nstages: []", "unknown key 'stages'"),
        ("steps: status x", "list of at least one"),
        ("steps: []", "list of at least one"),
        ("description: nothing", "list of at least one"),
        ("- status x", "needs the key 'steps'"),
        ("", "needs the key 'steps'"),
        ("steps: [{run: status}]", "step 1: a step is one command line"),
        ("steps: [status x, 'status ${WHERE}']", r"step 2: variable \$\{WHERE\} is not defined"),
        ("steps: [rm -rf x]", "'rm' is not a command; known: make-manifest"),
        ("steps: ['']", "an empty step"),
        ("steps: [{for: A, in: x, steps: [status y], also: z}]", "step 1: 'for' goes with 'in' and a list"),
        ("steps: [{for: A, in: x, steps: status y}]", "step 1: 'for' goes with 'in' and a list"),
        ("steps: [{for: A, in: [x], steps: [status y]}]", "step 1: 'in' must be a text of words"),
        ("steps: [{for: A, in: '${B}', steps: [status y]}]", r"step 1: variable \$\{B\} is not defined"),
        ("steps: [{for: A, in: x, steps: ['status ${B}']}]", r"step 1\.1: variable \$\{B\} is not defined"),
        ("variables: {A: 1}\nsteps: [{for: A, in: x, steps: [status y]}]", "hides the variable"),
        ('steps: ["status \'x"]', "close the quotes"),
        ("steps: [status x\n", "not valid YAML"),
        ("steps: [status x]\nvariables: [A]", "must map names"),
        ("steps: [status x]\nvariables: {A: true}", "'A' must be text or a number"),
        ("steps: [!!python/object/apply:os.system ['touch hacked']]", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_says_where(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)
    assert "p.yaml" in str(error.value)


def test_a_variable_that_is_not_there_cannot_be_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no variable 'SED'.*SEED"):
        read(tmp_path, "variables: {SEED: 1}\nsteps: [status x]", SED="2")


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["run", str(tmp_path / "none.yaml")])
    assert result.exit_code == 2
    assert "cannot read the pipeline" in result.stderr


def test_a_dry_run_prints_commands_that_can_be_typed_and_runs_nothing(tmp_path: Path) -> None:
    path = written(
        tmp_path, "variables: {P: my photos}\nsteps: ['make-manifest ${P} -o m.parquet', verify x]"
    )
    result = CliRunner().invoke(main, ["run", str(path), "--dry-run", "--set", "P=your photos"])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "noisegen make-manifest 'your photos' -o m.parquet",
        "noisegen verify x",
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.yaml"]


def test_steps_run_in_order_from_the_current_folder_and_are_announced(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "a.png")
    path = written(
        tmp_path, "description: demo\nsteps: [make-manifest photos -o m.parquet, run inner.yaml --dry-run]"
    )
    (tmp_path / "inner.yaml").write_text("steps: [status x]")
    result = run(tmp_path, path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "m.parquet").is_file()
    lines = result.stdout.splitlines()
    assert lines[:2] == ["demo", "[1/2] noisegen make-manifest photos -o m.parquet"]
    assert lines[-2:] == ["[2/2] noisegen run inner.yaml --dry-run", "noisegen status x"]


def test_recorded_failures_do_not_stop_a_pipeline_but_show_in_its_exit_code(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.png").touch()
    path = written(tmp_path, "steps: [make-manifest photos -o 1.parquet, make-manifest photos -o 2.parquet]")
    assert run(tmp_path, path).returncode == 3
    assert (tmp_path / "2.parquet").is_file()


def test_a_failing_step_stops_the_pipeline_with_its_exit_code(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "a.png")
    path = written(tmp_path, "steps: [make-manifest none -o 1.parquet, make-manifest photos -o 2.parquet]")
    result = run(tmp_path, path)
    assert result.returncode == 2
    assert "none is not a folder" in result.stderr
    assert not (tmp_path / "2.parquet").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the step is held up by a named pipe")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_running_step_and_no_other_starts(tmp_path: Path, number: int, code: int) -> None:
    save_photo(tmp_path / "photos" / "a.png")
    os.mkfifo(tmp_path / "wait.yaml")  # opening it for reading waits for a writer
    path = written(tmp_path, "steps: [run wait.yaml, make-manifest photos -o m.parquet]")
    process = subprocess.Popen(
        [sys.executable, "-m", "noisegen", "run", str(path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with (tmp_path / "wait.yaml").open("w"):  # returns when the step has opened it too
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        assert process.wait(timeout=30) == code
    assert not (tmp_path / "m.parquet").exists()


def test_a_step_killed_by_a_signal_gives_128_and_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "suicide"
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    pipeline = Pipeline(tmp_path, "", (("status", "x"), ("status", "y")))
    announced: list[str] = []
    assert run_pipeline(pipeline, announced.append).exit_code == 137
    assert announced == ["[1/2] noisegen status x"]


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.yaml")), ids=lambda path: path.name)
def test_the_pipelines_that_come_with_the_project_are_commands_that_can_be_given(path: Path) -> None:
    steps = read_pipeline(path, {}, COMMANDS).steps
    assert steps
    context = click.Context(main)
    for name, *arguments in steps:
        assert isinstance(main, click.Group)
        command = main.get_command(context, name)
        assert command is not None
        command.make_context(name, list(arguments))


def options(step: tuple[str, ...], name: str) -> list[str]:
    """The values of an option that may be repeated."""
    return [value for option, value in pairwise(step) if option == name]


@pytest.mark.parametrize("name", ["table1", "table1-small", "table3", "table3-small"])
def test_the_comparison_trains_every_type_of_model_and_scores_all_that_it_trains(name: str) -> None:
    steps = read_pipeline(ROOT / "pipelines" / f"{name}.yaml", {"OUT": "out"}, COMMANDS).steps
    trained = {
        options(step, "--model-type")[0]: options(step, "-o")[0]
        for step in steps
        if step[0] == "train-noise-model"
    }
    assert trained.keys() >= {*model_types()}
    assert all(path == f"out/{kind}.safetensors" for kind, path in trained.items())
    if name.startswith("table1"):
        [scoring] = [step for step in steps if step[0] == "eval-noise"]
        [against] = options(scoring, "--against")
        scored = {scoring[1], *(source.strip() for source in against.split(","))}
        assert scored >= {*trained.values(), "paired:out/neca-w.safetensors", "paired:out/naflow.safetensors"}
        return
    denoisers = [step for step in steps if step[0] == "train-denoiser"]
    drawn = [path for step in denoisers for path in options(step, "--noise-model")]
    assert set(drawn) == set(trained.values())
    alike = {
        tuple(options(step, name)[0] for name in ("--steps", "--recipe", "--layers") if options(step, name))
        for step in denoisers
    }
    assert len(alike) == 1
    scoring = next(step for step in steps if step[0] == "eval-denoiser")
    methods = [scoring[1], *options(scoring, "--beside")]
    assert {method.split("=")[0] for method in methods} == {"real", *trained}
    outputs = [Path(options(step, "-o")[0]) for step in denoisers]
    seeds = [path.stem.removeprefix("real-") for path in outputs if path.name.startswith("real-")]
    for kind, _, pattern in (method.partition("=") for method in methods):
        found = [path.stem for path in outputs if fnmatch(str(path), pattern)]
        assert found == [f"{kind}-{seed}" for seed in seeds]
