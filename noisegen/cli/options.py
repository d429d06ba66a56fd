"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from noisegen.synthesis.choices import FORMAT_NAMES, LAYOUTS, PNG_LEVELS

__all__ = ["output_options"]

F = TypeVar("F", bound=Callable[..., object])


def output_options(default_format: str | None) -> Callable[[F], F]:
    """--format (required without a default), --layout and --png-level."""
    options = [
        click.option(
            "--format",
            type=click.Choice(FORMAT_NAMES),
            default=default_format,
            required=default_format is None,
            show_default=default_format is not None,
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
    ]

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
