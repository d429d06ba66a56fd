"""`noisegen eval-noise`: how near a model's noise comes to that of real pairs, beside classical baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from noisegen.models.protocol import NoiseModel

__all__ = ["command"]


@click.command(name="eval-noise")
@click.argument("model")
@click.argument("pairs", type=click.Path(path_type=Path))
@click.option("--split", default="val", show_default=True, help="Rows to score; '' for all.")
@click.option(
    "--fit-split", default="train", show_default=True, help="Rows to fit the baselines on; '' for all."
)
@click.option(
    "--against",
    default="awgn,heteroscedastic",
    show_default=True,
    help="Baselines to score beside the model, separated by commas; '' for none.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the synthetic noise.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--crop",
    type=click.IntRange(min=0),
    default=768,
    show_default=True,
    help="Side of the central square that is scored of each picture; 0 for whole pictures.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for the tables."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def command(
    context: click.Context,
    model: str,
    pairs: Path,
    split: str,
    fit_split: str,
    against: str,
    seed: int,
    device: str,
    crop: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Score the noise of MODEL ("default" or a file) against the real noise of PAIRS (CSV or Parquet).

    Prints kld_nm (histogram divergence over 96x96 patches) and acf_error (difference of the autocorrelations)
    for each camera and ISO, with means over conditions; lower is better. Exit code 3 means that a condition
    or picture is left out.
    """
    import json

    from noisegen.datasets.pairs import read_pairs
    from noisegen.devices import resolve_device
    from noisegen.evaluation.noise_eval import evaluate_noise
    from noisegen.evaluation.noise_tables import noise_json, noise_markdown, problems_of, write_noise_tables
    from noisegen.fitting.classical import fit_baselines
    from noisegen.models import checkpoint_sha256, load_noise_model
    from noisegen.progress import Progress

    device = resolve_device(device)
    methods: dict[str, NoiseModel] = {"model": load_noise_model(model, device=device)}
    scored = read_pairs(pairs, split=split or None)
    baselines = [name.strip() for name in against.split(",") if name.strip()]
    if baselines:
        methods |= fit_baselines(baselines, read_pairs(pairs, split=fit_split or None))

    with Progress(len(scored) * len(methods), "picture", "eval-noise") as progress:
        scores = {
            name: evaluate_noise(method, scored, seed=seed, crop=crop, device=device, advance=progress.update)
            for name, method in methods.items()
        }
    settings = {
        "model": model,
        "checkpoint_sha256": checkpoint_sha256(model),
        "pairs": str(pairs),
        "split": split,
        "fit_split": fit_split if baselines else "",
        "seed": seed,
        "crop": crop,
    }
    record = {"settings": settings} | noise_json(scores)
    click.echo(json.dumps(record, indent=1) if as_json else noise_markdown(scores), nl=as_json)
    if output is not None:
        write_noise_tables(output, scores, record)
    if problems_of(scores):
        context.exit(3)
