"""The options of a build, which `build-dataset` and `plan` have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from noisegen.cli import complete
from noisegen.cli.command import GroupedOption
from noisegen.cli.options import output_options
from noisegen.cli.places import PLACE

__all__ = ["PROFILE", "build_options", "rank_options", "ray_options"]

F = Callable[..., Any]
NOISE, TILES, SPLITS = "Noise", "Tiles", "Splits"

PROFILE = click.option(
    "--profile",
    is_flag=True,
    help="Print where the time went, and write state/trace.json for chrome://tracing or Perfetto.",
)

OPTIONS = (
    click.option(
        "--model",
        default="default",
        show_default=True,
        shell_complete=complete.models,
        help="'default' or a .safetensors checkpoint (path or URL).",
    ),
    click.option(
        "--noisy-pool",
        cls=GroupedOption,
        group=NOISE,
        type=PLACE,
        metavar="PAIRS",
        help="Table of real pairs (path or URL) whose noisy pictures show a model that takes references what noise to "
        "make, by camera and ISO.",
    ),
    output_options("webdataset"),
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
    click.option(
        "--camera", shell_complete=complete.cameras, help="For all photos, instead of the manifest's."
    ),
    click.option(
        "--iso",
        type=click.IntRange(min=1),
        shell_complete=complete.isos,
        help="For all photos, instead of the manifest's.",
    ),
    click.option(
        "--conditions",
        cls=GroupedOption,
        group=NOISE,
        type=click.Path(path_type=Path, dir_okay=False),
        help="YAML file: which cameras and ISO settings are drawn, and how often.",
    ),
    click.option(
        "--strength",
        cls=GroupedOption,
        group=NOISE,
        type=float,
        default=1.0,
        show_default=True,
        help="Strength: factor of the noise's standard deviation.",
    ),
    click.option(
        "--halo",
        cls=GroupedOption,
        group=NOISE,
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Pixels around a tile that the model sees too; 8 and more let noise continue across tiles.",
    ),
    click.option(
        "--downscale",
        cls=GroupedOption,
        group=TILES,
        type=float,
        default=1.0,
        show_default=True,
        help="Make photos smaller by this factor first (area averages).",
    ),
    click.option(
        "--overlap",
        cls=GroupedOption,
        group=TILES,
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Pixels that neighbouring tiles share.",
    ),
    click.option(
        "--min-sharpness",
        cls=GroupedOption,
        group=TILES,
        type=click.FloatRange(min=0),
        help="Leave out tiles whose luma has a Laplacian of a lower standard deviation, in 8-bit grey levels.",
    ),
    click.option(
        "--max-flat",
        cls=GroupedOption,
        group=TILES,
        type=click.FloatRange(0, 1),
        help="Leave out tiles of which a larger share is flat (8 x 8 blocks, luma std below 1 grey level).",
    ),
    click.option(
        "--max-saturated",
        cls=GroupedOption,
        group=TILES,
        type=click.FloatRange(0, 1),
        help="Leave out tiles of which a larger share of pixels has a channel at its highest value.",
    ),
    click.option(
        "--split",
        cls=GroupedOption,
        group=SPLITS,
        metavar="NAME:SHARE,...",
        help="Give each photo, with all its tiles, to a split: train:0.9,val:0.05,test:0.05.",
    ),
    click.option("--limit", type=click.IntRange(min=0), help="Use the first N rows only."),
    click.option("--root", type=PLACE, help="Folder or URL of the photos; default: where the manifest lies."),
    click.option(
        "--staging",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where shards for a URL are made; default: the system's folder for temporary files.",
    ),
    click.option("--allow-outside", is_flag=True, help="Let rows point outside that folder."),
    click.option(
        "--max-pixels", type=click.IntRange(min=1), help="Refuse larger photos; default 250 million."
    ),
    click.option("--max-failures", type=click.IntRange(min=0), help="Stop when more photos than this fail."),
    PROFILE,
    click.option(
        "--rows-per-shard", type=click.IntRange(min=1), help="Default: around a thousand tiles in a shard."
    ),
    click.option(
        "--license",
        default="unknown",
        show_default=True,
        help="Of the dataset, for its card: an identifier such as cc-by-4.0, or any text.",
    ),
    click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda (all GPUs) or cuda:N (one)."
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        show_default=True,
        help="auto: float16 on CUDA; bfloat16 on CPUs with AMX where that is near enough.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        help="Tiles given to a worker at once; on CUDA rounded up to whole batches of the device.",
    ),
    click.option(
        "--workers", type=click.IntRange(min=1), help="Threads; default one for each core, 4 more on CUDA."
    ),
)


RANK_OPTIONS = (
    click.option(
        "--rank",
        cls=GroupedOption,
        group="Several processes",
        type=click.IntRange(min=0),
        help="Number of this process among those that share the work; default: as Slurm arrays, Kubernetes Indexed "
        "Jobs, AWS Batch, Google Batch or torchrun say.",
    ),
    click.option(
        "--world-size",
        cls=GroupedOption,
        group="Several processes",
        type=click.IntRange(min=1),
        help="How many processes share the work; 1: this one does all, whatever the environment says.",
    ),
)


RAY_OPTIONS = (
    click.option(
        "--executor",
        cls=GroupedOption,
        group="Ray",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="ray: a Ray cluster makes the shards, and this command hands them out; --workers is then the threads "
        "(CPUs) of each of its processes.",
    ),
    click.option(
        "--ray-address",
        cls=GroupedOption,
        group="Ray",
        metavar="HOST:PORT",
        help="Of the cluster, or auto; default: RAY_ADDRESS, otherwise Ray is started on this machine.",
    ),
    click.option(
        "--gpus-per-task",
        cls=GroupedOption,
        group="Ray",
        type=click.FloatRange(min=0),
        help="GPUs of each process, 0.5 for two on one GPU; default 1 with --device cuda and where the cluster has "
        "GPUs, otherwise 0.",
    ),
)


def rank_options(command: F) -> F:
    """Gives a command the options that say which of several processes it is."""
    for option in reversed(RANK_OPTIONS):
        command = option(command)
    return command


def ray_options(command: F) -> F:
    """Gives a command the options that have a Ray cluster make the shards."""
    for option in reversed(RAY_OPTIONS):
        command = option(command)
    return command


def build_options(command: F) -> F:
    """Gives a command the options of a build; they come as the keyword arguments of `noisegen.build_dataset`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
