"""`noisegen import-checkpoint`."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Checkpoint to write.")
def command(source: Path, output: Path) -> None:
    """Convert the authors' file SOURCE (.pth) of NM-FlowGAN, its DnCNN, or sRGBFlow into a noisegen checkpoint.

    \b
    Example:
      noisegen import-checkpoint NM-FlowGAN.pth -o nm-flowgan.safetensors
    """
    from noisegen.models.checkpoint import write_checkpoint
    from noisegen.models.official import import_official

    checkpoint = import_official(source)
    write_checkpoint(output, checkpoint)
    values = sum(t.numel() for t in checkpoint.tensors.values())
    click.echo(f"{output}: {checkpoint.kind}, {values:,} values")
    if checkpoint.vocabulary:
        click.echo(
            f"cameras {', '.join(checkpoint.vocabulary.cameras)}; "
            f"ISO {', '.join(map(str, checkpoint.vocabulary.isos))}"
        )
