"""`noisegen train-noise-model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["command"]


@click.command()
@click.argument("pairs", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Checkpoint to write.")
@click.option(
    "--recipe",
    type=click.Choice(["compact", "paper"]),
    default="compact",
    show_default=True,
    help="compact: small and fast, trains on a CPU; paper: sizes and schedule of the NM-FlowGAN paper.",
)
@click.option("--split", help="Use the pairs of this split [default: 'train' where marked, else all].")
@click.option("--steps", type=click.IntRange(1), help="Number of training steps [default: the recipe's].")
@click.option("--batch", type=click.IntRange(2), help="Patches per step [default: the recipe's].")
@click.option("--patch", type=click.IntRange(64), help="Patch side in pixels [default: the recipe's].")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option("--bit-depth", type=click.IntRange(8, 16), help="Bits per channel, needed for 16-bit files.")
@click.option("--licence", default="not stated", help="Terms of the training pairs, kept in the checkpoint.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Of the generator's arithmetic; auto takes bfloat16 where the hardware has it.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    pairs: Path,
    output: Path,
    recipe: str,
    split: str | None,
    steps: int | None,
    batch: int | None,
    patch: int | None,
    seed: int,
    bit_depth: int | None,
    licence: str,
    device: str,
    precision: str,
    quiet: bool,
) -> None:
    """Train an NM-FlowGAN on the real noisy/clean pairs listed in PAIRS (.csv or .parquet).

    PAIRS has the columns noisy_path, clean_path, camera, iso and optionally split. An interrupted training
    continues where it was when the same command is given again.

    \b
    Examples:
      noisegen train-noise-model pairs.csv -o camera.safetensors
      noisegen train-noise-model pairs.csv -o paper.safetensors --recipe paper --device cuda
    """
    from dataclasses import replace

    from noisegen.devices import resolve_device, resolve_precision
    from noisegen.fitting.config import RECIPES
    from noisegen.fitting.run import train_noise_model

    given: dict[str, Any] = {"steps": steps, "batch": batch, "patch": patch}
    config = replace(RECIPES[recipe], seed=seed, **{k: v for k, v in given.items() if v is not None})
    device = resolve_device(device)
    trained = train_noise_model(
        pairs,
        output,
        config,
        split=split,
        bit_depth=bit_depth,
        licence=licence,
        device=device,
        mixed_precision=resolve_precision(precision, device) == "bfloat16",
        quiet=quiet,
    )
    click.echo(
        f"{output}: trained" if trained else f"{output}: already trained with this recipe on these pairs"
    )
