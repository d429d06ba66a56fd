"""`noisegen report`: one page that shows a dataset, a noise model or a denoiser."""

from __future__ import annotations

from pathlib import Path

import click

from noisegen.cli import complete
from noisegen.cli.command import Command
from noisegen.cli.places import PLACE
from noisegen.cli.printing import json_option, print_json

__all__ = ["command"]


@click.command(name="report", cls=Command)
@click.argument("thing", type=PLACE, shell_complete=complete.models)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The page.",
)
@click.option(
    "--pairs",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="TABLE",
    help="Real pairs (CSV or Parquet) whose noise is drawn beside.",
)
@click.option(
    "--split",
    shell_complete=complete.pair_splits,
    help="Rows of --pairs to take, '' for all; default: for a dataset all, else those marked val where there are such.",
)
@click.option(
    "--samples",
    type=click.IntRange(0, 200),
    default=24,
    show_default=True,
    help="Pictures to show at most.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the choice of pictures; others with another seed.",
)
@click.option(
    "--photo",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Photograph to show a model's noise or a denoiser's work on.",
)
@click.option(
    "--noisy-pool",
    type=PLACE,
    metavar="TABLE",
    help="Real pairs for noise models that take references.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda; of models.")
@json_option
def command(
    thing: Path | str,
    output: Path,
    pairs: Path | None,
    split: str | None,
    samples: int,
    seed: int,
    photo: Path | None,
    noisy_pool: Path | str | None,
    device: str,
    as_json: bool,
) -> None:
    """Write a page about THING: a dataset, a noise model ("default" or a file) or a denoiser.

    The page is one HTML file that needs no network: pictures to compare with a slider, how the noise is, counts,
    failures, and where all of it comes from. A dataset may be unfinished, or at a URL; only some of its tiles are read,
    so that it may have any size (docs/report.md).

    Exit code 0: the page is written; 2: THING is nothing that can be reported on.

    \b
    Examples:
      noisegen report DATASET
      noisegen report DATASET -o holiday.html --pairs pairs.csv --split val
      noisegen report model.safetensors --pairs pairs.csv --samples 8
      noisegen report denoiser.safetensors --pairs pairs.csv
      noisegen report denoiser.safetensors --photo night.jpg
      noisegen report DATASET --json | jq .noise
    """
    from noisegen.progress import say
    from noisegen.report.dispatch import report_page
    from noisegen.report.options import ReportOptions
    from noisegen.synthesis.files import write_atomically

    page = report_page(thing, ReportOptions(pairs, split, samples, seed, photo, noisy_pool, device))
    content = page.encoded()
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, content)
    if as_json:
        print_json(page.numbers)
    say(f"{output} is written, {len(content) / 1e6:.1f} MB; open it in a browser")
