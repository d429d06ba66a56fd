"""`noisegen train-denoiser`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from noisegen.cli import complete
from noisegen.cli.command import Command
from noisegen.cli.places import PLACE
from noisegen.cli.printing import json_option, print_json

__all__ = ["command"]


@click.command(name="train-denoiser", cls=Command)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", shell_complete=complete.paths)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Checkpoint to write.")
@click.option(
    "--recipe",
    type=click.Choice(["compact", "paper"]),
    default="compact",
    show_default=True,
    help="compact: DnCNN of 10 layers and 32 channels, which trains on a CPU; paper: 18 layers and 64 channels, "
    "schedule of the NM-FlowGAN paper.",
)
@click.option(
    "--noise-model",
    default="default",
    show_default=True,
    metavar="MODEL",
    shell_complete=complete.models_and_fitted_types,
    help="Draws the noise of clean sources: default, a checkpoint, awgn, poisson-gaussian, heteroscedastic or "
    "correlated-gaussian.",
)
@click.option(
    "--fit-on",
    type=click.Path(path_type=Path),
    metavar="PAIRS",
    help="Real pairs that a classical noise model is fitted on [default: the first table of pairs given].",
)
@click.option(
    "--noisy-pool",
    type=PLACE,
    metavar="PAIRS",
    help="Real pairs whose noisy pictures show a noise model that takes references what noise to make [default: the "
    "first table of pairs given, for a model that needs such].",
)
@click.option(
    "--split",
    help="Train on this split of tables of pairs and of built datasets [default: 'train' where marked, else all].",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Folder that relative paths of manifests start from [default: the manifest's].",
)
@click.option(
    "--validate",
    type=click.Path(path_type=Path),
    metavar="PAIRS",
    help="Real pairs to validate on [default: a table of pairs among the sources that marks 'val'].",
)
@click.option(
    "--validate-split", help="Split to validate on, '' for none [default: 'val' where marked, else all]."
)
@click.option(
    "--validate-every", type=click.IntRange(1), help="Steps between validations [default: the recipe's]."
)
@click.option(
    "--keep",
    type=click.Choice(["best", "last"]),
    help="Which weights become the denoiser: the best validated ones or the last [default: the recipe's].",
)
@click.option("--layers", type=click.IntRange(3), help="Convolutions of the DnCNN [default: the recipe's].")
@click.option("--width", type=click.IntRange(1), help="Its channels [default: the recipe's].")
@click.option("--steps", type=click.IntRange(1), help="Number of training steps [default: the recipe's].")
@click.option("--batch", type=click.IntRange(1), help="Patches per step [default: the recipe's].")
@click.option("--patch", type=click.IntRange(8), help="Patch side in pixels [default: the recipe's].")
@click.option(
    "--loss", type=click.Choice(["l1", "l2"]), help="Absolute or squared error [default: the recipe's]."
)
@click.option(
    "--learning-rate", type=click.FloatRange(0, min_open=True), help="Of Adam [default: the recipe's]."
)
@click.option(
    "--magnify",
    type=(float, float),
    metavar="LOW HIGH",
    help="Enlarge photographs of manifests by a factor of this range, drawn for each patch: for pictures that "
    "were made smaller, and so are sharper than what a camera's pixels show [default: the recipe's, 1 1].",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option("--bit-depth", type=click.IntRange(8, 16), help="Bits per channel, needed for 16-bit pairs.")
@click.option("--licence", default="not stated", help="Terms of the pictures, kept in the checkpoint.")
@click.option(
    "--workers", type=click.IntRange(1), help="Threads that read patches [default: all cores, up to 8]."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Of the network's arithmetic; auto takes bfloat16 where the hardware has it.",
)
@json_option
def command(
    sources: tuple[str, ...],
    output: Path,
    recipe: str,
    noise_model: str,
    fit_on: Path | None,
    noisy_pool: Path | str | None,
    split: str | None,
    root: Path | None,
    validate: Path | None,
    validate_split: str | None,
    validate_every: int | None,
    keep: str | None,
    layers: int | None,
    width: int | None,
    steps: int | None,
    batch: int | None,
    patch: int | None,
    loss: str | None,
    learning_rate: float | None,
    magnify: tuple[float, float] | None,
    seed: int,
    bit_depth: int | None,
    licence: str,
    workers: int | None,
    device: str,
    precision: str,
    as_json: bool,
) -> None:
    """Train a DnCNN denoiser on each SOURCE, mixed by weight.

    SOURCE is [clean:|stream:]PATH[:WEIGHT]. PATH is a dataset that noisegen built, a table of real pairs (.csv,
    .parquet), or a manifest of clean photographs (.parquet), whose noise is drawn anew at each step. clean: takes only
    the clean pictures of a table of pairs, for new noise of their cameras and ISO settings. stream: takes the tiles of
    a dataset in epochs, shard by shard; a dataset at a URL is always taken so. An interrupted training continues when
    the same command is given again; torchrun trains on several GPUs.

    \b
    Examples:
      noisegen train-denoiser DATASET -o denoiser.safetensors --validate pairs.csv
      noisegen train-denoiser pairs.csv -o supervised.safetensors
      noisegen train-denoiser clean:pairs.csv -o awgn.safetensors --noise-model awgn
      noisegen train-denoiser pairs.csv:0.5 manifest.parquet:0.5 -o both.safetensors
      noisegen train-denoiser manifest.parquet -o paper.safetensors --recipe paper --device cuda
      noisegen train-denoiser s3://bucket/dataset -o streamed.safetensors
      torchrun --nproc-per-node 8 -m noisegen train-denoiser stream:DATASET -o streamed.safetensors
    """
    from noisegen.denoising.config import RECIPES
    from noisegen.denoising.run import train_denoiser
    from noisegen.devices import resolve_device, resolve_precision
    from noisegen.training.outputs import training_record

    config = RECIPES[recipe].changed(
        layers=layers,
        width=width,
        steps=steps,
        batch=batch,
        patch=patch,
        loss=loss,
        learning_rate=learning_rate,
        magnify=magnify,
        validate_every=validate_every,
        keep=keep,
        seed=seed,
    )
    device = resolve_device(device)
    trained = train_denoiser(
        sources,
        output,
        config,
        noise_model=noise_model,
        fit_on=fit_on,
        noisy_pool=noisy_pool,
        split=split,
        root=root,
        validate=validate,
        validate_split=validate_split,
        bit_depth=bit_depth,
        licence=licence,
        device=device,
        mixed_precision=resolve_precision(precision, device) == "bfloat16",
        workers=workers,
    )
    if os.environ.get("RANK", "0") != "0":
        return  # one of several processes; the first speaks
    if as_json:
        print_json(training_record(output, trained))
    else:
        done = "trained" if trained else "already trained with this recipe on these pictures"
        click.echo(f"{output}: {done}")
