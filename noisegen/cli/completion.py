"""`noisegen completion`: what a shell needs to complete noisegen's command lines."""

from __future__ import annotations

import click

from noisegen.cli.command import Command

__all__ = ["command"]


@click.command(name="completion", cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script by which SHELL completes commands, options, names and paths with the Tab key.

    Offered are also the cameras and ISO settings that the given --model knows, types of noise models, and the cameras
    and splits of a CSV table of pairs. The shell has to find `noisegen` on its PATH.

    \b
    To install it, once:
      bash: noisegen completion bash > ~/.local/share/bash-completion/completions/noisegen
      zsh:  noisegen completion zsh > ~/.zfunc/_noisegen
            with `fpath+=~/.zfunc; autoload -Uz compinit; compinit` in ~/.zshrc
      fish: noisegen completion fish > ~/.config/fish/completions/noisegen.fish

    \b
    Examples:
      noisegen completion bash > noisegen.bash
      noisegen completion zsh > _noisegen
      noisegen completion fish > noisegen.fish
    """
    from click.shell_completion import get_completion_class

    from noisegen.cli import main

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(main, {}, "noisegen", "_NOISEGEN_COMPLETE").source(), nl=False)
