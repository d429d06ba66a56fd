"""`noisegen preview`: what noise models do to one photograph, to look at."""

from __future__ import annotations

from pathlib import Path

import click

from noisegen.cli import complete
from noisegen.cli.command import Command
from noisegen.cli.places import PLACE
from noisegen.cli.printing import json_option, print_json

__all__ = ["command"]

LARGEST_CROP = 4096


class _Crop(click.ParamType):
    name = "x,y[,side]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int | None]:
        try:
            x, y, *side = (int(part) for part in str(value).split(","))
        except ValueError:
            x, y, side = -1, -1, []
        if min(x, y) < 0 or len(side) > 1 or not all(1 <= length <= LARGEST_CROP for length in side):
            self.fail(
                f"{value!r} is not X,Y or X,Y,SIDE in pixels, for example 640,400,256 (SIDE: up to {LARGEST_CROP})",
                param,
                ctx,
            )
        return x, y, side[0] if side else None


@click.command(name="preview", cls=Command)
@click.argument("photo", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="PNG file. An earlier preview is replaced, any other file left alone.",
)
@click.option(
    "--camera",
    "cameras",
    multiple=True,
    metavar="NAME",
    shell_complete=complete.cameras,
    help="Whose noise to show; may be repeated.",
)
@click.option(
    "--iso",
    "isos",
    multiple=True,
    metavar="N",
    type=click.IntRange(min=1),
    shell_complete=complete.isos,
    help="May be repeated.",
)
@click.option(
    "--real",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A real noisy photograph of the same scene, of the same size; it stands beside the synthetic ones.",
)
@click.option(
    "--crop",
    "crops",
    multiple=True,
    type=_Crop(),
    metavar="X,Y[,SIDE]",
    help="Upper left corner and side of a part to show; may be repeated. Default: a flat, a detailed and a dark one.",
)
@click.option(
    "--zoom",
    type=click.IntRange(1, 8),
    default=1,
    show_default=True,
    help="Enlarge the crops so many times, without smoothing.",
)
@click.option(
    "--gain",
    type=click.FloatRange(min=0, min_open=True),
    help="Factor of the noise that is shown; default: chosen by how strong it is.",
)
@click.option(
    "--model",
    default="default",
    show_default=True,
    shell_complete=complete.models,
    help='"default" or a file of train-noise-model.',
)
@click.option(
    "--noisy-pool",
    type=PLACE,
    metavar="TABLE",
    help="Real pairs whose noisy pictures show a model that takes references what noise to make.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the noise."
)
@click.option(
    "--strength",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Factor of the noise's standard deviation.",
)
@click.option(
    "--downscale",
    type=click.FloatRange(min=1),
    default=1.0,
    show_default=True,
    help="Make the photograph smaller by this factor first (area averages).",
)
@click.option(
    "--save-noisy",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write the whole noisy photographs there, too, as PNG; of large ones only the crops are made otherwise.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@json_option
def command(
    photo: Path,
    output: Path,
    cameras: tuple[str, ...],
    isos: tuple[int, ...],
    real: Path | None,
    crops: tuple[tuple[int, int, int | None], ...],
    zoom: int,
    gain: float | None,
    model: str,
    noisy_pool: Path | None,
    seed: int,
    strength: float,
    downscale: float,
    save_noisy: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Show what noisegen does to a photograph: PHOTO clean, and with the noise of several cameras and ISO settings.

    One PNG with a column for each. Its rows: the whole picture, crops at 1:1, and the noise of these crops, amplified
    by the same factor in all columns. Without --camera and --iso: those of PHOTO's EXIF where the model knows them,
    else a few from little to much noise. With both, every combination that the model covers.

    PHOTO should be clean: its own noise stays in every column, and the new noise is added to it. If you have only a
    noisy photograph, make it smaller with --downscale 2 to 4, which averages most of its noise away. For --real a clean
    photograph of the same scene is needed: from a tripod, the mean of many shots or one at the lowest ISO.

    Exit code 0: done; 2: the request cannot be carried out, or a photograph cannot be used.

    \b
    Examples:
      noisegen preview photo.jpg -o preview.png
      noisegen preview photo.jpg -o preview.png --camera S6 --camera NikonD800 --iso 800 --iso 3200
      noisegen preview photo.jpg -o preview.png --iso 3200 --crop 640,400,256 --zoom 2
      noisegen preview clean.png -o preview.png --real noisy.png --camera SonyA7II --iso 1600
    """
    from noisegen.errors import InputError, UsageError
    from noisegen.models import checkpoint_sha256
    from noisegen.preview import (
        PreviewRequest,
        check_output,
        draw_sheet,
        plan_preview,
        run_preview,
        write_sheet,
    )
    from noisegen.progress import Progress
    from noisegen.synthesis.photograph_noise import PhotographNoise

    check_output(output, photo, real)
    request = PreviewRequest(photo, cameras, isos, crops, real, seed, strength, gain, downscale, save_noisy)
    noise = PhotographNoise(model, noisy_pool=noisy_pool, device=device)
    try:
        plan = plan_preview(request, noise)
        with Progress(len(plan.conditions), "picture", "preview") as progress:
            preview = run_preview(plan, noise, advance=progress.update)
    except InputError as error:
        raise UsageError(str(error)) from error
    sha256 = checkpoint_sha256(model)
    facts = f"Model {model} ({sha256[:8]}), seed {seed}, strength {strength:g}."
    write_sheet(
        output, draw_sheet(preview, photo.name, [facts, *(f"{note}." for note in plan.notes)], zoom=zoom)
    )
    if as_json:
        named = {"photo": str(photo), "real": real and str(real), "model": model, "checkpoint_sha256": sha256}
        print_json({**named, **preview.as_json(), "notes": list(plan.notes)})
        return
    for column in preview.columns:
        if column.std is not None:
            name = f"{column.condition.camera} ISO {column.condition.iso}" if column.condition else "real"
            click.echo(f"{name}: noise std {column.std:.2f}")
    for text in (*plan.notes, *preview.warnings):
        click.echo(f"note: {text}", err=True)
    click.echo(str(output))
