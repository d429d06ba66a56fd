"""`noisegen train-noise-model`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from noisegen.cli import complete
from noisegen.cli.command import Command
from noisegen.cli.printing import json_option, print_json

if TYPE_CHECKING:
    from noisegen.models.learning import Recipe
    from noisegen.models.registry import ModelType

__all__ = ["command"]


def _list_types(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from noisegen.models.registry import model_type, model_types

    for name in model_types():
        kind = model_type(name)
        recipes = f"recipes {', '.join(kind.recipes)}" if kind.recipes else "fitted, no recipe"
        click.echo(f"{name}: {kind.title} ({recipes})")
    context.exit()


@click.command(name="train-noise-model", cls=Command)
@click.argument("pairs", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Checkpoint to write.")
@click.option(
    "--model-type",
    "type_name",
    default="nm-flowgan",
    show_default=True,
    metavar="NAME",
    shell_complete=complete.model_type_names,
    help="What to train, see `noisegen train-noise-model --model-types`.",
)
@click.option(
    "--model-types",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_types,
    help="List the types of models and their recipes.",
)
@click.option(
    "--recipe",
    metavar="NAME",
    help="compact: small and fast, trains on a CPU; paper: sizes and schedule as published; hybrid (nm-flowgan): "
    "compact with a generator and critic on top [default: compact].",
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change a size of the recipe's model, such as structure_width=48; may be repeated.",
)
@click.option(
    "--split",
    shell_complete=complete.pair_splits,
    help="Use the pairs of this split [default: 'train' where marked, else all].",
)
@click.option(
    "--camera",
    "cameras",
    multiple=True,
    metavar="NAME",
    shell_complete=complete.pair_cameras,
    help="Train and validate on this camera's pairs only; may be repeated.",
)
@click.option(
    "--exclude-bad",
    is_flag=True,
    help="Leave out pairs that are misaligned, drifting in brightness, saturated or unreadable (see check-pairs).",
)
@click.option(
    "--strategy",
    type=click.Choice(["simultaneous", "joint", "two-stage"]),
    help="Of nm-flowgan. simultaneous: each network by its own loss, at once; joint: the generator's losses also move "
    "the flow; two-stage: the flow first, then the generator on the frozen flow [default: the recipe's].",
)
@click.option(
    "--flow-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Of nm-flowgan. Share of the steps of two-stage training that the flow has [default: the recipe's].",
)
@click.option(
    "--without",
    metavar="PARTS",
    help="Of nm-flowgan. Leave out parts of the model, separated by commas: sal, sdl (layers of the flow), gan "
    "(generator and critic) or flow.",
)
@click.option("--steps", type=click.IntRange(1), help="Number of training steps [default: the recipe's].")
@click.option("--batch", type=click.IntRange(2), help="Patches per step [default: the recipe's].")
@click.option("--patch", type=click.IntRange(32), help="Patch side in pixels [default: the recipe's].")
@click.option(
    "--validate-split",
    metavar="SPLIT",
    shell_complete=complete.pair_splits,
    help="Validate on this split, '' for none [default: 'val' where marked and training uses 'train'].",
)
@click.option(
    "--validate-every", type=click.IntRange(1), help="Steps between validations [default: the recipe's]."
)
@click.option(
    "--keep",
    type=click.Choice(["best", "last"]),
    help="Which weights become the model: the best validated ones or the last [default: the recipe's].",
)
@click.option("--seed", type=int, help="Of everything random [default: 0].")
@click.option("--bit-depth", type=click.IntRange(8, 16), help="Bits per channel, needed for 16-bit files.")
@click.option("--licence", default="not stated", help="Terms of the training pairs, kept in the checkpoint.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Of the generator's arithmetic; auto takes bfloat16 where the hardware has it.",
)
@json_option
def command(
    pairs: Path,
    output: Path,
    type_name: str,
    recipe: str | None,
    sizes: tuple[str, ...],
    split: str | None,
    cameras: tuple[str, ...],
    exclude_bad: bool,
    strategy: str | None,
    flow_share: float | None,
    without: str | None,
    validate_split: str | None,
    validate_every: int | None,
    keep: str | None,
    steps: int | None,
    batch: int | None,
    patch: int | None,
    seed: int | None,
    bit_depth: int | None,
    licence: str,
    device: str,
    precision: str,
    as_json: bool,
) -> None:
    """Train a noise model on the real noisy/clean pairs listed in PAIRS (.csv or .parquet).

    PAIRS has the columns noisy_path, clean_path, camera, iso and optionally split. An interrupted training
    continues where it was when the same command is given again. Losses and validation scores are drawn in
    OUTPUT.curves.png. torchrun trains on several GPUs at once.

    \b
    Examples:
      noisegen train-noise-model pairs.csv -o camera.safetensors
      noisegen train-noise-model pairs.csv -o paper.safetensors --recipe paper --device cuda
      noisegen train-noise-model pairs.csv -o srgbflow.safetensors --model-type srgbflow
      noisegen train-noise-model pairs.csv -o s6.safetensors --camera S6 --without sal
      noisegen train-noise-model pairs.csv -o wide.safetensors --size structure_width=48
      torchrun --nproc-per-node 8 -m noisegen train-noise-model pairs.csv -o paper.safetensors --recipe paper
    """
    from noisegen.devices import resolve_device, resolve_precision
    from noisegen.fitting.run import train_noise_model
    from noisegen.models.registry import model_type
    from noisegen.training.outputs import training_record

    kind = model_type(type_name)
    given: dict[str, Any] = {
        "steps": steps,
        "batch": batch,
        "patch": patch,
        "seed": seed,
        "sizes": tuple(_size(text) for text in sizes) or None,
        "strategy": strategy,
        "flow_share": flow_share,
        "without": without and tuple(part.strip() for part in without.split(",") if part.strip()),
        "validate_every": validate_every,
        "keep": keep,
    }
    chosen = _recipe(kind, recipe, {name: value for name, value in given.items() if value is not None})
    device = resolve_device(device)
    trained = train_noise_model(
        pairs,
        output,
        kind,
        chosen,
        split=split,
        validate_split=validate_split,
        cameras=cameras,
        exclude_bad=exclude_bad,
        bit_depth=bit_depth,
        licence=licence,
        device=device,
        mixed_precision=resolve_precision(precision, device) == "bfloat16",
    )
    if os.environ.get("RANK", "0") != "0":
        return  # one of several processes; the first speaks
    if as_json:
        print_json(training_record(output, trained))
    else:
        done = "trained" if trained else "already trained with this recipe on these pairs"
        click.echo(f"{output}: {done}")


def _recipe(kind: ModelType, name: str | None, given: dict[str, Any]) -> Recipe | None:
    """The recipe of this name, the first one for None, with what is given in place of its own values."""
    from dataclasses import fields, replace

    from noisegen.errors import UsageError
    from noisegen.suggestions import did_you_mean

    options = {field: "--" + field.replace("_", "-").replace("sizes", "size") for field in given}
    if not kind.recipes:
        needless = sorted([*options.values(), *(["--recipe"] if name else [])])
        if needless:
            raise UsageError(f"{kind.name} is fitted, not trained in steps; leave out {', '.join(needless)}")
        return None
    if name is not None and name not in kind.recipes:
        hint = did_you_mean(name, kind.recipes) or ";"
        raise UsageError(f"{kind.name} has no recipe {name!r}{hint} it has: {', '.join(kind.recipes)}")
    recipe = kind.recipes[name or next(iter(kind.recipes))]
    known = {field.name for field in fields(recipe)}
    if unknown := sorted(options[field] for field in given if field not in known):
        raise UsageError(f"{', '.join(unknown)}: not an option of {kind.name}; leave it out")
    if (steps := given.pop("steps", None)) is not None:
        recipe = recipe.lasting(steps)
    return replace(recipe, **given)


def _size(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value a number, true, false or a list of numbers."""
    import json

    name, _, value = text.partition("=")
    try:
        parsed = json.loads(value)
        return name.strip(), tuple(parsed) if isinstance(parsed, list) else parsed
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is not NAME=VALUE with a number, true, false or a list"
        ) from error
