"""Running the page: a socket, a line that says where it is, and the end by Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import sys
import webbrowser
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import click
import uvicorn

from noisegen.errors import UsageError
from noisegen.progress import say
from noisegen.serve.app import make_app
from noisegen.serve.limits import Limits
from noisegen.synthesis.photograph_noise import PhotographNoise

__all__ = ["listen", "make_server", "serve"]

# open connections, idle ones too; a browser has about six
CONNECTIONS = 64
SECONDS_TO_FINISH = 3


def serve(
    *,
    model: str | Path = "default",
    noisy_pool: str | Path | None = None,
    device: str = "auto",
    host: str = "127.0.0.1",
    port: int = 0,
    limits: Limits | None = None,
    open_browser: bool | None = None,
) -> None:
    """Shows the page until Ctrl-C or SIGTERM.

    Args:
        model, noisy_pool, device: see `PhotographNoise`.
        host: address to listen on; others than those of this machine alone are warned of.
        port: 0 for any free one.
        limits: of each request.
        open_browser: whether to open the page; None: where this is a terminal on a desktop.

    Raises:
        UsageError: host, port, model, table or device cannot be used.
    """
    with listen(host, port) as listening:
        noise = PhotographNoise(model, noisy_pool=noisy_pool, device=device)
        server = make_server(noise, limits or Limits(), host=host)
        address, port = listening.getsockname()[:2]
        if not ip_address(address).is_loopback:
            say(
                f"warning: listening on {address}, so everybody who reaches this machine's port {port} can use it; "
                "there is no password and no encryption"
            )
        url = f"http://{_shown(host)}:{port}/"
        click.echo(f"noisegen serve: {url} (Ctrl-C ends it)")
        if _on_a_desktop() if open_browser is None else open_browser:
            webbrowser.open(url)
        # a container is ended by SIGTERM, and that is no failure either
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Raises:
        UsageError: the host is not one of this machine, or the port cannot be had.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host}: no such address ({error}); the usual one is 127.0.0.1") from error
    listening = socket.socket(family, kind)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot listen on {host} port {port}: {error.strerror}; is noisegen serve running already? "
            "--port 0 takes any free port"
        ) from error
    return listening


def make_server(noise: PhotographNoise, limits: Limits, *, host: str) -> uvicorn.Server:
    """A server of `make_app`, which itself tells of what goes wrong."""
    return uvicorn.Server(
        uvicorn.Config(
            make_app(noise, limits, host=host),
            http="h11",
            ws="none",
            lifespan="off",
            log_level="critical",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=SECONDS_TO_FINISH,
        )
    )


def _shown(host: str) -> str:
    """The host in a URL of this machine."""
    if host in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _on_a_desktop() -> bool:
    if not sys.stdout.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
