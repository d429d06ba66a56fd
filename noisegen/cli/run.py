"""`noisegen run`: the steps of a pipeline file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from noisegen.cli.command import Command, is_quiet, is_verbose
from noisegen.cli.printing import json_option, print_json
from noisegen.errors import UsageError

__all__ = ["command"]


@click.command(name="run", cls=Command)
@click.argument("pipeline", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Replace a variable's value; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Print the commands instead of running them.")
@json_option
@click.pass_context
def command(
    context: click.Context, pipeline: Path, settings: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Run the steps of PIPELINE, a YAML file, one after another.

    Each step is a command as it would be typed; every step can be resumed, so a rerun is cheap. Paths are relative
    to the current folder. A step that ends with recorded failures (exit code 3) does not stop the pipeline, which then
    ends with 3; any other failure stops it with the step's exit code. --quiet and --verbose hold for the steps too;
    with --json the document has each step's exit code, seconds and own document.

    \b
    A pipeline is written like this:
      description: a small dataset
      variables: {SEED: 0}
      steps:
        - make-manifest photos -o runs/photos.parquet
        - build-dataset runs/photos.parquet -o runs/dataset --root photos --seed ${SEED}
        - {for: SET, in: photos dataset, steps: ["status runs/${SET}"]}

    \b
    Examples:
      noisegen run pipelines/quickstart.yaml
      noisegen run pipelines/table1-small.yaml --set PAIRS=pairs.csv
      noisegen run pipelines/quickstart.yaml --dry-run
    """
    import shlex

    from noisegen.cli import COMMANDS
    from noisegen.pipelines import read_pipeline, run_pipeline

    parsed = read_pipeline(pipeline, _parse(settings), COMMANDS)
    record: dict[str, Any] = {"pipeline": pipeline, "description": parsed.description.strip()}
    if dry_run:
        if as_json:
            print_json(record | {"steps": [{"command": step} for step in parsed.steps]})
        else:
            click.echo("\n".join(f"noisegen {shlex.join(step)}" for step in parsed.steps))
        return
    if record["description"]:
        click.echo(record["description"], err=as_json)
    outcome = run_pipeline(
        parsed,
        lambda text: click.echo(text, err=as_json),
        further=lambda step: _manners(context, step, as_json),
        take_output=as_json,
    )
    if as_json:
        print_json(record | asdict(outcome))
    context.exit(outcome.exit_code)


def _manners(context: click.Context, step: tuple[str, ...], as_json: bool) -> list[str]:
    """The options of this command that a step gets too, as far as it can have them and says nothing else."""
    from noisegen.cli import main

    own = {"-q", "--quiet", "-v", "--verbose"}.isdisjoint(step)
    given = ["--quiet"] * (own and is_quiet(context)) + ["--verbose"] * (own and is_verbose(context))
    command = main.get_command(context, step[0])
    if as_json and command is not None and any(p.name == "as_json" for p in command.params):
        given.append("--json")
    return given


def _parse(settings: tuple[str, ...]) -> dict[str, str]:
    values = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not (name and separator):
            raise UsageError(f"--set {setting!r} is not NAME=VALUE")
        values[name] = value
    return values
