"""docs/pictures/scene.py: the picture of the documentation is the same each time and has what noise is judged on."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "pictures" / "scene.py"


def test_the_scene_is_the_same_each_time_and_has_dark_bright_flat_and_coloured_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = importlib.util.spec_from_file_location("scene", SCRIPT)
    assert spec is not None and spec.loader is not None
    scene = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "scene", scene)  # dataclasses look their module up
    spec.loader.exec_module(scene)
    for name, value in {"WIDTH": 120, "HEIGHT": 80, "RAYS_ACROSS": 1}.items():
        monkeypatch.setattr(scene, name, value)
    picture = scene.render()
    assert picture.shape == (80, 120, 3) and picture.dtype == np.uint8
    assert np.array_equal(picture, scene.render())
    levels = picture.mean(axis=2)
    assert (levels < 12).mean() > 0.01 and (levels > 225).mean() > 0.005
    wall = levels[4:10, 80:116]
    assert np.ptp(wall) < 25
    red, green, blue = np.moveaxis(picture.astype(int), 2, 0)
    for strong, weak in ((red, blue), (green, red), (blue, red)):
        assert (strong - weak > 60).any()
