"""docker/Dockerfile read as instructions, and command lines parsed as the tool would."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from noisegen.cli import main

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"


@dataclass(frozen=True)
class Instruction:
    """One instruction, continued lines joined: ``word`` in capitals, and the rest."""

    word: str
    rest: str


def dockerfile_stages() -> list[list[Instruction]]:
    """The instructions of docker/Dockerfile, a list for each stage, which begins with its FROM."""
    lines = (DOCKER / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if line.strip() and not line.startswith("#"))
    stages: list[list[Instruction]] = []
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        stages[-1].append(Instruction(word, " ".join(rest.split())))
    return stages


def last_of(stage: Sequence[Instruction], word: str) -> str:
    """What a stage's last instruction of a kind says."""
    return [instruction.rest for instruction in stage if instruction.word == word][-1]


def entry_point() -> list[str]:
    """The words of the image's entry point, which must be in exec form."""
    words: list[str] = json.loads(last_of(dockerfile_stages()[-1], "ENTRYPOINT"))
    return words


def image_user() -> int:
    """The user id that the image runs as."""
    return int(last_of(dockerfile_stages()[-1], "USER").partition(":")[0])


def tool(name: str) -> str:
    """The path of a program that the `dev` extra installs."""
    beside = Path(sys.executable).parent / name
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """The parameters of a command line without its leading ``noisegen``; nothing is run.

    Raises:
        click.UsageError: there is no such command or option, or a value is not one of its kind.
    """
    name, *rest = arguments
    command = main.get_command(click.Context(main), name)
    if command is None:
        raise click.UsageError(f"no command {name!r}")
    return command.make_context(name, rest).params
