"""Photographs are made smaller by the mean of what each new pixel covers."""

from __future__ import annotations

import numpy as np
import pytest
from synthesis_fixtures import photograph

from noisegen.downscaling import downscale, downscaled_size


@pytest.mark.parametrize(("bits", "channels"), [(8, 3), (16, 3), (12, 1)])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_whole_factors_average_squares(bits: int, channels: int, factor: int) -> None:
    picture = photograph(61, 47, bits=bits, channels=channels)
    height, width = 61 // factor, 47 // factor
    squares = picture[: height * factor, : width * factor].reshape(height, factor, width, factor, channels)
    smaller = downscale(picture, factor)
    assert smaller.shape == (height, width, channels) and smaller.dtype == picture.dtype
    # rounding of halves and, in 16 bits, single precision
    assert np.abs(smaller - squares.mean(axis=(1, 3))).max() <= 0.51


def test_a_fraction_takes_pixels_at_the_edge_in_proportion() -> None:
    row = np.array([0, 90, 180, 30, 60, 120], np.uint8)
    picture = np.broadcast_to(row[None, :, None], (6, 6, 1))
    # squares of 1.5 pixels: 0 and half of 90; the other half and 180; ...
    expected = [(0 + 45) / 1.5, (45 + 180) / 1.5, (30 + 30) / 1.5, (30 + 120) / 1.5]
    assert downscale(picture, 1.5)[0, :, 0] == pytest.approx(expected, abs=0.51)


def test_one_is_the_picture_itself() -> None:
    picture = photograph(10, 10)
    assert downscale(picture, 1) is picture


@pytest.mark.parametrize(
    ("side", "factor", "expected"), [(300, 3, 100), (301, 3, 100), (33, 1.1, 30), (5, 8, 0), (100, 1, 100)]
)
def test_the_size_is_known_without_the_pixels(side: int, factor: float, expected: int) -> None:
    assert downscaled_size(side, 2 * side, factor)[0] == expected
    if expected:
        assert downscale(photograph(side, 40), factor).shape[0] == expected


def test_noise_falls_with_the_factor() -> None:
    noise = np.random.default_rng(0).normal(128, 12, (300, 300, 1)).round().astype(np.uint8)
    assert downscale(noise, 3).std() == pytest.approx(4, rel=0.1)
