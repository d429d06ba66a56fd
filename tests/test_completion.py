"""What shells complete, by click's protocol and in a real bash; it must be quick, so torch stays out."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.shell_completion import get_completion_class
from click.testing import CliRunner
from synthesis_fixtures import save_tiny_model

from noisegen.cli import COMMANDS, main
from noisegen.models.checkpoint import read_checkpoint, read_vocabulary
from noisegen.models.registry import model_types

ROOT = Path(__file__).parents[1]
SHELLS = ("bash", "zsh", "fish")


def offered(line: str) -> list[str]:
    """What is offered for the last word of a line; a type other than plain stands for the shell's own listing."""
    *words, last = line.split(" ")
    kind = get_completion_class("bash")
    assert kind is not None
    items = kind(main, {}, "noisegen", "_NOISEGEN_COMPLETE").get_completions(words, last)
    return [item.value if item.type == "plain" else f"<{item.type}>" for item in items]


def test_commands_options_choices_and_paths_are_offered() -> None:
    assert offered("eval-") == ["eval-noise", "eval-denoiser"]
    assert set(offered("")) >= {*COMMANDS}
    assert offered("build-dataset --png") == ["--png-level"]
    assert offered("export d -o x --format h") == ["hdf5"]
    assert offered("train-noise-model --model-type na") == ["naflow"]
    assert offered("train-noise-model --model-type ") == model_types()
    assert offered("completion ") == list(SHELLS)
    for line in (
        "build-dataset man",
        "build-dataset m -o ",
        "make-manifest p",
        "eval-noise default pa",
        "eval-denoiser d",
        "train-denoiser d",
        "run p",
    ):
        assert offered(line) == ["<file>"], line


def test_cameras_and_iso_settings_are_those_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "tiny.safetensors")
    default = read_vocabulary("default")
    assert default is not None
    assert offered("build-dataset m --camera ") == list(default.cameras)
    assert offered("build-dataset m --model tiny.safetensors --camera ") == ["N6", "S6"]
    assert offered("plan m --model tiny.safetensors --camera=S") == ["S6"]
    assert offered("plan m --model tiny.safetensors --camera S6 --iso ") == ["100", "800"]
    assert offered("plan m --model tiny.safetensors --iso 3") == ["3200"]
    assert offered("plan m --model absent.safetensors --camera ") == []
    assert offered("plan m --model ") == ["default", "tiny.safetensors"]
    assert offered("plan m --model some/") == ["<file>"]
    assert offered("eval-noise default p --against awgn,het") == ["awgn,heteroscedastic"]


def test_cameras_and_splits_of_pairs_are_those_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.csv").write_text("camera,split\nS6,train\nGP,val\nGP,\n")
    assert offered("eval-noise default pairs.csv --camera ") == ["GP", "S6"]
    assert offered("train-noise-model pairs.csv --split t") == ["train"]
    (tmp_path / "pairs.csv").write_bytes(b"camera,split\n\xff,\0\n")
    assert offered("eval-noise default pairs.csv --camera ") == []


def test_every_option_for_a_camera_iso_or_model_offers_something() -> None:
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        for option in {"--camera", "--iso", "--model"} & {o for p in command.params for o in p.opts}:
            if name != "make-pairs":  # cameras of one's own
                known = next(p for p in command.params if option in p.opts)
                assert known._custom_shell_complete is not None, f"{name} {option}: noisegen.cli.complete"


def test_the_header_alone_tells_the_cameras(tmp_path: Path) -> None:
    path = save_tiny_model(tmp_path / "tiny.safetensors")
    assert read_vocabulary(path) == read_checkpoint(path).vocabulary
    damaged = tmp_path / "damaged.safetensors"
    for content in (b"", b"\xff" * 8, path.read_bytes()[:40]):
        damaged.write_bytes(content)
        assert offered(f"plan m --model {damaged} --camera ") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_is_answered_in_its_own_way(shell: str) -> None:
    words = {"bash": ("4", ""), "zsh": ("4", ""), "fish": ("", "")}[shell]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\nfrom noisegen.cli import main\ntry: main(prog_name='noisegen')\nfinally:\n"
            "    assert not {'torch', 'numpy', 'pyarrow', 'cv2'} & set(sys.modules), 'slow'",
        ],
        env={
            **os.environ,
            "_NOISEGEN_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": "noisegen build-dataset m.parquet --camera ",
            "COMP_CWORD": words[0],
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "slow" not in done.stderr, done.stderr
    expected = {"bash": "plain,S6", "zsh": "plain\nS6\n_", "fish": "plain,S6"}[shell]
    assert expected in done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_that_the_shell_can_read(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(CliRunner().invoke(main, ["completion", shell]).stdout)
    assert f"_NOISEGEN_COMPLETE={shell}_complete" in script.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", str(script)], check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_tab_key_completes_in_a_real_bash(tmp_path: Path) -> None:
    tool = tmp_path / "noisegen"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m noisegen "$@"\n')
    tool.chmod(0o755)
    (tmp_path / "script").write_text(CliRunner().invoke(main, ["completion", "bash"]).stdout)
    (tmp_path / "photos.parquet").touch()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.environ.update(PATH=f"{tmp_path}:{os.environ['PATH']}", PYTHONPATH=str(ROOT), PS1="ready> ")
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    try:
        os.write(terminal, b"source ./script; complete -p noisegen\n")
        read_until(terminal, r"complete .*-F _noisegen_completion noisegen")
        os.write(terminal, b"noisegen build-d\t")
        read_until(terminal, r"build-dataset $")
        os.write(terminal, b"phot\t")
        read_until(terminal, r"photos\.parquet $")
        os.write(terminal, b"--camera Nik\t")
        read_until(terminal, r"NikonD800 $")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def read_until(terminal: int, pattern: str, seconds: float = 60) -> None:
    """Reads what the terminal shows until it matches."""
    shown, end = "", time.monotonic() + seconds
    while not re.search(pattern, re.sub(r"\x1b\[[?\d;]*[a-zA-Z]|\x07|\r", "", shown)):
        assert time.monotonic() < end, shown
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 4096).decode(errors="replace")
