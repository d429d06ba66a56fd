"""The page about adding a model does what it says, word for word."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from training_fixtures import write_pair, write_table

from noisegen.models.checkpoint import read_checkpoint

PAGE = Path(__file__).parents[1] / "docs" / "adding-a-model.md"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    assert isinstance(found, str)
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with what installing the page's package puts there."""
    folder = tmp_path / "site"
    information = folder / "laplace_noise-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / "laplace_noise.py").write_text(block("python"))
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: laplace-noise\nVersion: 1.0\n")
    (line,) = re.findall(r"^laplace = \"(.*)\"$", block("toml"), re.M)
    (group,) = re.findall(r"entry-points\.\"(.*)\"", block("toml"))
    (information / "entry_points.txt").write_text(f"[{group}]\nlaplace = {line}\n")
    return folder


def test_the_page_s_model_has_every_command_that_the_page_names(installed: Path, tmp_path: Path) -> None:
    for name, deviation in (("one", 6), ("two", 15)):
        write_pair(tmp_path, name, deviation, size=(112, 128))
    write_table(tmp_path, {"one": ("A", 100), "two": ("B", 1600)})
    photographs = tmp_path / "PHOTOS"
    photographs.mkdir()
    picture = np.random.default_rng(0).integers(60, 200, (256, 300, 3), dtype=np.uint8)
    assert cv2.imwrite(str(photographs / "one.png"), picture)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(installed), str(PAGE.parents[1])])}
    said = ""
    for line in block("sh").splitlines():
        words = shlex.split(line)
        assert words[0] == "noisegen"
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (line, done.stderr)
        said += done.stdout
    assert "laplace: Laplace noise (recipes compact)" in said
    # white noise of 6 and 15 grey levels: a Laplace distribution fitted by likelihood has their mean absolute value
    learned = read_checkpoint(tmp_path / "laplace.safetensors")
    table = learned.tensors["log_scale.table"]
    scales = 256 * np.exp(table.numpy() - 4.0)
    assert learned.vocabulary is not None and learned.vocabulary.isos == (100, 1600)
    expected = np.sqrt(2 / np.pi) * np.array([6.0, 15.0])
    np.testing.assert_allclose(scales[[0, 3]].mean(axis=1), expected, rtol=0.1)
