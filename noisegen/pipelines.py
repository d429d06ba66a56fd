"""Pipelines: an ordered list of commands in a YAML file, run one after another."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from noisegen.errors import UsageError

__all__ = ["Pipeline", "read_pipeline", "run_pipeline"]

_RECORDED_FAILURES = 3
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True)
class Pipeline:
    """The commands of a pipeline file.

    Attributes:
        path: of the YAML file.
        description: what it is for.
        steps: the arguments of each command, the first being the command's name; variables are filled in.
    """

    path: Path
    description: str
    steps: tuple[tuple[str, ...], ...]


def read_pipeline(path: Path, settings: Mapping[str, str], commands: Collection[str]) -> Pipeline:
    """Reads a pipeline file and checks every step before any is run.

    The file has the keys ``steps`` (required), ``description`` and ``variables``. A step is a command line without or
    with the leading ``noisegen``, as one text that is split as a shell would, or as a list. ``${NAME}`` stands for a
    variable anywhere in an argument; its value is one argument however many spaces it holds. A step
    ``{for: NAME, in: VALUES, steps: [...]}`` stands for its steps once for each of the words of VALUES (a text, which
    may hold variables), in which ``${NAME}`` is that word.

    Args:
        path: of the YAML file.
        settings: values that replace those of ``variables``.
        commands: names a step may begin with.

    Raises:
        UsageError: the file cannot be read, or holds something else than described.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(
            f"cannot read the pipeline {path}: {reason}; give the path of a YAML file"
        ) from error
    except yaml.YAMLError as error:
        raise UsageError(
            f"{path} is not valid YAML: {' '.join(str(error).split())}; correct it there"
        ) from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} is no pipeline; it needs the key 'steps' with a list of commands")
    unknown = [str(key) for key in content if key not in ("description", "variables", "steps")]
    if unknown:
        raise UsageError(
            f"{path}: unknown key {unknown[0]!r}; a pipeline has description, variables and steps"
        )
    variables = _variables(path, content.get("variables") or {}, settings)
    steps = content.get("steps")
    if not isinstance(steps, list) or not steps:
        raise UsageError(f"{path}: 'steps' must be a list of at least one command")
    parsed = tuple(_steps(f"{path}, step ", steps, variables, commands))
    return Pipeline(path, str(content.get("description") or ""), parsed)


def run_pipeline(pipeline: Pipeline, announce: Callable[[str], None]) -> int:
    """Runs the steps in order, each in a process of its own, in the current folder.

    A step that ends with recorded failures (exit code 3) does not stop the pipeline; any other failure does. On a
    termination signal it is passed to the running step; after an interrupt (which a terminal sends to the step too) the
    step is waited for and no other started.

    Args:
        pipeline: from `read_pipeline`.
        announce: called with the text to show before each step.

    Returns:
        0, or 3 after recorded failures, or the exit code of the step that stopped it (128 + N for signal N).
    """
    result = 0
    with _signals() as running:
        for number, step in enumerate(pipeline.steps, 1):
            announce(f"[{number}/{len(pipeline.steps)}] noisegen {shlex.join(step)}")
            code = _run(step, running)
            if code not in (0, _RECORDED_FAILURES):
                return code
            result = max(result, code)
    return result


@dataclass
class _Running:
    """The step that runs, and the first signal that came."""

    child: subprocess.Popen[bytes] | None = None
    received: int | None = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
        if number == signal.SIGTERM and self.child is not None:
            self.child.terminate()


@contextmanager
def _signals() -> Iterator[_Running]:
    running = _Running()
    previous = {number: signal.signal(number, running.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield running
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _run(step: tuple[str, ...], running: _Running) -> int:
    """The exit code of a step; 128 + N where signal N ended it or came meanwhile."""
    if running.received is not None:
        return 128 + running.received
    running.child = subprocess.Popen([sys.executable, "-m", "noisegen", *step])
    if running.received == signal.SIGTERM:  # came before there was a process to pass it to
        running.child.terminate()
    code = running.child.wait()
    if running.received is not None:
        return 128 + running.received
    return 128 - code if code < 0 else code


def _variables(path: Path, given: Any, settings: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(given, dict):
        raise UsageError(f"{path}: 'variables' must map names to values")
    for name in settings:
        if name not in given:
            known = ", ".join(map(str, given)) or "none"
            raise UsageError(f"{path} has no variable {name!r} to --set; it has: {known}")
    values = {}
    for name, value in {**given, **settings}.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise UsageError(f"{path}: variable {name!r} must be text or a number, not {value!r}; quote it")
        values[str(name)] = str(value)
    return values


def _steps(
    where: str, steps: Sequence[Any], variables: Mapping[str, str], commands: Collection[str]
) -> Iterator[tuple[str, ...]]:
    """The steps in order, those under `for` as often as it says."""
    for number, step in enumerate(steps, 1):
        here = f"{where}{number}"
        if not (isinstance(step, dict) and "for" in step):
            yield _step(here, step, variables, commands)
            continue
        name, values, inner = (step.get(key) for key in ("for", "in", "steps"))
        if set(step) != {"for", "in", "steps"} or not isinstance(inner, list):
            raise UsageError(f"{here}: 'for' goes with 'in' and a list 'steps', and nothing else")
        if not isinstance(values, str):
            raise UsageError(f"{here}: 'in' must be a text of words, not {values!r}; quote it")
        if name in variables:
            raise UsageError(f"{here}: 'for: {name}' hides the variable of this name; choose another")
        for value in _filled(here, values, variables).split():
            yield from _steps(f"{here}.", inner, {**variables, str(name): value}, commands)


def _filled(where: str, text: str, variables: Mapping[str, str]) -> str:
    """A text with its variables' values."""

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in variables:
            known = ", ".join(variables) or "none"
            raise UsageError(
                f"{where}: variable {match[0]} is not defined; give it under 'variables' (there: {known})"
            )
        return variables[match[1]]

    return _VARIABLE.sub(value_of, text)


def _step(where: str, step: Any, variables: Mapping[str, str], commands: Collection[str]) -> tuple[str, ...]:
    if isinstance(step, str):
        try:
            words = shlex.split(step)
        except ValueError as error:
            raise UsageError(f"{where}: {str(error).lower()} in {step!r}; close the quotes") from error
    elif isinstance(step, list) and all(
        isinstance(w, str | int | float) and not isinstance(w, bool) for w in step
    ):
        words = [str(word) for word in step]
    else:
        raise UsageError(f"{where}: a step is one command line or a list of its words, not {step!r}")
    arguments = [_filled(where, word, variables) for word in words]
    if arguments[:1] == ["noisegen"]:
        arguments = arguments[1:]
    if not arguments or arguments[0] not in commands:
        shown = repr(arguments[0]) if arguments else "an empty step"
        raise UsageError(f"{where}: {shown} is not a command; known: {', '.join(commands)}")
    return tuple(arguments)
