"""docs/own-camera.md: its script makes pairs of a folder of shots that the commands read."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from noisegen.datasets.pairs import read_pairs
from noisegen.images import read_image

PAGE = Path(__file__).parents[1] / "docs" / "own-camera.md"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_first_shot_is_noisy_and_the_mean_of_the_others_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type[np.generic]
) -> None:
    shots = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (2, 2, 4, 24, 32, 3), dtype)
    for iso, scenes in zip(("800", "6400"), shots, strict=True):
        for scene, pictures in zip(("desk", "kitchen"), scenes, strict=True):
            folder = tmp_path / "shots" / iso / scene
            folder.mkdir(parents=True)
            for number, picture in enumerate(pictures):
                assert cv2.imwrite(str(folder / f"{number}.png"), picture[..., ::-1])
    (script,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    monkeypatch.chdir(tmp_path)

    exec(compile(script, PAGE.name, "exec"), {})

    pairs = read_pairs(Path("pairs.csv"))
    assert {(pair.condition.iso, pair.split) for pair in pairs} == {
        (800, "train"),
        (800, "val"),
        (6400, "train"),
        (6400, "val"),
    }
    (pair,) = (pair for pair in pairs if pair.condition.iso == 800 and pair.split == "val")
    assert np.array_equal(read_image(pair.noisy_path), shots[0, 1, 0])
    clean = read_image(pair.clean_path)
    assert clean.dtype == dtype
    assert np.array_equal(clean, np.rint(shots[0, 1, 1:].mean(axis=0)))
