"""What all commands have in common: how much they say, and how their help looks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from noisegen.cli.help import Context, write_examples, write_text
from noisegen.progress import silenced, write_line

__all__ = ["Command", "GroupedOption", "is_quiet", "is_verbose"]

QUIET, VERBOSE = "noisegen.quiet", "noisegen.verbose"


class GroupedOption(click.Option):
    """An option that the help of its command lists under the heading ``group``."""

    def __init__(self, *args: Any, group: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.group = group


class Command(click.Command):
    """A command with --quiet and --verbose, whose help ends with its examples.

    Options are listed under "Options", then those of each group under its heading. The docstring's last paragraph is
    ``Examples:``, each a line of its own.
    """

    context_class = Context

    def __init__(
        self, name: str | None, *, params: list[click.Parameter] | None = None, **settings: Any
    ) -> None:
        super().__init__(name, params=[*(params or ()), *_manners()], **settings)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_text(formatter, self.help or "")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, self.help or "")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing and args and _wants_value(self, ctx, args[-1]):
            # a shell asks for this value; with the option click would give up the arguments before it
            args = args[:-1]
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # some that click raises have none, and then no command to name
            raise

    def invoke(self, ctx: click.Context) -> Any:
        quiet, verbose = is_quiet(ctx), is_verbose(ctx)
        if quiet and verbose:
            raise click.UsageError("--quiet and --verbose exclude each other; give one of them", ctx)
        with silenced(quiet), _logging(verbose):
            return super().invoke(ctx)


def _wants_value(command: click.Command, ctx: click.Context, word: str) -> bool:
    return any(
        isinstance(p, click.Option) and not p.is_flag and word in p.opts for p in command.get_params(ctx)
    )


def is_quiet(ctx: click.Context) -> bool:
    """Whether the command of this context was called with --quiet."""
    return bool(ctx.meta.get(QUIET, False))


def is_verbose(ctx: click.Context) -> bool:
    """Whether the command of this context, or of one below it, was called with --verbose."""
    return bool(ctx.meta.get(VERBOSE, False))


def _manners() -> list[click.Parameter]:
    def kept(key: str) -> Any:
        def callback(ctx: click.Context, _: click.Parameter, value: bool) -> None:
            ctx.meta[key] = value

        return callback

    return [
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=kept(QUIET),
            help="Show no progress and no remarks.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=kept(VERBOSE),
            help="Say what is done, and where errors come from.",
        ),
    ]


class _Lines(logging.Handler):
    """Writes records to stderr, as it is then, above a bar."""

    def emit(self, record: logging.LogRecord) -> None:
        write_line(self.format(record))


@contextmanager
def _logging(wanted: bool) -> Iterator[None]:
    """What the package logs is written to stderr meanwhile, where that is wanted."""
    if not wanted:
        yield
        return
    logger = logging.getLogger("noisegen")
    handler, level = _Lines(), logger.level
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
