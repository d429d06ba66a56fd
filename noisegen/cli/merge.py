"""`noisegen merge`: several datasets become one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from noisegen.cli.command import Command
from noisegen.cli.options import copy_options, output_options
from noisegen.cli.printing import json_option, print_result

__all__ = ["command"]


@click.command(name="merge", cls=Command)
@click.argument("datasets", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_options("as in the first dataset")
@copy_options
@json_option
def command(datasets: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Join finished DATASETS into one, for example the parts of a manifest that several machines built.

    Rows, and with them the keys of tiles, are numbered anew, those of the second dataset after those of the first;
    run.json keeps what each was made from. Tile size, bit depth and channels must agree. A photograph may be in several
    datasets if its noise differs; one id for two photographs (or in two splits), and the same noisy tiles twice, are
    refused. Interrupted, it continues when the same command is given again; status and verify work on the result.

    Exit code 0: done; 2: the request cannot be carried out; 1: crashed, or a tile is damaged; 130 or 143: interrupted.

    \b
    Examples:
      noisegen merge PART1 PART2 PART3 -o WHOLE
      noisegen merge PART1 PART2 -o WHOLE --format parquet
    """
    from noisegen.synthesis.copying import merge_datasets

    print_result(merge_datasets(datasets, **options), as_json)
