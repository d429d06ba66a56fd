"""`noisegen serve`: a local page to try noise on a photograph."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import click

from noisegen.cli import complete
from noisegen.cli.command import Command

__all__ = ["command"]

DEFAULT_PORT = 8391


@click.command(name="serve", cls=Command)
@click.option(
    "--model",
    default="default",
    show_default=True,
    shell_complete=complete.models,
    help="'default' or a .safetensors checkpoint.",
)
@click.option(
    "--noisy-pool",
    type=click.Path(path_type=Path),
    help="Table of real pairs for a model that takes references.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="0 takes any free one.",
)
@click.option(
    "--max-upload",
    type=click.FloatRange(min=0, min_open=True),
    default=100,
    show_default=True,
    metavar="MB",
    help="Largest file that is taken.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=50_000_000,
    show_default=True,
    help="Largest photograph that is decoded.",
)
@click.option(
    "--open/--no-open",
    "open_browser",
    default=None,
    help="Open the page in the browser; default: from a terminal on a desktop.",
)
def command(
    model: str,
    noisy_pool: Path | None,
    device: str,
    host: str,
    port: int,
    max_upload: float,
    max_pixels: int,
    open_browser: bool | None,
) -> None:
    """Show a local web page: drop a photograph, choose camera and ISO, compare clean with noisy, download the result.

    Only this machine can open it unless --host says otherwise. Photographs stay in memory: nothing is written to disk
    and nothing is kept. Needs noisegen[ui].

    Exit code 0: ended by Ctrl-C or SIGTERM; 2: model, address or port cannot be used.

    \b
    Examples:
      noisegen serve
      noisegen serve --model my-camera.safetensors --port 0 --no-open
    """
    from noisegen.errors import UsageError

    try:
        from noisegen.serve import Limits, serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn"):
            raise
        raise UsageError("noisegen serve needs packages more: pip install 'noisegen[ui]'") from error
    serve(
        model=model,
        noisy_pool=noisy_pool,
        device=device,
        host=host,
        port=port,
        limits=Limits(upload_bytes=round(max_upload * 1_000_000), pixels=max_pixels),
        open_browser=open_browser,
    )
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        os._exit(0)  # rather than wait for a picture that nobody wants any more
