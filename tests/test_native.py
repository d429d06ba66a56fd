"""The kernels in C: close to PyTorch and to numpy, the same bits on every instruction set, and not needed."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_int64

import numpy as np
import pytest
import torch

from noisegen import native
from noisegen.native.arrays import floats
from noisegen.native.random import fill_randomness
from noisegen.synthesis.randomness import batch_randomness, tile_key

COMPILED = native.compiled()
pytestmark = pytest.mark.skipif(not COMPILED, reason="no kernels were compiled for this CPU")
KEY = tile_key(7, "garden", 0)
RECTANGLES = [(0, 0, 64, 80), (-5, -7, 9, 13), (100, 2**32 - 3, 5, 33), (3, 4, 1, 1), (0, 9, 3, 15)]


def drawn(name: str, rectangle: tuple[int, ...], channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    y, x, height, width = rectangle
    # one value more, to see that none is written behind the end
    normal, uniform = (torch.full((channels * height * width + 1,), 7.0) for _ in range(2))
    pictures = [values[:-1].view(channels, height, width) for values in (normal, uniform)]
    fill_randomness(native.load(name), KEY, y, x, *pictures)
    assert normal[-1] == uniform[-1] == 7
    return pictures[0], pictures[1]


@pytest.mark.parametrize("rectangle", RECTANGLES)
@pytest.mark.parametrize("channels", [1, 3])
def test_random_numbers_are_those_of_pytorch(
    rectangle: tuple[int, ...], channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    y, x, height, width = rectangle
    monkeypatch.setattr(native, "library", lambda: None)
    expected = batch_randomness([KEY], [y], [x], height, width, channels)
    for name in COMPILED:
        normal, uniform = drawn(name, rectangle, channels)
        assert torch.equal(uniform, expected.uniform[0])
        assert (normal - expected.normal[0]).abs().max() < 3e-6


@pytest.mark.skipif(len(COMPILED) < 2, reason="this CPU has one instruction set only")
@pytest.mark.parametrize("rectangle", RECTANGLES)
def test_random_numbers_have_the_same_bits_on_every_instruction_set(rectangle: tuple[int, ...]) -> None:
    first, *others = (drawn(name, rectangle, 3) for name in COMPILED)
    for other in others:
        assert torch.equal(first[0], other[0]) and torch.equal(first[1], other[1])


@pytest.mark.parametrize(
    ("which", "function", "points"),
    [
        (0, np.exp, np.linspace(-87, 88, 1_000_003)),
        (1, np.log, np.geomspace(1e-37, 1e37, 1_000_003)),
        (1, np.log, np.linspace(0.5, 2, 1_000_003)),
        (2, np.tanh, np.linspace(-12, 12, 1_000_003)),
        (2, np.tanh, np.geomspace(1e-30, 1, 1_000_003)),
    ],
)
def test_elementary_functions_are_off_by_two_units_in_the_last_place_at_most(
    which: int, function: Callable[[np.ndarray], np.ndarray], points: np.ndarray
) -> None:
    given = points.astype(np.float32)
    exact = function(given.astype(np.float64))
    found = []
    for name in COMPILED:
        out = torch.empty(len(given))
        native.load(name).noisegen_elementary(
            which,
            floats(torch.from_numpy(given), len(given)),
            floats(out, len(given)),
            c_int64(len(given)),
        )
        unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
        assert (np.abs(out.numpy() - exact) / unit).max() < 2
        found.append(out)
    assert all(torch.equal(found[0], other) for other in found[1:])
