"""`noisegen verify`: check a dataset against its recorded hashes."""

from __future__ import annotations

from pathlib import Path

import click

from noisegen.cli.places import PLACE

__all__ = ["command"]


@click.command(name="verify")
@click.argument("dataset", type=PLACE)
@click.option("--workers", type=click.IntRange(min=1), help="Threads; default one for each core.")
@click.pass_context
def command(ctx: click.Context, dataset: Path | str, workers: int | None) -> None:
    """Read every file of DATASET again: sizes, hashes, counts, and that each picture decodes to its pixels.

    Exit code 0 when all is well, 1 when something is damaged. Damaged shards are marked; running the same
    build-dataset command again makes them anew.

    \b
    Examples:
      noisegen verify OUT
      noisegen verify s3://bucket/dataset
    """
    from noisegen.synthesis.verify import verify_dataset

    report = verify_dataset(dataset, workers=workers)
    click.echo(report.text())
    ctx.exit(report.exit_code)
