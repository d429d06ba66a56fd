"""The package's face: few names, a fast import, help at once."""

from __future__ import annotations

import subprocess
import sys

import noisegen
from noisegen.cli import COMMANDS


def test_the_public_names_are_these() -> None:
    assert noisegen.__all__ == ["TileStream", "__version__", "build_dataset", "load_noise_model"]
    assert all(callable(getattr(noisegen, name)) for name in noisegen.__all__ if name != "__version__")


def test_import_and_help_do_without_the_heavy_packages() -> None:
    code = (
        "import sys, noisegen\n"
        "from noisegen.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'cv2', 'pyarrow', 'numpy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_shows_help_with_an_example() -> None:
    for name in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", "noisegen", name, "--help"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert f"noisegen {name}" in done.stdout, name
