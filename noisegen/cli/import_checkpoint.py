"""`noisegen import-checkpoint`."""

from __future__ import annotations

from pathlib import Path

import click

from noisegen.cli.command import Command
from noisegen.cli.printing import json_option, print_json

__all__ = ["command"]


@click.command(name="import-checkpoint", cls=Command)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Checkpoint to write.")
@json_option
def command(source: Path, output: Path, as_json: bool) -> None:
    """Convert the authors' file SOURCE (.pth) of NM-FlowGAN, its DnCNN, or sRGBFlow into a noisegen checkpoint.

    \b
    Examples:
      noisegen import-checkpoint NM-FlowGAN.pth -o nm-flowgan.safetensors
    """
    from noisegen.models.checkpoint import write_checkpoint
    from noisegen.models.official import import_official

    checkpoint = import_official(source)
    write_checkpoint(output, checkpoint)
    values = sum(t.numel() for t in checkpoint.tensors.values())
    known = checkpoint.vocabulary
    if as_json:
        print_json(
            {
                "checkpoint": output,
                "kind": checkpoint.kind,
                "values": values,
                "cameras": known and known.cameras,
                "isos": known and known.isos,
            }
        )
        return
    click.echo(f"{output}: {checkpoint.kind}, {values:,} values")
    if known:
        click.echo(f"cameras {', '.join(known.cameras)}; ISO {', '.join(map(str, known.isos))}")
