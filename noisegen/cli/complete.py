"""What the shell offers for the values of options: read from files in milliseconds, without torch.

The functions are for ``shell_complete=`` of click's options and arguments. What cannot be read gives no offers.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from noisegen.errors import UsageError

if TYPE_CHECKING:
    from noisegen.conditions import Vocabulary

__all__ = [
    "cameras",
    "isos",
    "model_type_names",
    "models",
    "models_and_fitted_types",
    "pair_cameras",
    "pair_splits",
    "paths",
]

Offers = list[CompletionItem]  # without its parameter, which click 8.1 does not know
# rows of a table that are read for offers
MOST_ROWS = 10_000


def paths(ctx: click.Context, param: click.Parameter, incomplete: str) -> Offers:
    """Files and folders, as the shell itself lists them."""
    return [CompletionItem(incomplete, type="file")]


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> Offers:
    """``default`` and the checkpoints here, or any path that has been begun."""
    return _names_or_paths(["default"], incomplete)


def models_and_fitted_types(ctx: click.Context, param: click.Parameter, incomplete: str) -> Offers:
    """As `models`, and the noise models that are fitted where they are used; the last one of several."""
    from noisegen.fitting.one_pass import fitted_types

    before, comma, last = incomplete.rpartition(",")
    found = _names_or_paths(["default", *fitted_types()], last)
    return [CompletionItem(before + comma + item.value, type=item.type) for item in found]


def model_type_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> Offers:
    """Types of noise models."""
    from noisegen.models.registry import model_types

    return _offers(model_types(), incomplete)


def cameras(ctx: click.Context, param: click.Parameter, incomplete: str) -> Offers:
    """The cameras that the command's model knows."""
    known = _vocabulary(ctx)
    return _offers(known.cameras if known else (), incomplete)


def isos(ctx: click.Context, param: click.Parameter, incomplete: str) -> Offers:
    """The ISO settings that the command's model knows, of its camera where one is given."""
    known = _vocabulary(ctx)
    if known is None:
        return []
    wanted = _values(ctx, "camera", "cameras")
    found = sorted({c.iso for c in known.known if not wanted or c.camera in wanted})
    return _offers(map(str, found), incomplete)


def pair_cameras(ctx: click.Context, param: click.Parameter, incomplete: str) -> Offers:
    """The cameras of the command's table of pairs, where that is CSV."""
    return _offers(_column(ctx, "camera"), incomplete)


def pair_splits(ctx: click.Context, param: click.Parameter, incomplete: str) -> Offers:
    """The splits of the command's table of pairs, where that is CSV."""
    return _offers(_column(ctx, "split"), incomplete)


def _offers(names: Iterable[str], incomplete: str) -> Offers:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _names_or_paths(names: list[str], incomplete: str) -> Offers:
    # the shells' scripts cannot offer names and list files at once
    files = sorted(path.name for path in Path().glob("*.safetensors")) if "/" not in incomplete else []
    return _offers([*names, *files], incomplete) or [CompletionItem(incomplete, type="file")]


def _values(ctx: click.Context, *parameters: str) -> list[str]:
    """What has been typed so far for a parameter that has one of these names."""
    for name in parameters:
        value = ctx.params.get(name)
        if value:
            return [str(item) for item in value] if isinstance(value, tuple) else [str(value)]
    return []


def _vocabulary(ctx: click.Context) -> Vocabulary | None:
    from noisegen.models.checkpoint import read_vocabulary

    model = (_values(ctx, "model", "models") or ["default"])[0]
    try:
        return read_vocabulary(model)
    except (OSError, UsageError):
        return None


def _column(ctx: click.Context, column: str) -> list[str]:
    """The values of a column of the table of pairs, sorted."""
    table = next(iter(_values(ctx, "pairs")), "")
    if not table.lower().endswith(".csv"):
        return []
    try:
        with Path(table).open(newline="", encoding="utf-8-sig") as file:
            return sorted({row.get(column) or "" for row in islice(csv.DictReader(file), MOST_ROWS)} - {""})
    except (OSError, ValueError, csv.Error):
        return []
