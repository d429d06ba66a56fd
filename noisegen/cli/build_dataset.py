"""`noisegen build-dataset`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from noisegen.cli.places import PLACE

__all__ = ["command"]


@click.command(name="build-dataset")
@click.argument("manifest", type=PLACE)
@click.option("-o", "--output", type=PLACE, required=True, help="Folder or URL of the dataset.")
@click.option(
    "--model",
    default="default",
    show_default=True,
    help="'default' or a .safetensors checkpoint (path or URL).",
)
@click.option(
    "--format", type=click.Choice(["webdataset", "folders"]), default="webdataset", show_default=True
)
@click.option("--tile-size", type=click.IntRange(min=1), default=256, show_default=True, help="Side, pixels.")
@click.option(
    "--variants",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Noisy versions of each photo.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--camera", help="For all photos, instead of the manifest's.")
@click.option("--iso", type=click.IntRange(min=1), help="For all photos, instead of the manifest's.")
@click.option("--limit", type=click.IntRange(min=0), help="Use the first N rows only.")
@click.option("--root", type=PLACE, help="Folder or URL of the photos; default: where the manifest lies.")
@click.option(
    "--staging",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where shards for a URL are made; default: the system's folder for temporary files.",
)
@click.option("--allow-outside", is_flag=True, help="Let rows point outside that folder.")
@click.option("--max-pixels", type=click.IntRange(min=1), help="Refuse larger photos; default 250 million.")
@click.option("--max-failures", type=click.IntRange(min=0), help="Stop when more photos than this fail.")
@click.option(
    "--rows-per-shard", type=click.IntRange(min=1), help="Default: around a thousand tiles in a shard."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="auto: bfloat16 on CUDA and on CPUs with AMX.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Tiles given to a worker at once.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads; default one for each core.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.pass_context
def command(
    ctx: click.Context, manifest: Path | str, output: Path | str, max_pixels: int | None, **options: Any
) -> None:
    """Build a noisy/clean dataset from the clean photographs of MANIFEST (Parquet).

    MANIFEST, --root, --model and -o may be URLs (s3://, gs://, file:// and others); see docs/remote.md.

    Each photograph is cut into tiles; tiles at the right and lower border are shifted back so that they end
    there, so nothing is lost and the overlap is seen twice. Camera and ISO come from the manifest; what is
    missing is drawn at random, by seed, and recorded.

    An interrupted build continues when the same command is given again. Neither --batch-size nor --workers
    changes a byte of the result; other options do, and a folder that was begun with others is refused.

    Exit code 0: all done; 3: done, but some photographs failed (failures.jsonl); 2: the request cannot be
    carried out; 1: crashed or too many failures; 130 or 143: interrupted.

    \b
    Examples:
      noisegen build-dataset manifest.parquet -o OUT
      noisegen build-dataset manifest.parquet -o OUT --format folders --tile-size 128 --variants 4
      noisegen build-dataset manifest.parquet -o OUT --camera S6 --iso 800 --limit 10
      noisegen build-dataset s3://bucket/photos/manifest.parquet -o s3://bucket/dataset
      noisegen build-dataset manifest.parquet --root s3://bucket/photos -o OUT
    """
    from noisegen.images import DEFAULT_MAX_PIXELS
    from noisegen.synthesis.build import build_dataset

    summary = build_dataset(manifest, output, max_pixels=max_pixels or DEFAULT_MAX_PIXELS, **options)
    click.echo(summary.text())
    ctx.exit(summary.exit_code)
