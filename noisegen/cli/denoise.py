"""`noisegen denoise`: photographs without their noise."""

from __future__ import annotations

from pathlib import Path

import click

from noisegen.cli.command import Command
from noisegen.cli.printing import json_option, print_json

__all__ = ["command"]


@click.command(name="denoise", cls=Command)
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the denoised photographs.",
)
@click.option(
    "--denoiser",
    "checkpoint",
    required=True,
    type=click.Path(path_type=Path),
    help="Checkpoint of the denoiser (.safetensors).",
)
@click.option(
    "--bit-depth",
    type=click.IntRange(9, 16),
    help="Bits that 16-bit files fill, where these are not the denoiser's.",
)
@click.option(
    "--tile",
    type=click.IntRange(min=1),
    help="Side of the pieces that are computed at once, in pixels, default 512: memory, never the result.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="auto: bfloat16 for 8-bit pictures on CUDA and on CPUs with AMX.",
)
@click.option("--overwrite", is_flag=True, help="Denoise again what is already there.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    photos: tuple[Path, ...],
    output: Path,
    checkpoint: Path,
    bit_depth: int | None,
    tile: int | None,
    device: str,
    precision: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Denoise photographs: each PHOTO is a file, or a folder whose pictures are taken (not those below it).

    Each becomes a lossless PNG of the same name in the output folder, upright, with its bit depth, EXIF and colour
    profile. A photograph whose PNG exists is skipped, so that the same command continues an interrupted run.

    Exit code 0: all done; 3: done, but photographs failed (each is reported), for example a grey one with a denoiser
    for RGB; 2: the request cannot be carried out; 130: interrupted.

    \b
    Examples:
      noisegen denoise night.jpg -o denoised --denoiser denoiser.safetensors
      noisegen denoise photos more/*.tif -o denoised --denoiser denoiser.safetensors --device cuda
    """
    from noisegen.denoising import load_denoiser
    from noisegen.denoising.inference import DEFAULT_TILE, Denoiser
    from noisegen.denoising.photographs import count_pixels, denoise_photograph, plan_photographs
    from noisegen.devices import resolve_device, resolve_precision
    from noisegen.errors import InputError
    from noisegen.progress import Progress, say, write_line

    jobs = plan_photographs(photos, output)
    todo = [job for job in jobs if overwrite or not job.output.exists()]
    if len(todo) < len(jobs):
        say(f"skipped, already there: {len(jobs) - len(todo)} (--overwrite denoises again)")
    model = load_denoiser(checkpoint)
    device = resolve_device(device)
    if precision == "auto" and model.bit_depth > 8:
        precision = "float32"  # bfloat16 has 8 bits, too few to see the noise of these pictures
    denoiser = Denoiser(
        model,
        device=device,
        precision=resolve_precision(precision, device),
        tile=tile or DEFAULT_TILE,
        bit_depth=bit_depth,
    )
    failed: list[dict[str, object]] = []
    with Progress(sum(map(count_pixels, todo)), "pixel", "denoise") as progress:
        for job in todo:
            progress.update(0, photo=job.source.name)
            try:
                denoise_photograph(denoiser, job, progress.update)
            except InputError as error:
                failed.append({"photo": job.source, "reason": error.reason, "message": str(error)})
                write_line(f"failed ({error.reason}): {error}")
    done, skipped = len(todo) - len(failed), len(jobs) - len(todo)
    if as_json:
        print_json({"output": output, "denoised": done, "skipped": skipped, "failed": failed})
    else:
        click.echo(f"{output}: {done} denoised, {skipped} skipped, {len(failed)} failed")
    if failed:
        context.exit(3)
