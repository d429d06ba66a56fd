"""`noisegen build-dataset`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from noisegen.cli.build_options import build_options, rank_options, ray_options
from noisegen.cli.command import Command
from noisegen.cli.places import PLACE
from noisegen.cli.printing import json_option, print_result

__all__ = ["command"]


@click.command(name="build-dataset", cls=Command)
@click.argument("manifest", type=PLACE)
@click.option("-o", "--output", type=PLACE, required=True, help="Folder or URL of the dataset.")
@build_options
@rank_options
@ray_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    manifest: Path | str,
    output: Path | str,
    max_pixels: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Build a noisy/clean dataset from the clean photographs of MANIFEST (Parquet).

    MANIFEST, --root, --model and -o may be URLs (s3://, gs://, file:// and others); see docs/remote.md.

    Each photograph is cut into tiles; tiles at the right and lower border are shifted back so that they end
    there, so nothing is lost and the overlap is seen twice. Camera and ISO come from the manifest; what is
    missing is drawn at random, by seed, and recorded; each noisy version of a photograph has a draw of its own.

    An interrupted build continues when the same command is given again. Neither --batch-size nor --workers
    changes a byte of the result; other options do, and a folder that was begun with others is refused.

    Several processes build one dataset together, at the same time or not, on machines that see the same folder or URL:
    each makes its share of the shards, by --rank and --world-size or what the batch system says, and the last one
    completes the dataset. The bytes are those of one process; see docs/scaling.md.

    With --executor ray the processes of a Ray cluster make the shards, on nodes that come and go; see
    docs/scaling/ray.md. The bytes are the same again.

    Exit code 0: all done; 3: done, but some photographs failed (failures.jsonl); 2: the request cannot be
    carried out; 1: crashed or too many failures; 130 or 143: interrupted.

    \b
    Examples:
      noisegen build-dataset manifest.parquet -o DATASET
      noisegen build-dataset manifest.parquet -o DATASET --format folders --layout nafnet --variants 4
      noisegen build-dataset manifest.parquet -o DATASET --format parquet --png-level small
      noisegen build-dataset manifest.parquet -o DATASET --camera S6 --iso 800 --limit 10
      noisegen build-dataset manifest.parquet -o DATASET --conditions phones.yaml --split train:0.9,val:0.1
      noisegen build-dataset manifest.parquet -o DATASET --downscale 2 --min-sharpness 4 --max-flat 0.8
      noisegen build-dataset manifest.parquet -o DATASET --strength 1.5 --halo 8
      noisegen build-dataset manifest.parquet -o DATASET --limit 200 --profile
      noisegen build-dataset s3://bucket/photos/manifest.parquet -o s3://bucket/dataset
      noisegen build-dataset manifest.parquet --root s3://bucket/photos -o DATASET
      noisegen build-dataset manifest.parquet -o DATASET --json | jq .failures
      noisegen build-dataset manifest.parquet -o s3://bucket/dataset --rank 3 --world-size 8
      noisegen build-dataset manifest.parquet -o DATASET --executor ray --ray-address auto --gpus-per-task 0.5
    """
    from noisegen.images import DEFAULT_MAX_PIXELS
    from noisegen.synthesis.build import build_dataset

    summary = build_dataset(manifest, output, max_pixels=max_pixels or DEFAULT_MAX_PIXELS, **options)
    print_result(summary, as_json)
    ctx.exit(summary.exit_code)
