"""Training patches: cut from both pictures of a pair alike, turned and flipped, and drawn fairly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from training_fixtures import write_pair, write_table

from noisegen.conditions import Condition
from noisegen.datasets.pairs import read_pairs
from noisegen.errors import UsageError
from noisegen.fitting.patches import PatchSampler

OFFSET = 20000


def write_coded(folder: Path, height: int, width: int) -> Path:
    """A pair of 16-bit pictures in which every value tells its place; noisy is clean plus a constant."""
    clean = np.arange(height * width * 3, dtype=np.uint16).reshape(height, width, 3)
    for name, values in (("clean", clean), ("noisy", clean + OFFSET)):
        assert cv2.imwrite(str(folder / f"p_{name}.png"), values[:, :, ::-1])
    return write_table(folder, {"p": ("A", 100)})


@pytest.fixture
def coded(tmp_path: Path) -> Path:
    return write_coded(tmp_path, 64, 80)


def sampler(
    table: Path, *, patch: int = 64, levels: int = 2**16, balance: bool = True, period: int = 1
) -> PatchSampler:
    return PatchSampler(
        read_pairs(table), patch=patch, levels=levels, channels=3, balance=balance, period=period
    )


def test_noisy_and_clean_are_cut_turned_and_flipped_alike(coded: Path) -> None:
    batch = sampler(coded, patch=16).batch(np.random.default_rng(0), 64)
    assert batch.noisy.shape == batch.clean.shape == (64, 3, 16, 16)
    assert batch.noisy.dtype == batch.clean.dtype == torch.float32
    assert torch.equal(batch.noisy, batch.clean + OFFSET)
    # the three channels of a pixel stay together
    assert torch.equal(batch.clean[:, 0] + 1, batch.clean[:, 1])
    assert torch.equal(batch.clean[:, 1] + 1, batch.clean[:, 2])


def test_all_eight_orientations_occur(coded: Path) -> None:
    batch = sampler(coded, patch=16).batch(np.random.default_rng(0), 400)
    across = (batch.clean[:, 0, 0, 1] - batch.clean[:, 0, 0, 0]).int().tolist()
    down = (batch.clean[:, 0, 1, 0] - batch.clean[:, 0, 0, 0]).int().tolist()
    found = list(zip(across, down, strict=True))
    pixel, row = 3, 240
    upright = {(a, b) for a in (pixel, -pixel) for b in (row, -row)}
    assert set(found) == upright | {(b, a) for a, b in upright}
    assert min(found.count(orientation) for orientation in set(found)) > 25


def test_patches_come_from_everywhere_in_the_picture(coded: Path) -> None:
    batch = sampler(coded, patch=16).batch(np.random.default_rng(0), 600)
    first = batch.clean[:, 0].flatten(1).min(dim=1).values / 3
    rows, columns = (first // 80).int(), (first % 80).int()
    assert set(rows.tolist()) == set(range(64 - 16 + 1))
    assert set(columns.tolist()) == set(range(80 - 16 + 1))


def test_a_batch_is_a_function_of_the_generator(coded: Path) -> None:
    first, again, other = (
        sampler(coded, patch=16).batch(np.random.default_rng(seed), 8) for seed in (0, 0, 1)
    )
    assert torch.equal(first.noisy, again.noisy) and torch.equal(first.clean, again.clean)
    assert first.conditions == again.conditions
    assert not torch.equal(first.clean, other.clean)


def test_an_epoch_is_a_grid_of_half_a_patch(coded: Path) -> None:
    assert sampler(coded, patch=64).patches == 1
    assert sampler(coded, patch=32).patches == 3 * 4


def test_balance_draws_conditions_equally_often_whatever_their_pictures(tmp_path: Path) -> None:
    names = {"a": ("A", 100), "b": ("A", 100), "c": ("A", 100), "d": ("B", 400)}
    for name in names:
        write_pair(tmp_path, name, 3, size=(32, 32) if name != "d" else (32, 48))
    table = write_table(tmp_path, names)

    def share_of_b(balance: bool) -> float:
        drawn = sampler(table, patch=32, levels=256, balance=balance).batch(np.random.default_rng(0), 2000)
        return sum(condition.camera == "B" for condition in drawn.conditions) / 2000

    assert share_of_b(True) == pytest.approx(0.5, abs=0.05)
    assert share_of_b(False) == pytest.approx(2 / 5, abs=0.05)


def test_values_beyond_the_model_s_bit_depth_are_refused(coded: Path) -> None:
    with pytest.raises(UsageError, match=r"values up to 35359.*below 4096 \(--bit-depth\)"):
        sampler(coded, levels=4096)


@pytest.mark.parametrize(("height", "width"), [(64, 80), (63, 81), (16, 17), (16, 16)])
def test_with_a_period_of_two_each_pixel_keeps_its_position_in_the_mosaic(
    height: int, width: int, tmp_path: Path
) -> None:
    drawn = sampler(write_coded(tmp_path, height, width), patch=16, period=2).batch(
        np.random.default_rng(0), 200
    )
    assert torch.equal(drawn.noisy, drawn.clean + OFFSET)
    place = drawn.clean[:, 0].int() // 3
    index = torch.arange(16, dtype=torch.int32)
    assert torch.equal((place // width) % 2, (index % 2)[None, :, None].expand(200, 16, 16))
    assert torch.equal((place % width) % 2, (index % 2)[None, None, :].expand(200, 16, 16))


def test_with_a_period_of_two_patches_are_flipped_each_way_and_never_turned(coded: Path) -> None:
    batch = sampler(coded, patch=16, period=2).batch(np.random.default_rng(0), 400)
    across = (batch.clean[:, 0, 0, 1] - batch.clean[:, 0, 0, 0]).int().tolist()
    down = (batch.clean[:, 0, 1, 0] - batch.clean[:, 0, 0, 0]).int().tolist()
    found = list(zip(across, down, strict=True))
    assert set(found) == {(a, b) for a in (3, -3) for b in (240, -240)}
    assert min(found.count(orientation) for orientation in set(found)) > 50


@pytest.mark.parametrize(("height", "width"), [(20, 22), (19, 21), (16, 21)])
def test_with_a_period_of_two_patches_still_cover_the_whole_picture(
    height: int, width: int, tmp_path: Path
) -> None:
    batch = sampler(write_coded(tmp_path, height, width), patch=16, period=2).batch(
        np.random.default_rng(0), 600
    )
    places = set((batch.clean[:, 0].int() // 3).flatten().tolist())
    assert places == set(range(height * width))


def test_an_odd_patch_does_not_fit_a_mosaic(coded: Path) -> None:
    with pytest.raises(
        UsageError, match="patch of 15 pixels does not fit squares of 2; choose an even number"
    ):
        sampler(coded, patch=15, period=2)
    assert sampler(coded, patch=15).batch(np.random.default_rng(0), 1).clean.shape == (1, 3, 15, 15)


def test_patches_of_one_condition_come_from_its_pictures_alone(tmp_path: Path) -> None:
    names = {"a": ("A", 100), "b": ("A", 100), "c": ("B", 400)}
    for name in names:
        write_pair(tmp_path, name, 3, size=(32, 32))
    source = sampler(write_table(tmp_path, names), patch=16, levels=256, period=2)
    for condition in (Condition("A", 100), Condition("B", 400)):
        drawn = source.batch_of(condition, np.random.default_rng(0), 20)
        assert drawn.conditions == [condition] * 20 and len(drawn.noisy) == 20
