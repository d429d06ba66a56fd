"""The `noisegen` command: each subcommand is a module of this folder, imported only when it is called."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from noisegen.cli.command import is_verbose
from noisegen.cli.errors import show_error, show_usage_error
from noisegen.cli.help import Context, colour, write_examples, write_text
from noisegen.errors import NoisegenError
from noisegen.suggestions import did_you_mean

__all__ = ["main"]

# command name -> (module in this folder that exports `command`, one-line help shown in the list)
COMMANDS = {
    "make-manifest": ("make_manifest", "Scan a folder of photographs into a Parquet manifest."),
    "plan": ("plan", "Estimate what a build will take and give, before it runs."),
    "build-dataset": ("build_dataset", "Build a noisy/clean dataset from a manifest."),
    "status": ("status", "Show how far a dataset is."),
    "verify": ("verify", "Check every file of a dataset against its recorded hashes."),
    "retry-failed": ("retry_failed", "Try the rows of a dataset that failed again."),
    "export": ("export", "Write a dataset again in another format."),
    "merge": ("merge", "Join datasets into one."),
    "preview": ("preview", "Show what noisegen does to a photograph, for several cameras."),
    "make-pairs": ("make_pairs", "List real noisy/clean pairs of a folder in a table."),
    "check-pairs": ("check_pairs", "Find pairs that are misaligned, drifting, saturated or unreadable."),
    "train-noise-model": ("train_noise_model", "Train a noise model on real noisy/clean pairs."),
    "eval-noise": ("eval_noise", "Score a noise model against real pairs."),
    "train-denoiser": ("train_denoiser", "Train a denoiser on synthetic or real pairs."),
    "eval-denoiser": ("eval_denoiser", "Score a denoiser on SIDD, SIDD+ or any pairs."),
    "denoise": ("denoise", "Denoise photographs."),
    "import-checkpoint": ("import_checkpoint", "Convert a published NM-FlowGAN or sRGBFlow."),
    "report": ("report", "Show a dataset, noise model or denoiser on one page."),
    "serve": ("serve", "Show a local page to try noise on a photograph."),
    "run": ("run", "Run the steps of a pipeline file."),
    "completion": ("completion", "Print the script by which a shell completes commands."),
}


# heading in the help -> commands; those that are nowhere here come under "Other"
HEADINGS = {
    "Datasets": (
        "make-manifest",
        "plan",
        "build-dataset",
        "status",
        "verify",
        "retry-failed",
        "export",
        "merge",
    ),
    "Noise models": ("make-pairs", "check-pairs", "train-noise-model", "eval-noise", "import-checkpoint"),
    "Denoisers": ("train-denoiser", "eval-denoiser", "denoise"),
    "Looking": ("preview", "report", "serve"),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name, so that `--help` imports none of them."""

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"noisegen.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"no such command {name}{did_you_mean(name, COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_text(formatter, self.help or "")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        placed = {name for names in HEADINGS.values() for name in names}
        other = tuple(name for name in COMMANDS if name not in placed)
        width = max(map(len, COMMANDS))
        for heading, names in {**HEADINGS, "Other": other}.items():
            lines = [(f"{name:{width}}", COMMANDS[name][1]) for name in names if name in COMMANDS]
            if lines:
                with formatter.section(heading):
                    formatter.write_dl(lines)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, self.help or "")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True, color=ctx.color)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        settings.setdefault("color", colour())
        with _usage_errors_shown():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with _usage_errors_shown():
                return super().invoke(ctx)
        except NoisegenError as error:
            show_error(error, verbose=is_verbose(ctx))
            _exit(ctx, error.exit_code)
        except KeyboardInterrupt:
            click.echo("noisegen: interrupted", err=True)
            _exit(ctx, 130)


@contextmanager
def _usage_errors_shown() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        show_usage_error(error)
        raise click.exceptions.Exit(error.exit_code) from error


def _exit(ctx: click.Context, code: int) -> NoReturn:
    """Ends the command; after a signal without waiting for threads whose work nobody wants any more."""
    busy = any(not t.daemon for t in threading.enumerate() if t is not threading.main_thread())
    if code > 128 and busy:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    ctx.exit(code)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="noisegen")
def main() -> None:
    """Turn clean photographs into realistic noisy/clean pairs, at any scale, reproducibly.

    `noisegen COMMAND --help` explains a command, with examples. The documentation is in the folder docs of the source
    code, beginning with README.md.

    \b
    Examples:
      noisegen preview photo.jpg -o preview.png
      noisegen make-manifest photos -o manifest.parquet --conditions draw
      noisegen build-dataset manifest.parquet -o DATASET
      noisegen train-denoiser DATASET -o denoiser.safetensors
    """
