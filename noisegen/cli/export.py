"""`noisegen export`: a dataset in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from noisegen.cli.command import Command
from noisegen.cli.options import copy_options, output_options
from noisegen.cli.printing import json_option, print_result

__all__ = ["command"]


@click.command(name="export", cls=Command)
@click.argument("dataset", type=click.Path(path_type=Path))
@output_options(None)
@copy_options
@json_option
def command(dataset: Path, as_json: bool, **options: Any) -> None:
    """Write the finished DATASET again in another format, with the same keys, records and pixels.

    Nothing is synthesized. Every tile's pixels are compared with their hashes on the way. An interrupted export
    continues when the same command is given again; status and verify work on the result.

    Exit code 0: done; 2: the request cannot be carried out; 1: crashed, or a tile of DATASET is damaged; 130 or 143:
    interrupted.

    \b
    Examples:
      noisegen export DATASET -o PARQUET --format parquet
      noisegen export DATASET -o FOLDERS --format folders --layout restormer --png-level small
    """
    from noisegen.synthesis.copying import export_dataset

    print_result(export_dataset(dataset, **options), as_json)
