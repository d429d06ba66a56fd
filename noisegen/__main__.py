"""`python -m noisegen` is the `noisegen` command."""

from __future__ import annotations

from noisegen.cli import main

if __name__ == "__main__":
    main(prog_name="noisegen")
