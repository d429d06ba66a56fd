"""`noisegen eval-denoiser`: PSNR and SSIM on SIDD, SIDD+ and tables of pairs; files to hand in to SIDD."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from noisegen.cli import complete
from noisegen.cli.command import Command
from noisegen.cli.printing import json_option

if TYPE_CHECKING:
    from noisegen.denoising.inference import Denoiser

__all__ = ["command"]

CROPS = "crops.png"


@click.command(name="eval-denoiser", cls=Command)
@click.argument("denoiser", shell_complete=complete.paths)
@click.argument("benchmarks", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--beside",
    multiple=True,
    metavar="[NAME=]FILE",
    shell_complete=complete.paths,
    help="A further denoiser to score on the same pictures; may be repeated. Files of one NAME are repetitions, as "
    "by several seeds: their mean and spread are shown. Stars in NAME=FILE stand for any text.",
)
@click.option(
    "--split", help="Rows of tables to score; '' for all.  [default: val where a table has it, else all]"
)
@click.option(
    "--crop",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Side of the central square that is denoised of each picture of a table; 0 for whole pictures.",
)
@click.option("--half", type=click.Choice(["first", "second"]), help="Score this half of SIDD+ only.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the networks.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for denoising.md, denoising.csv, denoising.json, crops.png and the submission.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    denoiser: str,
    benchmarks: tuple[Path, ...],
    beside: tuple[str, ...],
    split: str | None,
    crop: int,
    half: str | None,
    device: str,
    precision: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Score DENOISER ([NAME=]FILE) on each of BENCHMARKS, beside the noisy pictures themselves.

    A benchmark is a table of pairs (.csv, .parquet) or what SIDD and SIDD+ publish: ValidationNoisyBlocksSrgb.mat with
    ValidationGtBlocksSrgb.mat beside it, siddplus_valid_noisy_srgb.mat (or the folder of PNGs) with
    siddplus_valid_gt_srgb beside it, or the folder that holds them. BenchmarkNoisyBlocksSrgb.mat has no ground truth:
    SubmitSrgb.csv and SubmitSrgb.mat are written. docs/scoring-denoisers.md explains the numbers. Exit code 3 means
    that a picture is left out.

    \b
    Examples:
      noisegen eval-denoiser mine.safetensors SIDD/ siddplus_valid_noisy_srgb.mat --half second -o report
      noisegen eval-denoiser mine.safetensors pairs.csv --beside supervised=real.safetensors --crop 512 -o report
      noisegen eval-denoiser mine=mine-*.safetensors pairs.csv --beside real=real-*.safetensors -o report
      noisegen eval-denoiser mine.safetensors BenchmarkNoisyBlocksSrgb.mat -o submission
    """
    from dataclasses import replace

    from noisegen.datasets.benchmarks import open_benchmarks
    from noisegen.devices import resolve_device, resolve_precision
    from noisegen.errors import InputError, UsageError
    from noisegen.evaluation.denoising_eval import evaluate_denoisers
    from noisegen.evaluation.denoising_pictures import choose_cases, crops_png
    from noisegen.evaluation.denoising_tables import (
        denoising_json,
        denoising_summary,
        write_denoising_tables,
    )
    from noisegen.evaluation.noise_tables import json_text
    from noisegen.evaluation.sidd_submission import write_submission
    from noisegen.progress import Progress

    device = resolve_device(device)
    precision = resolve_precision(precision, device)
    methods, hashes, repetitions = _load((denoiser, *beside), device, precision)
    opened = open_benchmarks(benchmarks, split=split, crop=crop, half=half)
    to_submit = next((benchmark for benchmark in opened if benchmark.submission), None)
    if output is not None:
        _make_folder(output)
    elif to_submit is not None:
        raise UsageError(f"{to_submit.path}: give --output, the folder for the submission")

    first = next(iter(methods))
    cases = sum(len(benchmark.cases) for benchmark in opened)
    submission = None
    with Progress(cases, "picture", "eval-denoiser") as progress:

        def advance(pixels: int) -> None:
            progress.update(pixels=pixels)

        scores = replace(evaluate_denoisers(methods, opened, advance=advance), repetitions=repetitions)
        try:
            if to_submit is not None and output is not None:
                submission = write_submission(
                    output, to_submit, methods[first], method=first, advance=advance
                )
        except InputError as error:
            scores = replace(scores, problems=(*scores.problems, str(error)))
    settings = {
        "methods": {name: {"sha256": digest} for name, digest in hashes.items()},
        "benchmarks": {benchmark.name: str(benchmark.path) for benchmark in opened},
        "split": split,
        "crop": crop,
        "half": half,
        "device": device,
        "precision": precision,
    }
    record = {"settings": settings} | denoising_json(scores, submission)
    if as_json:
        click.echo(json_text(record), nl=False)
    else:
        click.echo(denoising_summary(scores, submission), nl=False)
    if output is not None:
        chosen = choose_cases(scores)
        write_denoising_tables(output, scores, submission, record, CROPS if chosen else None)
        if chosen:
            # Of repetitions the first stands for all.
            shown = {names[0]: methods[names[0]] for names in repetitions.values()}
            _write(output / CROPS, crops_png(chosen, shown or methods))
    if scores.problems:
        context.exit(3)


def _load(
    sources: tuple[str, ...], device: str, precision: str
) -> tuple[dict[str, Denoiser], dict[str, str], dict[str, tuple[str, ...]]]:
    """The denoisers by name, the hashes of their files, and the names by what they are repetitions of.

    Where a name occurs twice, its denoisers are called NAME 1, NAME 2, ...
    """
    from noisegen.denoising import load_denoiser
    from noisegen.denoising.inference import Denoiser
    from noisegen.errors import UsageError
    from noisegen.evaluation.denoising_eval import NOISY, check_alike
    from noisegen.models import checkpoint_sha256

    files: dict[str, list[Path]] = {}
    for source in sources:
        name, _, file = source.rpartition("=") if not Path(source).exists() else ("", "", source)
        named, paths = bool(name), _matching(Path(file))
        name = name or paths[0].stem
        if name == NOISY or (name in files and not named):
            taken = "the noisy pictures" if name == NOISY else "another denoiser"
            raise UsageError(f"{source}: {name!r} is the name of {taken}; give it as NAME={file}")
        files.setdefault(name, []).extend(paths)
    repeated = any(len(paths) > 1 for paths in files.values())
    denoisers: dict[str, Denoiser] = {}
    hashes = {}
    repetitions = {}
    for name, paths in files.items():
        names = (
            tuple(f"{name} {number}" for number in range(1, 1 + len(paths))) if len(paths) > 1 else (name,)
        )
        for label, path in zip(names, paths, strict=True):
            denoisers[label] = Denoiser(load_denoiser(path), device=device, precision=precision)
            hashes[label] = checkpoint_sha256(path)
        repetitions[name] = names
    check_alike(denoisers)
    return denoisers, hashes, repetitions if repeated else {}


def _matching(path: Path) -> list[Path]:
    """The files that a path with stars in its last part stands for, in order; else itself."""
    from noisegen.errors import UsageError

    if "*" not in path.name:
        return [path]
    found = sorted(path.parent.glob(path.name))
    if not found:
        raise UsageError(f"{path}: no such files")
    return found


def _make_folder(folder: Path) -> None:
    from noisegen.errors import UsageError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: the folder cannot be made: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    from noisegen.errors import UsageError

    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
