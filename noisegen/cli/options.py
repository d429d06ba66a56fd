"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from noisegen.synthesis.choices import FORMAT_NAMES, LAYOUTS, PNG_LEVELS

__all__ = ["copy_options", "output_options"]

F = TypeVar("F", bound=Callable[..., object])


def output_options(default_format: str | None) -> Callable[[F], F]:
    """--format, --layout and --png-level.

    Args:
        default_format: a format, or words that say which one is taken; None where one must be named.
    """
    named = default_format in FORMAT_NAMES
    return _together(
        click.option(
            "--format",
            type=click.Choice(FORMAT_NAMES),
            default=default_format if named else None,
            required=default_format is None,
            show_default=named or default_format or False,
            help="lmdb needs noisegen[lmdb], hdf5 needs noisegen[hdf5].",
        ),
        click.option(
            "--layout",
            type=click.Choice(list(LAYOUTS)),
            help="Names of the folders of --format folders; default: basicsr.",
        ),
        click.option(
            "--png-level",
            type=click.Choice(PNG_LEVELS),
            help="How hard pictures are compressed, always without loss; default: fast.",
        ),
    )


def copy_options(function: F) -> F:
    """What export and merge have in common."""
    return _together(
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            required=True,
            help="Folder of the new dataset.",
        ),
        click.option(
            "--rows-per-shard", type=click.IntRange(min=1), help="Photographs in a shard; default: as before."
        ),
        click.option("--workers", type=click.IntRange(min=1), help="Threads; default one for each core."),
    )(function)


def _together(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
