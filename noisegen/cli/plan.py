"""`noisegen plan`: what a build will take and give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from noisegen.cli.build_options import build_options, rank_options, ray_options
from noisegen.cli.command import Command
from noisegen.cli.places import PLACE
from noisegen.cli.printing import json_option, print_result

__all__ = ["command"]


@click.command(name="plan", cls=Command)
@click.argument("manifest", type=PLACE)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the dataset: for the room on its disk, and what is done already.",
)
@build_options
@rank_options
@ray_options
@click.option("--all", "all_rows", is_flag=True, help="Read the header of every photo, not of a sample.")
@json_option
def command(
    manifest: Path | str,
    output: Path | None,
    max_pixels: int | None,
    all_rows: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Estimate the shards, tiles, bytes and time of a build of MANIFEST, before it runs.

    Takes the options of build-dataset. Headers of up to 1024 photos, evenly spread over the manifest, are read, and
    tiles are made for about ten seconds on the device that the build would use. Nothing is written to the dataset's
    folder. Photos that are damaged behind their header are not seen. With --world-size the time is that of so many
    processes like this one.

    \b
    Examples:
      noisegen plan manifest.parquet
      noisegen plan manifest.parquet -o DATASET --tile-size 128 --variants 4
      noisegen plan manifest.parquet --world-size 64
      noisegen plan manifest.parquet --all --json | jq .device_hours
    """
    from noisegen.images import DEFAULT_MAX_PIXELS
    from noisegen.synthesis.estimate import plan_build

    plan = plan_build(
        manifest,
        output,
        all_rows=all_rows,
        max_pixels=max_pixels or DEFAULT_MAX_PIXELS,
        **options,
    )
    print_result(plan, as_json)
