"""Results on stdout: text for people, or with --json one JSON document."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Protocol

import click

__all__ = ["json_option", "print_json", "print_result"]

json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document instead of text; all else goes to stderr.",
)


class Result(Protocol):
    """What a command came to."""

    def to_dict(self) -> dict[str, object]: ...

    def text(self) -> str: ...


def print_json(record: Mapping[str, Any], *, one_line: bool = False) -> None:
    """Prints a document; numbers that JSON has no word for (not finite) become null, other values text."""
    click.echo(json.dumps(_plain(record), indent=None if one_line else 1, default=str, allow_nan=False))


def print_result(result: Result, as_json: bool) -> None:
    """Prints what a command came to."""
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(result.text())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
