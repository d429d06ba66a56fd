"""`noisegen verify`: check a dataset against its recorded hashes and its checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

from noisegen.cli import complete
from noisegen.cli.build_options import rank_options
from noisegen.cli.command import Command
from noisegen.cli.places import PLACE
from noisegen.cli.printing import json_option, print_result

__all__ = ["command"]


@click.command(name="verify", cls=Command)
@click.argument("dataset", type=PLACE)
@click.option("--workers", type=click.IntRange(min=1), help="Threads; default one for each core.")
@click.option(
    "--remake",
    type=click.IntRange(min=0),
    metavar="TILES",
    default=64,
    show_default=True,
    help="Make this many tiles again, in turns from all conditions, and compare; 0: none.",
)
@click.option(
    "--sample", type=click.IntRange(min=1), metavar="SHARDS", help="Check so many shards, evenly spread."
)
@rank_options
@click.option(
    "--model", shell_complete=complete.models, help="The checkpoint, if it is not where the build found it."
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    dataset: Path | str,
    workers: int | None,
    remake: int,
    sample: int | None,
    rank: int | None,
    world_size: int | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Read every file of DATASET again: sizes, hashes, counts, and that each picture decodes to its pixels.

    A few tiles of each camera and ISO are made again from their clean side with the checkpoint: their noise must be
    the same, or, with other versions or another device than in the build, have the same deviation.

    Exit code 0 when all is well, 1 when something is damaged. Damaged shards are marked; running the same
    build-dataset command again makes them anew.

    \b
    Examples:
      noisegen verify DATASET
      noisegen verify s3://bucket/dataset
      noisegen verify s3://bucket/dataset --sample 100
      noisegen verify s3://bucket/dataset --rank 3 --world-size 8
      noisegen verify DATASET --remake 1000 --json | jq .noise
    """
    from noisegen.synthesis.verify import verify_dataset

    report = verify_dataset(
        dataset, workers=workers, remake=remake, model=model, sample=sample, rank=rank, world_size=world_size
    )
    print_result(report, as_json)
    ctx.exit(report.exit_code)
