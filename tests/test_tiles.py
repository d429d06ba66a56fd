"""How photographs are cut."""

from __future__ import annotations

import numpy as np
import pytest

from noisegen.errors import InputError
from noisegen.tiles import Tile, tile_grid

SIDES = [(256, 256), (257, 256), (300, 511), (512, 768), (513, 1000), (2048, 256)]


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_every_pixel_is_covered_and_none_lies_outside(height: int, width: int) -> None:
    covered = np.zeros((height, width), int)
    for tile in tile_grid(height, width, 256):
        assert 0 <= tile.y <= height - 256
        assert 0 <= tile.x <= width - 256
        covered[tile.y : tile.y + 256, tile.x : tile.x + 256] += 1
    assert covered.min() >= 1


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_there_are_no_more_tiles_than_needed_and_none_twice(height: int, width: int) -> None:
    tiles = tile_grid(height, width, 256)
    assert len(tiles) == -(-height // 256) * -(-width // 256)
    assert len(set(tiles)) == len(tiles)
    assert tiles == sorted(tiles)


def test_sides_that_are_multiples_give_a_plain_grid_without_overlap() -> None:
    assert tile_grid(4, 6, 2) == [Tile(y, x, 2) for y in (0, 2) for x in (0, 2, 4)]


def test_the_last_tile_is_shifted_back_to_end_at_the_border() -> None:
    assert [tile.x for tile in tile_grid(256, 600, 256)] == [0, 256, 344]


def test_a_photograph_smaller_than_a_tile_is_an_error_that_names_a_size_that_fits() -> None:
    with pytest.raises(InputError, match=r"400x200.*256x256.*--tile-size 200") as error:
        tile_grid(200, 400, 256)
    assert error.value.reason == "smaller_than_tile"


def test_a_tile_size_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        tile_grid(10, 10, 0)


@pytest.mark.parametrize(("height", "width"), SIDES)
@pytest.mark.parametrize("overlap", [1, 32, 128, 255])
def test_neighbours_share_at_least_the_overlap_and_all_is_covered(
    height: int, width: int, overlap: int
) -> None:
    tiles = tile_grid(height, width, 256, overlap)
    assert len(set(tiles)) == len(tiles)
    for side, starts in ((height, {t.y for t in tiles}), (width, {t.x for t in tiles})):
        ordered = sorted(starts)
        assert ordered[0] == 0 and ordered[-1] == side - 256
        steps = np.diff(ordered)
        assert (steps[:-1] == 256 - overlap).all() and (steps <= 256 - overlap).all()
        assert len(ordered) == -(-(side - overlap) // (256 - overlap))


@pytest.mark.parametrize("overlap", [-1, 10, 11])
def test_an_overlap_must_be_smaller_than_the_tile(overlap: int) -> None:
    with pytest.raises(ValueError, match="between 0 and 9"):
        tile_grid(20, 20, 10, overlap)
