"""`noisegen make-manifest`: the photographs of a folder as a Parquet manifest."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from noisegen.cli import complete
from noisegen.cli.command import Command
from noisegen.cli.printing import json_option, print_json
from noisegen.errors import UsageError

if TYPE_CHECKING:
    from noisegen.manifest_scan import ScannedPhoto, ScanReport

__all__ = ["command"]


@click.command(name="make-manifest", cls=Command)
@click.argument("source", shell_complete=complete.paths)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The manifest to write.",
)
@click.option(
    "--include",
    multiple=True,
    metavar="GLOB",
    help="Take only names or inner paths that match; may be repeated.",
)
@click.option(
    "--conditions",
    type=click.Choice(["exif", "draw"]),
    default="exif",
    show_default=True,
    help="Camera and ISO from EXIF where present, or none at all, so that the build draws them.",
)
@click.option(
    "--camera-map",
    multiple=True,
    metavar="EXIF=NAME",
    help='Rename a camera to the noise model\'s name for it, as in "Canon EOS 5D Mark II=Canon5D2"; may be repeated.',
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    source: str,
    output: Path,
    include: tuple[str, ...],
    conditions: str,
    camera_map: tuple[str, ...],
    as_json: bool,
) -> None:
    """Scan SOURCE and all folders below it for photographs and list them in a Parquet manifest.

    SOURCE is a folder, pkg:PACKAGE/FOLDER for one inside an installed Python package, or a URL. Taken are bmp,
    jpeg, jpg, png, tif, tiff and webp; names that begin with a dot are skipped. A file that is no whole picture is
    reported and left out, and the exit code is then 3. A photograph whose EXIF names no camera or ISO gets one
    drawn at random by the build; one whose camera the noise model does not know is recorded by the build as
    failed, unless it is renamed with --camera-map or left to the draw with --conditions draw.

    \b
    Examples:
      noisegen make-manifest photos -o manifest.parquet
      noisegen make-manifest photos -o manifest.parquet --include '*.png' --conditions draw
      noisegen make-manifest photos -o manifest.parquet --camera-map "Canon EOS 5D Mark II=Canon5D2"
      noisegen make-manifest pkg:skimage/data -o runs/photos.parquet --include '*.jpg'
      noisegen make-manifest s3://bucket/photos -o manifest.parquet
    """
    from noisegen.manifest_scan import SkippedFile, make_manifest, resolve_source, scan_folder
    from noisegen.progress import Progress, write_line
    from noisegen.remote_scan import scan_url

    folder = resolve_source(source)
    renamed = _parse_map(camera_map)
    options: dict[str, Any] = {"include": include, "conditions": conditions, "camera_map": renamed}
    if isinstance(folder, str):
        rows = scan_url(folder, **options)
    else:
        rows = scan_folder(folder, base=output.parent, **options)
    with Progress(None, "photo", "make-manifest") as progress:

        def seen(row: ScannedPhoto | SkippedFile) -> None:
            progress.update()
            if isinstance(row, SkippedFile):
                write_line(f"left out ({row.reason}): {row.message}")

        report = make_manifest(rows, output, seen=seen)
    if as_json:
        print_json({"manifest": output, **asdict(report)})
    else:
        _print_summary(report, folder, output)
    if report.skipped:
        context.exit(3)


def _parse_map(pairs: tuple[str, ...]) -> dict[str, str]:
    renamed = {}
    for pair in pairs:
        exif, separator, name = (part.strip() for part in pair.partition("="))
        if not (exif and separator and name):
            raise UsageError(f'--camera-map {pair!r} is not EXIF=NAME, as in "Canon EOS 5D Mark II=Canon5D2"')
        renamed[exif] = name
    return renamed


def _print_summary(report: ScanReport, folder: Path | str, output: Path) -> None:
    click.echo(
        f"{output}: {report.photographs} photographs, {sum(report.cameras.values())} with a camera, "
        f"{report.with_iso} with an ISO, {len(report.skipped)} files left out"
    )
    for camera, count in sorted(report.cameras.items()):
        click.echo(f"  {camera}: {count}")
    if report.outside:
        click.echo(
            f"{report.outside} photographs lie outside the manifest's folder: "
            f"build with --root {folder if isinstance(folder, str) else folder.resolve()} or --allow-outside"
        )
