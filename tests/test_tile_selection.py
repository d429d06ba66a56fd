"""Measures of clean tiles by which they are chosen, and splits of the photographs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from synthesis_fixtures import photograph

from noisegen.errors import UsageError
from noisegen.synthesis.selection import TileSelection, flat_share, saturated_share, sharpness
from noisegen.synthesis.splits import parse_split, split_of
from noisegen.tiles import tile_grid

SHARES = {"train": 0.8, "val": 0.15, "test": 0.05}


def test_sharpness_is_the_deviation_of_the_laplacian_in_grey_levels() -> None:
    noise = np.random.default_rng(0).normal(100, 5, (256, 256, 1)).round().astype(np.uint8)
    # four neighbours and four times the middle: sqrt(4 + 16) times the deviation of white noise
    assert sharpness(noise, 8) == pytest.approx(5 * np.sqrt(20), rel=0.02)
    assert sharpness(np.repeat(noise, 3, axis=2), 8) == pytest.approx(sharpness(noise, 8), rel=1e-4)
    slope = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None], (64, 64, 3))
    assert sharpness(slope, 8) == pytest.approx(0, abs=1e-4)
    assert sharpness(noise[:2], 8) == 0


def test_measures_do_not_depend_on_the_bit_depth() -> None:
    deep = photograph(64, 64, bits=12)
    eight = (deep >> 4).astype(np.uint8)
    assert sharpness(deep, 12) == pytest.approx(sharpness(eight, 8), rel=0.2)
    assert sharpness(deep, 12) == pytest.approx(sharpness(deep * np.uint16(16), 16), rel=1e-4)
    assert saturated_share(np.full((4, 4, 1), 4095, np.uint16), 12) == 1
    assert saturated_share(np.full((4, 4, 1), 4095, np.uint16), 16) == 0


def test_flat_share_counts_blocks_and_saturated_share_pixels() -> None:
    tile = np.full((64, 64, 3), 50, np.uint8)
    assert (flat_share(tile, 8), saturated_share(tile, 8)) == (1, 0)
    tile[:16] = np.random.default_rng(0).integers(0, 255, (16, 64, 3))
    assert flat_share(tile, 8) == 0.75
    tile[:, :32, 1] = 255  # one channel is enough
    assert saturated_share(tile, 8) == 0.5
    assert flat_share(tile[:5, :5], 8) == 0


def test_a_tile_is_left_out_by_the_first_limit_that_it_breaks() -> None:
    picture = np.random.default_rng(0).integers(0, 200, (64, 128, 3), dtype=np.uint8)
    picture[:, 64:] = 255
    grid = tile_grid(64, 128, 64)
    assert TileSelection().choose(picture, grid, 8) == (grid, {})
    kept, left_out = TileSelection(max_saturated=0.1).choose(picture, grid, 8)
    assert (kept, left_out) == (grid[:1], {"saturated": 1})
    assert TileSelection(1.0, 0.5, 0.1).choose(picture, grid, 8) == (grid[:1], {"blurred": 1})
    assert TileSelection(None, 0.5, 0.1).choose(picture, grid, 8) == (grid[:1], {"flat": 1})


def test_splits_have_their_shares_and_do_not_move_with_order_or_company() -> None:
    ids = [f"photo {n}" for n in range(8000)]
    splits = {name: split_of(SHARES, 0, name) for name in ids}
    counts = Counter(splits.values())
    for name, share in SHARES.items():
        assert counts[name] / len(ids) == pytest.approx(share, abs=0.015)
    reordered = dict(reversed(SHARES.items()))
    assert all(split_of(reordered, 0, name) == split for name, split in splits.items())
    assert any(split_of(SHARES, 1, name) != split for name, split in splits.items())
    assert split_of(None, 0, "photo") == ""


def test_a_split_is_written_as_names_and_shares() -> None:
    assert parse_split("train:0.8, val:0.15,test:0.05") == SHARES
    assert parse_split("all:1") == {"all": 1.0}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("train:0.9,val:0.2", "sum to 1.1, not to 1"),
        ("train:0.9", "sum to 0.9"),
        ("train", "not NAME:SHARE"),
        ("", "not NAME:SHARE"),
        ("../up:1", "plain name"),
        ("train:0.5,train:0.5", "twice"),
        ("train:x,val:0.5", "no number but 'x'"),
        ("train:-1,val:2", "between 0 and 1"),
        ("train:nan,val:0.5", "between 0 and 1"),
    ],
)
def test_other_splits_are_refused_with_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_split(text)
