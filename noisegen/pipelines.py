"""Pipelines: an ordered list of commands in a YAML file, run one after another."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from noisegen.errors import UsageError
from noisegen.suggestions import did_you_mean, did_you_mean_path

__all__ = ["Pipeline", "PipelineOutcome", "StepOutcome", "read_pipeline", "run_pipeline"]

KEYS = ("description", "variables", "steps")
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
            f"cannot read the pipeline {path}: {reason}; give the path of a YAML file{did_you_mean_path(path)}"
        ) from error
    except yaml.YAMLError as error:
        raise UsageError(
            f"{path} is not valid YAML: {' '.join(str(error).split())}; correct it there"
        ) from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} is no pipeline; it needs the key 'steps' with a list of commands")
    unknown = [str(key) for key in content if key not in KEYS]
    if unknown:
        raise UsageError(
            f"{path}: unknown key {unknown[0]!r}; a pipeline has description, variables and steps"
            f"{did_you_mean(unknown[0], KEYS)}"
        )
    variables = _variables(path, content.get("variables") or {}, settings)
    steps = content.get("steps")
    if not isinstance(steps, list) or not steps:
        raise UsageError(f"{path}: 'steps' must be a list of at least one command")
    parsed = tuple(_steps(f"{path}, step ", steps, variables, commands))
    return Pipeline(path, str(content.get("description") or ""), parsed)


@dataclass(frozen=True)
class StepOutcome:
    """How a step ended.

    Attributes:
        command: its words, without ``noisegen``.
        exit_code: 128 + N for signal N.
        seconds: that it took.
        result: the JSON document that it printed; None where output was not taken, or is none.
    """

    command: tuple[str, ...]
    exit_code: int
    seconds: float
    result: Any = None


@dataclass(frozen=True)
class PipelineOutcome:
    """How a pipeline ended.

    Attributes:
        exit_code: 0, or 3 after recorded failures, or that of the step that stopped it.
        steps: those that were run.
    """

    exit_code: int
    steps: tuple[StepOutcome, ...]


def run_pipeline(
    pipeline: Pipeline,
    announce: Callable[[str], None],
    *,
    further: Callable[[tuple[str, ...]], Sequence[str]] = lambda step: (),
    take_output: bool = False,
) -> PipelineOutcome:
    """Runs the steps in order, each in a process of its own, in the current folder.

    A step that ends with recorded failures (exit code 3) does not stop the pipeline; any other failure does. On a
    termination signal it is passed to the running step; after an interrupt (which a terminal sends to the step too) the
    step is waited for and no other started.

    Args:
        pipeline: from `read_pipeline`.
        announce: called with the text to show before each step.
        further: the options that a step gets besides its own.
        take_output: take what steps write to stdout for their results, instead of letting it through.
    """
    done: list[StepOutcome] = []
    with _signals() as running:
        for number, step in enumerate(pipeline.steps, 1):
            announce(f"[{number}/{len(pipeline.steps)}] noisegen {shlex.join(step)}")
            outcome = _run(step, further(step), running, take_output)
            done.append(outcome)
            if outcome.exit_code not in (0, _RECORDED_FAILURES):
                return PipelineOutcome(outcome.exit_code, tuple(done))
    return PipelineOutcome(max(outcome.exit_code for outcome in done), tuple(done))


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


def _run(step: tuple[str, ...], further: Sequence[str], running: _Running, take_output: bool) -> StepOutcome:
    """Runs a step; a signal that came meanwhile counts as its end."""
    if running.received is not None:
        return StepOutcome(step, 128 + running.received, 0.0)
    started = time.monotonic()
    running.child = subprocess.Popen(
        [sys.executable, "-m", "noisegen", step[0], *further, *step[1:]],
        stdout=subprocess.PIPE if take_output else None,
    )
    if running.received == signal.SIGTERM:  # came before there was a process to pass it to
        running.child.terminate()
    output, _ = running.child.communicate()
    code = running.child.returncode
    if running.received is not None:
        code = -running.received
    seconds = round(time.monotonic() - started, 3)
    return StepOutcome(step, 128 - code if code < 0 else code, seconds, _document(output))


def _document(output: bytes | None) -> Any:
    """The JSON that a step printed, None where it is none."""
    try:
        return json.loads(output or b"null")
    except ValueError:
        return None


def _variables(path: Path, given: Any, settings: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(given, dict):
        raise UsageError(f"{path}: 'variables' must map names to values")
    for name in settings:
        if name not in given:
            known = ", ".join(map(str, given)) or "none"
            raise UsageError(
                f"{path} has no variable {name!r} to --set; it has: {known}{did_you_mean(name, map(str, given))}"
            )
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
                f"{did_you_mean(match[1], variables)}"
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
        meant = did_you_mean(arguments[0], commands) if arguments else ""
        raise UsageError(f"{where}: {shown} is not a command; known: {', '.join(commands)}{meant}")
    return tuple(arguments)
