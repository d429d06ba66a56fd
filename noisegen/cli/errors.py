"""How errors are printed: what was wrong in one line, with what may have been meant."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence

import click

from noisegen.cli.help import colour
from noisegen.errors import NoisegenError
from noisegen.suggestions import did_you_mean

__all__ = ["show_error", "show_usage_error"]

NOT_A_CHOICE = re.compile(r"'(.*?)' is not one of")


def show_error(error: NoisegenError, *, verbose: bool) -> None:
    """Prints an error of a command, its notes, and its traceback if `verbose`."""
    if verbose:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    _print(str(error), getattr(error, "__notes__", ()))


def show_usage_error(error: click.ClickException) -> None:
    """Prints what is wrong with a command line and where its help is."""
    text = _usage_text(error).rstrip(".")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "noisegen"
    _print(f"{text}{_meant(error)}", [f"`{path} --help` says more"])


def _print(text: str, remarks: Sequence[str]) -> None:
    click.secho(f"noisegen: {text}", err=True, fg="red", color=colour())
    for remark in remarks:
        click.echo(remark, err=True, color=colour())


def _usage_text(error: click.ClickException) -> str:
    # without click's own guesses, whose form depends on its version
    if isinstance(error, click.NoSuchOption):
        return f"no such option {error.option_name}"
    text = error.format_message()
    return text[:1].lower() + text[1:]


def _meant(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption) and context is not None:
        options = [name for p in context.command.get_params(context) for name in (*p.opts, *p.secondary_opts)]
        return did_you_mean(error.option_name, [name for name in options if name.startswith("--")])
    kind = getattr(getattr(error, "param", None), "type", None)
    if isinstance(kind, click.Choice) and (found := NOT_A_CHOICE.match(error.message)):
        return did_you_mean(found[1], map(str, kind.choices))
    return ""
