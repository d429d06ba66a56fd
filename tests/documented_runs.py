"""Runs what the documentation shows, as it is written, in a copy of the scene."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from benchmark_fixtures import SMALL_LAYOUTS
from documented_commands import Documented, noisegen_arguments, simple_commands
from documented_rules import not_run, quickened, stand_ins
from documented_scene import fill_bucket, make_scene
from image_fixtures import ROOT, parsed
from matplotlib.figure import Figure
from PIL import Image
from remote_fixtures import S3Server, running_server
from synthesis_fixtures import invoke

from noisegen.datasets import sidd_blocks
from noisegen.models.nm_flowgan import correlation_fit
from noisegen.synthesis import trial

_OUTPUT = re.compile(r"(?:\s-o|\s--output)[ =](\S+)|build_dataset\(\s*[^,()]+,\s*\"([^\"]+)\"")


class Parsed(Exception):
    """A script's own parser has accepted the arguments."""


@dataclass
class Runs:
    """Runs the commands of one page after another; those of one block in one folder.

    Attributes:
        commands: all that can be asked for, in order.
        scene: is copied for each block.
        place: where copies are made.
        store: gives the S3 server, which is started when a block first needs it.
    """

    commands: Sequence[Documented]
    scene: Path
    place: Path
    store: Callable[[], S3Server]
    _done: dict[tuple[str, int], int] = field(default_factory=dict)
    _names: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run(self, wanted: Documented) -> None:
        """Runs one command, after those of its block before it that have not been run.

        Raises:
            AssertionError: it failed; says what was printed.
        """
        block = [each for each in self.commands if (each.page, each.block) == (wanted.page, wanted.block)]
        # a command that stands alone does the same on each page
        key = (wanted.page, wanted.block) if len(block) > 1 else (wanted.text, 0)
        folder = self.place / re.sub(r"\W+", "-", f"{wanted.page} {wanted.block}")
        if key not in self._done:
            self._done[key] = 0
            if any(needs_scene(each) for each in block):
                self._set_up(block, folder)
        position = block.index(wanted)
        with pytest.MonkeyPatch.context() as patch:
            here = folder if folder.exists() else self.place
            patch.chdir(here)
            patch.setenv("HOME", str(here))
            for each in block[self._done[key] : position + 1]:
                self._done[key] += 1
                try:
                    run_one(each, self._names.setdefault(each.page, {"__name__": "__main__"}))
                except AssertionError as error:
                    if each is wanted:
                        raise
                    raise AssertionError(f"a line before it failed: {each.title}\n{error}") from error

    def _set_up(self, block: Sequence[Documented], folder: Path) -> None:
        """A copy of the scene without what the block's commands make."""
        text = "\n".join(each.text for each in block)
        made = "\n".join(each.text for each in block if not_run(each) is None)
        outputs = frozenset(name for names in _OUTPUT.findall(made) for name in names if name)
        shutil.copytree(self.scene, folder, symlinks=True, copy_function=_copy)
        for name in outputs:
            if "://" not in name and not Path(name).is_absolute():
                _remove(folder / name)
        for name, given in stand_ins(block).items():
            _remove(folder / name)
            (folder / given).rename(folder / name)
        for bucket in sorted(set(re.findall(r"s3://([\w-]+)/", text))):
            fill_bucket(self.store(), bucket, self.scene, outputs)


@contextmanager
def running(commands: Sequence[Documented], place: Path) -> Iterator[Runs]:
    """Makes the scene in an empty folder, and ends what the commands needed."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        _lighten(patch)
        scene, copies = place / "scene", place / "copies"
        for folder in (scene, copies):
            folder.mkdir()
        make_scene(scene)
        yield Runs(commands, scene, copies, cache(lambda: stack.enter_context(running_server())))


def _lighten(patch: pytest.MonkeyPatch) -> None:
    """Makes quick what no option does; other tests look at each of these as it is."""
    patch.setattr(sidd_blocks, "LAYOUTS", SMALL_LAYOUTS)
    patch.setattr(correlation_fit, "PATCHES", 4)
    patch.setattr(trial, "TIMED_SECONDS", 0.2)
    # charts take seconds for each report: they are empty here
    patch.setattr(Figure, "savefig", _save_empty)
    # so that no disk is waited for
    patch.setattr(os, "fsync", lambda _: None)


def _save_empty(figure: Figure, target: Any, format: str = "png", **_: Any) -> None:
    if format == "svg":
        svg = '<svg xmlns="http://www.w3.org/2000/svg"/>'
        target.write(svg.encode() if isinstance(target, io.BytesIO) else svg)
    else:
        Image.new("L", (1, 1)).save(target, format)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _copy(source: str, target: str) -> None:
    """Large files are linked, as they are only ever replaced as a whole."""
    if Path(source).stat().st_size > 1 << 16:
        os.link(source, target)
    else:
        shutil.copy(source, target)


def needs_scene(documented: Documented) -> bool:
    """Whether a command looks at files of the current folder."""
    if not_run(documented) is not None:
        return False
    if documented.language == "python":
        return True
    command = simple_commands(documented.text)[0]
    arguments = noisegen_arguments(command)
    if arguments is None:
        return command[:2] == ["python", "-c"]
    try:
        return understood(arguments)
    except AssertionError:
        return True  # running it will say what is wrong


def run_one(documented: Documented, names: dict[str, Any]) -> None:
    """Runs a command in the current folder, or parses it where a rule excuses it from running.

    Args:
        documented: what to run.
        names: of the Python blocks before it on its page, which it may use and add to.
    """
    if documented.language == "python":
        if not_run(documented) is None:
            exec(compile(documented.text, documented.title, "exec"), names)
        return
    if not_run(documented) is not None:
        for command in simple_commands(documented.text):
            if arguments := noisegen_arguments(command):
                understood(["0" if word.startswith("$") else word for word in arguments])
        return
    line, _, target = documented.text.partition(" > ")
    command, *following = simple_commands(line)
    run = RUNNERS.get(command[0])
    assert run is not None, f"{command[0]} is not run by this test, and no rule in NOT_RUN excuses it"
    output = run(command)
    if target:
        Path(target).expanduser().write_text(output, encoding="utf-8")
    for pipe in following:
        assert pipe[0] == "jq", f"a pipe into {pipe[0]} is not run by this test"
        value = json.loads(output)
        for name in pipe[-1].strip(".").split("."):
            assert name in value, f"{pipe[-1]}: {sorted(value)}"
            value = value[name]


def understood(arguments: Sequence[str]) -> bool:
    """Whether a command line is complete; one that only names a command and options of it is not.

    Raises:
        AssertionError: there is no such command or option, or a value is not one of its kind.
    """
    if arguments[0].startswith("-"):
        return True  # options of noisegen itself
    try:
        parsed(arguments)
    except click.exceptions.Exit:
        return True
    except click.MissingParameter:
        return False
    except click.UsageError as error:
        raise AssertionError(error.format_message()) from error
    return True


def _noisegen(command: list[str]) -> str:
    if noisegen_arguments(command) is None:
        return ""
    arguments = [match for word in command[1:] for match in _globbed(word)]
    if not understood(arguments):
        return ""
    done = invoke(*quickened(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise AssertionError(done.output) from done.exception
    assert done.exit_code == 0, f"exit code {done.exit_code}\n{done.output}"
    return done.stdout


def _globbed(word: str) -> list[str]:
    """What a shell makes of a word; its quotes are gone, so a pattern that matches nothing is left as it is."""
    found = sorted(map(str, Path().glob(word))) if "*" in word and not word.startswith("*") else []
    return found or [word]


def _python(command: list[str]) -> str:
    """`-c` is run; `-m pip` is looked at; the arguments of a script are parsed by the script."""
    if command[1] == "-c":
        exec(command[2], {"__name__": "__main__"})
    elif command[1:3] == ["-m", "pip"]:
        _pip(command[2:])
    else:
        _parse_by_script(ROOT / command[1], command[2:])
    return ""


def _parse_by_script(script: Path, arguments: list[str]) -> None:
    assert script.is_file(), f"{script.relative_to(ROOT)} is not there"
    parse = argparse.ArgumentParser.parse_args

    def parse_only(parser: argparse.ArgumentParser, *_: Any) -> None:
        parse(parser, arguments)
        raise Parsed

    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(script.parent))
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
        with pytest.raises(Parsed):
            runpy.run_path(str(script), run_name="__main__")
    # scripts of different folders have modules of the same names
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(script.parent)):
            del sys.modules[name]


def _pip(command: list[str]) -> str:
    """Files and extras of the project that an installation names are there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert command[1] == "install"
    for option, value in pairwise(command):
        assert option not in ("-c", "-r") or (ROOT / value).is_file(), f"{value} is not there"
    for word in command[2:]:
        if extras := re.fullmatch(r"(?:noisegen|\.)\[(.*)\]", word):
            unknown = set(extras[1].split(",")) - set(project["optional-dependencies"])
            assert not unknown, f"no extra {', '.join(sorted(unknown))}"
    return ""


def _make(command: list[str]) -> str:
    """The target is one of the Makefile; its commands are printed, not run."""
    done = subprocess.run(["make", "-n", *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _mkdir(command: list[str]) -> str:
    for word in command[1:]:
        if word != "-p":
            Path(word).expanduser().mkdir(parents=True, exist_ok=True)
    return ""


def _pytest(command: list[str]) -> str:
    for path in command[1:]:
        assert path.startswith("-") or (ROOT / path.split("::")[0]).exists(), f"{path} is not there"
    return ""


RUNNERS: dict[str, Callable[[list[str]], str]] = {
    "noisegen": _noisegen,
    "python": _python,
    "pip": _pip,
    "make": _make,
    "mkdir": _mkdir,
    "pytest": _pytest,
}
