"""The options of a build, which `build-dataset` and `plan` have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["build_options"]

F = Callable[..., Any]

OPTIONS = (
    click.option(
        "--model", default="default", show_default=True, help="'default' or a .safetensors checkpoint."
    ),
    click.option(
        "--format", type=click.Choice(["webdataset", "folders"]), default="webdataset", show_default=True
    ),
    click.option(
        "--tile-size", type=click.IntRange(min=1), default=256, show_default=True, help="Side, pixels."
    ),
    click.option(
        "--variants",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Noisy versions of each photo.",
    ),
    click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True),
    click.option("--camera", help="For all photos, instead of the manifest's."),
    click.option("--iso", type=click.IntRange(min=1), help="For all photos, instead of the manifest's."),
    click.option("--limit", type=click.IntRange(min=0), help="Use the first N rows only."),
    click.option(
        "--root",
        type=click.Path(path_type=Path),
        help="Folder of the photos; default: the manifest's folder.",
    ),
    click.option("--allow-outside", is_flag=True, help="Let rows point outside that folder."),
    click.option(
        "--max-pixels", type=click.IntRange(min=1), help="Refuse larger photos; default 250 million."
    ),
    click.option("--max-failures", type=click.IntRange(min=0), help="Stop when more photos than this fail."),
    click.option(
        "--rows-per-shard", type=click.IntRange(min=1), help="Default: around a thousand tiles in a shard."
    ),
    click.option(
        "--license",
        default="unknown",
        show_default=True,
        help="Of the dataset, for its card: an identifier such as cc-by-4.0, or any text.",
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16"]),
        default="auto",
        show_default=True,
        help="auto: bfloat16 on CUDA and on CPUs with AMX.",
    ),
    click.option("--batch-size", type=click.IntRange(min=1), help="Tiles given to a worker at once."),
    click.option("--workers", type=click.IntRange(min=1), help="Threads; default one for each core."),
)


def build_options(command: F) -> F:
    """Gives a command the options of a build; they come as the keyword arguments of `noisegen.build_dataset`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
