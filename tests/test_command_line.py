"""What all commands have in common: help, how much is said, hints, colours, and JSON on stdout."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner, Result
from denoiser_fixtures import random_denoiser
from model_fixtures import table_of_pairs
from synthesis_fixtures import Workplace, make_workplace

from noisegen.cli import COMMANDS, HEADINGS, main
from noisegen.cli.command import Command
from noisegen.cli.help import split_examples
from noisegen.synthesis import trial

ROOT = Path(__file__).parents[1]
# commands that print no numbers
WITHOUT_JSON = {"completion", "serve"}
# what an example begins with
STARTS = r"(torchrun [\w -]+ -m )?noisegen "


def commands() -> Iterator[tuple[str, Command]]:
    context = click.Context(main)
    for name in COMMANDS:
        found = main.get_command(context, name)
        assert isinstance(found, Command), f"{name} is to have cls=Command, which gives it -q and -v"
        yield name, found


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a command writes to a terminal."""
    reader, writer = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "noisegen", *arguments],
        stdout=writer,
        stderr=writer,
        env={**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm", **environment},
        cwd=ROOT,
        check=False,
    )
    os.close(writer)
    shown = b""
    try:
        while part := os.read(reader, 65536):
            shown += part
    except OSError:  # how a pseudo-terminal ends on Linux
        pass
    os.close(reader)
    return shown.decode()


def test_every_command_ends_its_help_with_examples_of_one_shape() -> None:
    for name, command in commands():
        examples = split_examples(command.help or "")[1]
        assert examples, name
        assert all(re.match(f"{STARTS}{name}( |$)", line) for line in examples), (name, examples)
        assert not re.search(r"(?m)^\s*Examples?:", split_examples(command.help or "")[0]), name
        shown = command.get_help(click.Context(command, info_name=name))
        assert shown.endswith("Examples:\n  " + "\n  ".join(examples)), name
        assert "-q, --quiet" in shown and "-v, --verbose" in shown, name


def test_the_list_of_commands_has_each_under_one_heading_and_examples() -> None:
    shown = invoke("--help").output
    placed = [name for names in HEADINGS.values() for name in names]
    assert len(placed) == len(set(placed))
    for name, (_, text) in COMMANDS.items():
        assert re.search(rf"(?m)^  {name} +{re.escape(text.split()[0])}", shown), name
    assert [line for line in shown.splitlines() if re.match(r"\w.*:$", line)] == [
        "Options:",
        *(f"{heading}:" for heading, names in HEADINGS.items() if set(names) & set(COMMANDS)),
        "Other:",
        "Examples:",
    ]


def test_colours_are_for_terminals_only_and_can_be_refused() -> None:
    coloured = on_a_terminal("verfy")
    assert "\x1b[31m" in coloured and "did you mean 'verify'?" in coloured
    assert "\x1b[1mExamples:" in on_a_terminal("--help")
    assert "\x1b" not in on_a_terminal("verfy", NO_COLOR="1") + on_a_terminal("--help", NO_COLOR="1")
    piped = subprocess.run(
        [sys.executable, "-m", "noisegen", "verfy"], capture_output=True, cwd=ROOT, check=False
    )
    assert piped.returncode == 2 and b"\x1b" not in piped.stdout + piped.stderr


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("buld-dataset m -o x", "no such command buld-dataset; did you mean 'build-dataset'?"),
        ("status x --jsn", "no such option --jsn; did you mean '--json'?"),
        ("build-dataset m -o x --format webdatset", "did you mean 'webdataset'?"),
        ("export d -o x --format folders --layout Restormer", "did you mean 'restormer'?"),
        ("train-noise-model pairs.csv -o x --model-type srgbflo", "did you mean 'srgbflow'?"),
        ("train-noise-model pairs.csv -o x --recipe papper", "did you mean 'paper'?"),
        ("train-noise-model pairs.csv -o x --without gann", "did you mean 'gan'?"),
        ("train-noise-model pairs.csv -o x --size structure_widht=4", "did you mean 'structure_width'?"),
        ("train-noise-model pairs.csv -o x --split trian", "did you mean 'train'?"),
        ("train-noise-model pairs.csv -o x --model-type awgn --camera s6", "did you mean 'S6'?"),
        ("check-pairs pair.csv", "did you mean 'pairs.csv'?"),
        ("check-pairs columns.csv", "did you mean 'noisy_path'?"),
        ("build-dataset manifst.parquet -o x", "did you mean 'manifest.parquet'?"),
        ("build-dataset manifest.parquet -o x --camera s66", "did you mean 'S6'?"),
        ("build-dataset manifest.parquet -o x --model modl.safetensors", "did you mean 'model.safetensors'?"),
        ("make-manifest photoz/here -o x.parquet", "did you mean 'photos/here'?"),
        ("status datset", "did you mean 'dataset'?"),
        ("run steps.yaml --set SED=1", "did you mean 'SEED'?"),
        ("run step.yaml", "did you mean 'steps.yaml'?"),
        ("eval-noise default pairs.csv --split '' --against awng", "did you mean 'awgn'?"),
    ],
)
def test_what_was_mistyped_is_named(
    line: str, hint: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 2
    assert result.stdout == ""
    first = result.stderr.splitlines()[0]
    assert first.startswith("noisegen: ") and hint in first


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that are nearly named on the command lines above."""
    folder = tmp_path_factory.mktemp("home")
    make_workplace(folder, photographs=1)
    for name in ("photos/here", "dataset"):
        (folder / name).mkdir(parents=True)
    row = "photo0.png,photo0.png,S6,100,train"
    (folder / "pairs.csv").write_text(f"noisy_path,clean_path,camera,iso,split\n{row}\n")
    (folder / "columns.csv").write_text(f"noisy,clean_path,camera,iso,split\n{row}\n")
    (folder / "steps.yaml").write_text("variables: {SEED: 0}\nsteps: [status dataset]\n")
    return folder


def test_nothing_is_guessed_for_what_is_like_nothing(tmp_path: Path) -> None:
    for arguments in (["xyzzy"], ["status", "--xyzzy"], ["status", tmp_path / "nowhere" / "xyzzy"]):
        result = invoke(*arguments)
        assert result.exit_code == 2 and "did you mean" not in result.stderr


def test_a_usage_error_says_where_the_help_is() -> None:
    result = CliRunner().invoke(main, "verify", prog_name="noisegen")
    assert result.stderr == "noisegen: missing argument 'DATASET'\n`noisegen verify --help` says more\n"
    result = CliRunner().invoke(main, "status x --watch", prog_name="noisegen")
    assert result.stderr.endswith("`noisegen status --help` says more\n")


def test_quiet_says_nothing_and_verbose_says_what_is_done(home: Path, tmp_path: Path) -> None:
    place = Workplace(home)
    quiet = invoke(*place.arguments(tmp_path / "a", "-q", "--json"))
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    verbose = invoke(*place.arguments(tmp_path / "b", "--verbose"))
    for said in ("model.safetensors, sha256", "kernels", "workers", "shard 000000 written", "is complete"):
        assert said in verbose.stderr
    again = invoke(*place.arguments(tmp_path / "c"))
    assert "written" not in again.stderr, "the handler of --verbose stays"
    failed = invoke("status", tmp_path / "d", "-v")
    assert "Traceback" in failed.stderr and failed.stderr.splitlines()[-1].startswith("noisegen: ")
    assert "Traceback" not in invoke("status", tmp_path / "d").stderr
    assert "exclude each other" in invoke("status", tmp_path / "d", "-q", "-v").stderr


def test_every_command_that_prints_numbers_has_json() -> None:
    without = {name for name, command in commands() if not any("--json" in p.opts for p in command.params)}
    assert without <= WITHOUT_JSON
    printed = invoke("completion", "bash").stdout
    assert "complete" in printed


def test_stdout_is_one_json_document_whatever_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs each command that has --json, the output of one being the input of the next."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial, "TIMED_SECONDS", 0.2)
    (tmp_path / "pairs").mkdir()
    make_workplace(tmp_path, photographs=2)
    table = table_of_pairs(tmp_path / "pairs")
    for side in ("noisy", "clean"):
        (tmp_path / "shots" / side).mkdir(parents=True)
        (tmp_path / f"pairs/A100_{side}.png").rename(tmp_path / f"shots/{side}/A100_{side}.png")
        (tmp_path / f"pairs/A100_{side}.png").symlink_to(tmp_path / f"shots/{side}/A100_{side}.png")
        (tmp_path / f"shots/{side}/1.png").symlink_to(tmp_path / f"shots/{side}/A100_{side}.png")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").symlink_to(tmp_path / "photo0.png")
    (tmp_path / "photos/broken.png").touch()
    (tmp_path / "steps.yaml").write_text("steps: [status set, status joined]")
    denoiser = {
        f"denoiser.dncnn.{k.removeprefix('body.')}": v for k, v in random_denoiser().state_dict().items()
    }
    torch.save({"model_weight": {"denoiser": denoiser}}, "official.pth")
    small = "--layers 4 --width 6 --steps 2 --batch 2 --patch 16 --validate-split '' --device cpu"
    lines = {
        "make-manifest": "photos -o made.parquet",
        "plan": "manifest.parquet --model model.safetensors --tile-size 64",
        "build-dataset": "manifest.parquet -o set --model model.safetensors --tile-size 64 --profile",
        "status": "set",
        "verify": "set --remake 1",
        "retry-failed": "set --dry-run",
        "export": "set -o copy --format parquet",
        "merge": "set other -o joined",
        "make-pairs": "shots --layout folders --camera A --iso 100 -o listed.csv",
        "check-pairs": str(table),
        "train-noise-model": f"{table} -o awgn.safetensors --model-type awgn",
        "eval-noise": f"awgn.safetensors {table} --split '' --fit-split '' --against ''",
        "train-denoiser": f"{table} -o denoiser.safetensors {small}",
        "eval-denoiser": f"denoiser.safetensors {table} --device cpu",
        "denoise": "photo0.png -o denoised --denoiser denoiser.safetensors --device cpu",
        "import-checkpoint": "official.pth -o imported.safetensors",
        "run": "steps.yaml",
    }
    other = "build-dataset manifest.parquet -o other --model model.safetensors --tile-size 64 --seed 1 -q"
    assert CliRunner().invoke(main, other).exit_code == 0
    documents = {}
    for name, line in lines.items():
        result = CliRunner().invoke(main, f"{name} {line} --json")
        assert result.exit_code in (0, 3), f"{name}: {result.output}"
        documents[name] = json.loads(result.stdout)
        for said in result.stderr.splitlines():
            assert not said.startswith("{") or json.loads(said)["event"] == "progress"
    having = {name for name, command in commands() if any("--json" in p.opts for p in command.params)}
    assert having - lines.keys() <= {"preview", "report"}, "their own tests look at these"
    assert documents["build-dataset"]["tiles"] == documents["export"]["tiles"] == documents["status"]["tiles"]
    assert documents["make-manifest"]["skipped"] and documents["make-pairs"]["pairs"] == 1
    assert documents["train-denoiser"]["trained"] and documents["train-denoiser"]["kind"] == "dncnn"
    assert documents["denoise"] == {"output": "denoised", "denoised": 1, "skipped": 0, "failed": []}
    steps = documents["run"]["steps"]
    assert [step["exit_code"] for step in steps] == [0, 0]
    assert 2 * steps[0]["result"]["tiles"] == steps[1]["result"]["tiles"]
    watched = CliRunner().invoke(main, "status set --watch 1 --json").stdout
    assert watched.count("\n") == 1 and json.loads(watched)["tiles"]
