"""Denoising the photographs of files and folders into PNG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from noisegen.datasets.layouts import SUFFIXES
from noisegen.denoising.inference import Denoiser
from noisegen.errors import InputError, UsageError
from noisegen.images import probe, read_image, read_metadata
from noisegen.png import encode_png
from noisegen.suggestions import did_you_mean_path

__all__ = ["DenoiseJob", "count_pixels", "denoise_photograph", "plan_photographs"]


@dataclass(frozen=True)
class DenoiseJob:
    """One photograph and the PNG that is made of it."""

    source: Path
    output: Path


def plan_photographs(sources: Sequence[Path], folder: Path) -> list[DenoiseJob]:
    """Names the output of each photograph: its name in `folder`, with the suffix .png.

    Args:
        sources: files, and folders, whose pictures are taken in order of name (those below inner folders are not).
        folder: of the outputs.

    Raises:
        UsageError: a source does not exist or holds no pictures, two would get the same output, or one would be
            replaced by its own.
    """
    jobs: dict[str, DenoiseJob] = {}
    for photo in dict.fromkeys(photo for source in sources for photo in _photographs(source)):
        job = DenoiseJob(photo, folder / f"{photo.stem}.png")
        other = jobs.setdefault(photo.stem, job)
        if other is not job and other.source.resolve() != photo.resolve():
            raise UsageError(
                f"{other.source} and {photo} would both become {job.output}; denoise them into two folders"
            )
        if job.output.resolve() == photo.resolve():
            raise UsageError(f"{photo} would be replaced; choose another folder with --output")
    return list(jobs.values())


def count_pixels(job: DenoiseJob) -> int:
    """Height times width by the photograph's header, 0 where it cannot be read."""
    try:
        info = probe(job.source)
    except InputError:
        return 0
    return info.height * info.width


def denoise_photograph(denoiser: Denoiser, job: DenoiseJob, advance: Callable[[int], object]) -> None:
    """Reads, denoises and writes one photograph with its EXIF and colour profile; the file is whole or absent.

    Args:
        denoiser: for pictures of its channels and bit depth.
        job: what to read and where to write.
        advance: told the number of pixels that were denoised since the last call.

    Raises:
        InputError: the photograph cannot be read or is not one that the denoiser is for; the message names it.
        UsageError: the output cannot be written.
    """
    metadata = read_metadata(job.source)
    noisy = read_image(job.source)
    try:
        denoised = denoiser.denoise(noisy, advance=advance)
    except InputError as error:
        raise InputError(error.reason, f"{job.source}: {error}") from error
    data = encode_png(denoised, metadata.png_chunks(denoiser.channels))
    temporary = job.output.with_name(f".{job.output.name}.tmp")
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(job.output)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{job.output} cannot be written: {error}") from error


def _photographs(source: Path) -> list[Path]:
    if not source.is_dir():
        if not source.exists():
            raise UsageError(
                f"{source} does not exist; give photographs or folders of them{did_you_mean_path(source)}"
            )
        return [source]
    found = [
        file
        for file in sorted(source.iterdir())
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]
    if not found:
        raise UsageError(f"{source} holds no pictures ({' '.join(sorted(SUFFIXES))})")
    return found
