"""`noisegen status`: how far a dataset is."""

from __future__ import annotations

import time
from pathlib import Path

import click

from noisegen.cli.command import Command
from noisegen.cli.places import PLACE
from noisegen.cli.printing import json_option, print_json

__all__ = ["command"]


@click.command(name="status", cls=Command)
@click.argument("dataset", type=PLACE)
@json_option
@click.option(
    "--watch",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Print again every SECONDS until nothing is left or Ctrl-C.",
)
def command(dataset: Path | str, as_json: bool, watch: float | None) -> None:
    """Show how far DATASET is: shards, photographs, tiles, failures, rate, time left and where the time goes.

    A build that is running is not disturbed. "time" gives shares of the threads' time; "idle" is that of threads
    that had no tile to make, and "limited by" the stage that the others wait for.

    \b
    Examples:
      noisegen status DATASET
      noisegen status DATASET --watch 10
      noisegen status DATASET --json | jq .seconds_left
      noisegen status s3://bucket/dataset
    """
    from noisegen.synthesis.status import dataset_status

    while True:
        status = dataset_status(dataset)
        if as_json:
            print_json(status.to_dict(), one_line=watch is not None)
        else:
            click.echo(status.text())
        if watch is None or (status.seconds_left == 0 and not status.running):
            return
        if not as_json:
            click.echo("")
        time.sleep(watch)
