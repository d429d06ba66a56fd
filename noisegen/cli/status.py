"""`noisegen status`: how far a dataset is."""

from __future__ import annotations

import json
from pathlib import Path

import click

from noisegen.cli.places import PLACE

__all__ = ["command"]


@click.command(name="status")
@click.argument("dataset", type=PLACE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(dataset: Path | str, as_json: bool) -> None:
    """Show how far DATASET is: shards, photographs, tiles, failures, rate and time left.

    \b
    Examples:
      noisegen status OUT
      noisegen status OUT --json | jq .seconds_left
      noisegen status s3://bucket/dataset
    """
    from noisegen.synthesis.status import dataset_status

    status = dataset_status(dataset)
    click.echo(json.dumps(status.to_dict(), indent=1) if as_json else status.text())
