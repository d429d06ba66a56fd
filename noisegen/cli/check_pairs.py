"""`noisegen check-pairs`."""

from __future__ import annotations

from pathlib import Path

import click

from noisegen.cli import complete
from noisegen.cli.command import Command
from noisegen.cli.printing import json_option

__all__ = ["command"]


@click.command(name="check-pairs", cls=Command)
@click.argument("pairs", type=click.Path(path_type=Path))
@click.option("--split", shell_complete=complete.pair_splits, help="Check only the pairs of this split.")
@click.option(
    "--max-shift",
    type=click.FloatRange(0),
    default=0.5,
    show_default=True,
    help="Pixels between noisy and clean.",
)
@click.option(
    "--max-drift",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Slow brightness difference in 8-bit grey levels.",
)
@click.option(
    "--max-saturated",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Fraction of clean values that are black or white.",
)
@click.option("--bit-depth", type=click.IntRange(8, 16), help="Of 16-bit files that hold fewer bits.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Report to write, CSV.")
@click.option(
    "--write-good",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the table of pairs without the bad ones, CSV.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    pairs: Path,
    split: str | None,
    max_shift: float,
    max_drift: float,
    max_saturated: float,
    bit_depth: int | None,
    output: Path | None,
    write_good: Path | None,
    as_json: bool,
) -> None:
    """Find pairs of PAIRS (.csv or .parquet) whose difference is more than noise.

    Reasons: misaligned, drifting (brightness changed between the shots), saturated (clean side black or white),
    size_mismatch, format_mismatch (channels or bit depth), unreadable, bad_row. A value that cannot be told
    (a flat picture's shift) is shown as - and counts as good. Exit code 3 means that there are bad pairs.

    \b
    Examples:
      noisegen check-pairs pairs.csv
      noisegen check-pairs pairs.csv --split train -o report.csv --write-good good.csv
    """
    from noisegen.datasets.check_tables import checks_json, checks_text, write_checks
    from noisegen.datasets.pair_checks import CheckLimits, check_pairs
    from noisegen.datasets.pairs import read_rows, write_rows
    from noisegen.progress import Progress

    limits = CheckLimits(max_shift, max_drift, max_saturated)
    rows = read_rows(pairs, split=split)
    with Progress(len(rows), "pair", "check-pairs") as progress:
        checks = check_pairs(rows, limits=limits, bit_depth=bit_depth, advance=progress.update)
    click.echo(checks_json(checks) if as_json else checks_text(checks))
    if output is not None:
        write_checks(output, checks)
    if write_good is not None:
        write_rows(write_good, [c.row.fields for c in checks if not c.problems], base=pairs.parent)
    if any(check.problems for check in checks):
        context.exit(3)
