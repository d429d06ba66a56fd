"""The `noisegen` command: each subcommand is a module of this folder, imported only when it is called."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from typing import NoReturn

import click

from noisegen.errors import NoisegenError

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
    "make-pairs": ("make_pairs", "List real noisy/clean pairs of a folder in a table."),
    "check-pairs": ("check_pairs", "Find pairs that are misaligned, drifting, saturated or unreadable."),
    "train-noise-model": ("train_noise_model", "Train a noise model on real noisy/clean pairs."),
    "eval-noise": ("eval_noise", "Score a noise model against real pairs."),
    "train-denoiser": ("train_denoiser", "Train a denoiser on synthetic or real pairs."),
    "eval-denoiser": ("eval_denoiser", "Score a denoiser on SIDD, SIDD+ or any pairs."),
    "denoise": ("denoise", "Denoise photographs."),
    "import-checkpoint": ("import_checkpoint", "Convert a published NM-FlowGAN or sRGBFlow."),
    "run": ("run", "Run the steps of a pipeline file."),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name, so that `--help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"noisegen.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except NoisegenError as error:
            for text in (f"noisegen: {error}", *getattr(error, "__notes__", ())):
                click.echo(text, err=True)
            _exit(ctx, error.exit_code)
        except KeyboardInterrupt:
            click.echo("noisegen: interrupted", err=True)
            _exit(ctx, 130)


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
    """Turn clean photographs into realistic noisy/clean pairs, at any scale, reproducibly."""
