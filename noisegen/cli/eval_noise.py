"""`noisegen eval-noise`: how near noise models come to the noise of real pairs, beside classical baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from noisegen.cli import complete
from noisegen.cli.command import Command
from noisegen.cli.places import PLACE
from noisegen.cli.printing import json_option

if TYPE_CHECKING:
    from noisegen.models.protocol import NoiseModel

__all__ = ["command"]

CHECKPOINT_SUFFIX = ".safetensors"
PAIRED_MARK = " (paired)"


@click.command(name="eval-noise", cls=Command)
@click.argument("model", shell_complete=complete.models)
@click.argument("pairs", type=click.Path(path_type=Path))
@click.option(
    "--split",
    default="val",
    show_default=True,
    shell_complete=complete.pair_splits,
    help="Rows to score; '' for all.",
)
@click.option(
    "--camera",
    "cameras",
    multiple=True,
    metavar="NAME",
    shell_complete=complete.pair_cameras,
    help="Score this camera's pairs only; may be repeated.",
)
@click.option(
    "--fit-split",
    default="train",
    show_default=True,
    shell_complete=complete.pair_splits,
    help="Rows to fit the baselines on; '' for all.",
)
@click.option(
    "--against",
    default="awgn,heteroscedastic",
    show_default=True,
    shell_complete=complete.models_and_fitted_types,
    help="What to score beside the model, separated by commas: awgn, poisson-gaussian, heteroscedastic, "
    "correlated-gaussian (fitted here), 'default' or further checkpoint files; '' for none.",
)
@click.option(
    "--noisy-pool",
    type=PLACE,
    metavar="TABLE",
    help="Real pairs whose noisy pictures show models that take references what noise to make [default: the rows of "
    "--fit-split, for models that need such].",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the synthetic noise and the test.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--crop",
    type=click.IntRange(min=0),
    default=768,
    show_default=True,
    help="Side of the central square that is scored of each picture; 0 for whole pictures.",
)
@click.option(
    "--two-sample/--no-two-sample",
    default=None,
    help="Train a small network for each method to tell its noise from real noise; takes a minute or two "
    "each. On with --output, else off.",
)
@click.option(
    "--two-sample-patches",
    type=click.IntRange(min=2),
    default=20_000,
    show_default=True,
    help="Patches that each of these networks is trained on, real and synthetic.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for noise.md, noise.csv, noise.json and plots.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    model: str,
    pairs: Path,
    split: str,
    cameras: tuple[str, ...],
    fit_split: str,
    against: str,
    noisy_pool: Path | str | None,
    seed: int,
    device: str,
    crop: int,
    two_sample: bool | None,
    two_sample_patches: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Score the noise of MODEL ("default" or a file) against the real noise of PAIRS (CSV or Parquet).

    Prints for each method, beside the noise floor, its parameters and speed and the means over (camera, ISO) of kld_nm
    (histogram divergence over 96x96 patches), acf_error (difference of the autocorrelations) and others, then kld_nm by
    camera and by condition; with --output all metrics are written, with plots (docs/evaluation.md explains them). Exit
    code 3 means that a condition or picture is left out.

    MODEL and the files of --against may have "paired:" before them: a model that takes references then has each pair's
    own noisy picture for its reference.

    \b
    Examples:
      noisegen eval-noise default pairs.csv
      noisegen eval-noise default pairs.csv --against awgn,poisson-gaussian,heteroscedastic -o report
      noisegen eval-noise a.safetensors pairs.csv --against b.safetensors,default --split '' --json
      noisegen eval-noise naflow.safetensors pairs.csv --against paired:naflow.safetensors
    """
    from noisegen.datasets.pairs import keep_cameras, read_pairs
    from noisegen.devices import resolve_device
    from noisegen.errors import UsageError
    from noisegen.evaluation.method_cost import drawing_place
    from noisegen.evaluation.noise_eval import TILE_SIZE, evaluate_methods
    from noisegen.evaluation.noise_markdown import noise_summary
    from noisegen.evaluation.noise_means import NoiseReport, problems_of
    from noisegen.evaluation.noise_report import KeptPictures, prepare_folder, two_sample_scores, write_report
    from noisegen.evaluation.noise_score import FLOOR
    from noisegen.evaluation.noise_tables import json_text, noise_json
    from noisegen.progress import Progress

    device = resolve_device(device)
    two_sample = output is not None if two_sample is None else two_sample
    if output is not None:
        prepare_folder(output)
    sources = list(dict.fromkeys([model, *(name.strip() for name in against.split(",") if name.strip())]))
    scored = keep_cameras(read_pairs(pairs, split=split or None), cameras, pairs)
    methods, hashes, paired = _load(sources, pairs, fit_split, noisy_pool, device)

    kept = KeptPictures(len(scored), methods[next(iter(methods))].bit_depth)
    with Progress(len(scored) * len(methods), "picture", "eval-noise") as progress:
        evaluation = evaluate_methods(
            methods,
            scored,
            seed=seed,
            crop=crop,
            device=device,
            paired=paired,
            see=kept.add if two_sample or output else lambda picture: None,
            advance=lambda pixels: progress.update(pixels=pixels),
        )
    tests, notes = {}, []
    if two_sample:
        from noisegen.evaluation.two_sample import EPOCHS

        try:
            with Progress(EPOCHS * (len(methods) + 1), "epoch", "two-sample tests") as progress:
                tests = two_sample_scores(
                    kept,
                    list(methods),
                    patches=two_sample_patches,
                    seed=seed,
                    device=device,
                    advance=progress.update,
                )
        except UsageError as error:
            notes.append(f"two-sample tests left out: {error}")
    report = NoiseReport(
        {**evaluation.methods, FLOOR: evaluation.floor},
        tests,
        tuple(notes),
        evaluation.costs,
        drawing_place(device, TILE_SIZE),
    )
    settings = {
        "model": model,
        "checkpoint_sha256": hashes[next(iter(methods))],
        "methods": hashes,
        "pairs": str(pairs),
        "split": split,
        "cameras": list(cameras),
        "fit_split": fit_split,
        "noisy_pool": None if noisy_pool is None else str(noisy_pool),
        "seed": seed,
        "crop": crop,
        "two_sample_patches": two_sample_patches if two_sample else 0,
        "device": device,
    }
    if as_json:
        click.echo(json_text({"settings": settings} | noise_json(report)), nl=False)
    else:
        click.echo(noise_summary(report), nl=False)
    if output is not None:
        write_report(output, report, kept.samples(), settings)
    if problems_of(report):
        context.exit(3)


def _load(
    sources: list[str], pairs: Path, fit_split: str, noisy_pool: Path | str | None, device: str
) -> tuple[dict[str, NoiseModel], dict[str, str], list[str]]:
    """The methods by the names that tables give them, the hashes of the checkpoints, and which methods are paired."""
    from noisegen.datasets.pairs import read_pairs
    from noisegen.errors import UsageError
    from noisegen.evaluation.noise_methods import PAIRED, load_method
    from noisegen.fitting.one_pass import fit_models, fitted_types, is_fitted_type
    from noisegen.models import checkpoint_sha256
    from noisegen.models.references import WithPool
    from noisegen.suggestions import did_you_mean

    _, *others = sources
    unknown = [
        source
        for source in others
        if source != "default" and not source.endswith(CHECKPOINT_SUFFIX) and not is_fitted_type(source)
    ]
    if unknown:
        raise UsageError(
            f"unknown baseline {', '.join(unknown)}{did_you_mean(unknown[0], fitted_types()) or ';'} "
            f"there are: {', '.join(fitted_types())}, default and checkpoint files (*{CHECKPOINT_SUFFIX})"
        )
    fitted = [source for source in others if is_fitted_type(source)]
    checkpoints = [source for source in sources if source not in fitted]
    models: dict[str, NoiseModel] = {
        source: load_method(source, noisy_pool=noisy_pool, pairs=pairs, fit_split=fit_split, device=device)
        for source in checkpoints
    }
    if noisy_pool is not None and not any(isinstance(model, WithPool) for model in models.values()):
        raise UsageError("none of the methods takes references from --noisy-pool; leave it out")
    if fitted:
        on = read_pairs(pairs, split=fit_split or None)
        depth = models[sources[0]].bit_depth
        models |= {name: model.to(device) for name, model in fit_models(fitted, on, depth).items()}
    files = list(dict.fromkeys(source.removeprefix(PAIRED) for source in checkpoints))
    short = dict(zip(files, _short_names(files, fitted), strict=True))
    names = {
        source: short[file] + (PAIRED_MARK if source != file else "")
        for source in checkpoints
        for file in [source.removeprefix(PAIRED)]
    }
    return (
        {names.get(source, source): models[source] for source in sources},
        {names[source]: checkpoint_sha256(source.removeprefix(PAIRED)) for source in checkpoints},
        [names[source] for source in checkpoints if source.startswith(PAIRED)],
    )


def _short_names(checkpoints: list[str], taken: list[str]) -> list[str]:
    """The files' names, with their folders where that alone tells them apart."""
    stems = [Path(source).stem for source in checkpoints]
    folders = [str(Path(*Path(source).parts[-2:]).with_suffix("")) for source in checkpoints]
    for names in (stems, folders):
        if len({*names, *taken}) == len(names) + len(taken):
            return names
    return checkpoints
