"""`noisegen make-pairs`."""

from __future__ import annotations

from pathlib import Path

import click

from noisegen.cli.command import Command
from noisegen.cli.printing import json_option, print_json
from noisegen.errors import UsageError

__all__ = ["command"]


@click.command(name="make-pairs", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The table of pairs to write, CSV.",
)
@click.option(
    "--layout",
    type=click.Choice(["sidd-medium", "folders"]),
    default="sidd-medium",
    show_default=True,
    help="How FOLDER is arranged.",
)
@click.option("--camera", help="Of all pairs; for layout folders.")
@click.option("--iso", type=click.IntRange(1), help="Of all pairs; for layout folders.")
@click.option("--dataset", help="Name of the source; for layout folders.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    folder: Path,
    output: Path,
    layout: str,
    camera: str | None,
    iso: int | None,
    dataset: str | None,
    as_json: bool,
) -> None:
    """List the real noisy/clean pairs of FOLDER in a table, as train-noise-model and eval-noise read it.

    sidd-medium: FOLDER holds SIDD-Medium's Data folder (sRGB). Camera and ISO come from the folders' names, split
    (train, val, or none) from the lists of sRGBFlow and NM-FlowGAN. folders: FOLDER holds a folder noisy and a folder
    clean with equal file names, all of one camera and ISO. What does not fit is listed and left out, and the
    exit code is then 3.

    \b
    Examples:
      noisegen make-pairs SIDD_Medium_Srgb -o sidd.csv
      noisegen make-pairs shots --layout folders --camera X100V --iso 6400 -o x100v.csv
    """
    from collections import Counter

    from noisegen.datasets.layouts import FolderProblem, PairFiles, find_folder_pairs, pair_record
    from noisegen.datasets.pairs import write_rows
    from noisegen.datasets.sidd import find_sidd_pairs

    if layout == "folders":
        if not camera or iso is None:
            raise UsageError("--layout folders needs --camera and --iso")
        found = list(find_folder_pairs(folder, camera, iso, dataset=dataset or ""))
    else:
        if camera or iso is not None or dataset:
            raise UsageError(
                "--camera, --iso and --dataset are for --layout folders; SIDD's names state them"
            )
        found = list(find_sidd_pairs(folder))
    pairs = [item for item in found if isinstance(item, PairFiles)]
    problems = [item for item in found if isinstance(item, FolderProblem)]
    for problem in problems:
        click.echo(f"left out ({problem.reason}): {problem.path}: {problem.message}", err=True)
    if not pairs:
        raise UsageError(f"{folder}: holds no pairs in layout {layout}; nothing is written")
    write_rows(output, [pair_record(pair) for pair in pairs], base=Path())
    splits = Counter(pair.split or "none" for pair in pairs)
    conditions = Counter((pair.camera, pair.iso) for pair in pairs)
    if as_json:
        summary = {
            "table": str(output),
            "pairs": len(pairs),
            "splits": splits,
            "conditions": [
                {"camera": camera, "iso": iso, "pairs": n} for (camera, iso), n in sorted(conditions.items())
            ],
            "problems": [{"path": str(p.path), "reason": p.reason, "message": p.message} for p in problems],
        }
        print_json(summary)
    else:
        click.echo(f"{output}: {len(pairs)} pairs, {len(problems)} problems")
        click.echo("  split: " + ", ".join(f"{name} {count}" for name, count in sorted(splits.items())))
        for (name, value), count in sorted(conditions.items()):
            click.echo(f"  {name} ISO {value}: {count}")
    if problems:
        context.exit(3)
