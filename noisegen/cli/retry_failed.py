"""`noisegen retry-failed`: try rows that failed again."""

from __future__ import annotations

from pathlib import Path

import click

from noisegen.cli import complete
from noisegen.cli.build_options import PROFILE
from noisegen.cli.command import Command
from noisegen.cli.places import PLACE
from noisegen.cli.printing import json_option, print_result

__all__ = ["command"]


@click.command(name="retry-failed", cls=Command)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--reason", help="Only failures of this reason, for example missing.")
@click.option("--dry-run", is_flag=True, help="List the rows and redo nothing.")
@click.option(
    "--manifest", type=click.Path(path_type=Path), help="Where the manifest is now, if it was moved."
)
@click.option("--root", type=click.Path(path_type=Path), help="Where the photos are now, if they were moved.")
@click.option("--model", shell_complete=complete.models, help="Where the checkpoint is now, if it was moved.")
@click.option("--noisy-pool", type=PLACE, help="Where the pool's table is now, if it was moved.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads; default as in the build.")
@PROFILE
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    dataset: Path,
    reason: str | None,
    dry_run: bool,
    manifest: Path | None,
    root: Path | None,
    model: str | None,
    noisy_pool: Path | str | None,
    workers: int | None,
    profile: bool,
    as_json: bool,
) -> None:
    """Try the rows of DATASET that failed again, after their photographs have been put there or repaired.

    The settings are those of the build. Shards in which a row may succeed now are redone as a whole, and nothing
    else; each stays in place until the new one is ready. A row that fails again keeps its record. Interrupted, the
    same command continues.

    Exit code 0: no failure is left of those looked at; 3: some are; otherwise as build-dataset.

    \b
    Examples:
      noisegen retry-failed DATASET --dry-run
      noisegen retry-failed DATASET --reason missing
      noisegen retry-failed DATASET --root PHOTOS
    """
    from noisegen.synthesis.retry import retry_failed

    report = retry_failed(
        dataset,
        reason=reason,
        dry_run=dry_run,
        manifest=manifest,
        root=root,
        model=model,
        noisy_pool=noisy_pool,
        workers=workers,
        profile=profile,
    )
    print_result(report, as_json)
    ctx.exit(report.exit_code)
