"""`noisegen run`: the steps of a pipeline file."""

from __future__ import annotations

from pathlib import Path

import click

from noisegen.errors import UsageError

__all__ = ["command"]


@click.command(name="run")
@click.argument("pipeline", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Replace a variable's value; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Print the commands instead of running them.")
@click.pass_context
def command(context: click.Context, pipeline: Path, settings: tuple[str, ...], dry_run: bool) -> None:
    """Run the steps of PIPELINE, a YAML file, one after another.

    Each step is a command as it would be typed; every step can be resumed, so a rerun is cheap. Paths are relative
    to the current folder. A step that ends with recorded failures (exit code 3) does not stop the pipeline, which then
    ends with 3; any other failure stops it with the step's exit code.

    \b
    noisegen run pipelines/quickstart.yaml
    noisegen run pipelines/quickstart.yaml --set SEED=7
    noisegen run pipelines/quickstart.yaml --dry-run

    \b
    description: a small dataset
    variables: {SEED: 0}
    steps:
      - make-manifest photos -o runs/photos.parquet
      - build-dataset runs/photos.parquet -o runs/dataset --root photos --seed ${SEED}
      - {for: SET, in: photos dataset, steps: ["status runs/${SET}"]}
    """
    import shlex

    from noisegen.cli import COMMANDS
    from noisegen.pipelines import read_pipeline, run_pipeline

    parsed = read_pipeline(pipeline, _parse(settings), COMMANDS)
    if dry_run:
        for step in parsed.steps:
            click.echo(f"noisegen {shlex.join(step)}")
        return
    if parsed.description:
        click.echo(parsed.description.strip())
    context.exit(run_pipeline(parsed, click.echo))


def _parse(settings: tuple[str, ...]) -> dict[str, str]:
    values = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not (name and separator):
            raise UsageError(f"--set {setting!r} is not NAME=VALUE")
        values[name] = value
    return values
