"""Built datasets and tables of real pairs read by index: the right pixels, whoever asks for them, or a clear error."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from synthesis_fixtures import Workplace, invoke, make_workplace, photograph, save_photograph
from torch.utils.data import ConcatDataset, DataLoader
from training_fixtures import two_cameras_marked, write_table

from noisegen import NoisyPair, NoisyPairs, SynthesisDataset, UsageError
from noisegen.datasets.built import BuiltDataset
from noisegen.datasets.pairs import load_pair, read_pairs
from noisegen.synthesis.choices import FORMAT_NAMES
from noisegen.synthesis.layout import DatasetFolder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=5)


@pytest.fixture(scope="module")
def dataset(place: Workplace) -> Path:
    """Two shards of tiles of 64 pixels, in two splits."""
    options = ["--split", "train:0.6,test:0.4", "--seed", "5"]
    assert invoke(*place.arguments(place.root / "dataset", *options)).exit_code == 0
    return place.root / "dataset"


def pixels(side: torch.Tensor) -> np.ndarray:
    """[H, W, C] of raw values."""
    return side.numpy().transpose(1, 2, 0)


def assert_same(one: list[NoisyPair], other: list[NoisyPair]) -> None:
    assert [item[2:] for item in one] == [item[2:] for item in other]
    for first, second in zip(one, other, strict=True):
        assert torch.equal(first.noisy, second.noisy) and torch.equal(first.clean, second.clean)


@pytest.mark.parametrize("output_format", FORMAT_NAMES)
def test_every_format_is_read_as_it_was_built(dataset: Path, tmp_path: Path, output_format: str) -> None:
    exported = tmp_path / "exported"
    assert invoke("export", str(dataset), "-o", str(exported), "--format", output_format).exit_code == 0
    built, pairs = BuiltDataset.open(dataset), NoisyPairs(exported, split="", raw=True)
    items = {item.key: item for item in (pairs[index] for index in range(len(pairs)))}
    assert sorted(items) == sorted(key for key, _ in built.tiles)
    for key, condition in built.tiles:
        noisy, clean = built.load(key)
        np.testing.assert_array_equal(pixels(items[key].noisy), noisy)
        np.testing.assert_array_equal(pixels(items[key].clean), clean)
        assert (items[key].camera, items[key].iso) == (condition.camera, condition.iso)


def test_splits_are_those_that_were_built_and_train_comes_by_itself(dataset: Path) -> None:
    found = {
        split: {item.key for item in NoisyPairs(dataset, split=split)}
        for split in ("train", "test", "", None)
    }
    assert found["train"] and found["test"] and not found["train"] & found["test"]
    assert found[""] == found["train"] | found["test"]
    assert found[None] == found["train"]


def test_values_are_from_0_to_1_or_those_of_the_file(dataset: Path) -> None:
    raw, scaled = NoisyPairs(dataset, raw=True)[3], NoisyPairs(dataset)[3]
    assert raw.noisy.dtype == torch.uint8 and scaled.noisy.dtype == torch.float32
    assert torch.equal(scaled.noisy, raw.noisy.float() / 255)
    assert torch.equal(scaled.clean, raw.clean.float() / 255)


def test_both_sides_are_cut_and_turned_alike_and_anew_in_each_epoch(dataset: Path) -> None:
    built = BuiltDataset.open(dataset, "train")
    pairs = NoisyPairs(dataset, patch=24, crops=3, augment=True, raw=True)
    assert len(pairs) == 3 * len(built.tiles)
    squares: set[tuple[int, int, int]] = set()
    for epoch in range(3):
        pairs.set_epoch(epoch)
        for index in range(6):
            item = pairs[index]
            noisy, clean = built.load(item.key)
            squares.add(found := where(clean, pixels(item.clean)))
            assert where(noisy, pixels(item.noisy)) == found
    assert len(squares) > 12  # of 18
    assert len({turn for _, _, turn in squares}) > 3


def where(picture: np.ndarray, patch: np.ndarray) -> tuple[int, int, int]:
    """Place and orientation of a patch in a picture."""
    side = len(patch)
    for turn in range(8):
        whole = np.rot90(picture, turn % 4)
        whole = whole[:, ::-1] if turn >= 4 else whole
        windows = np.lib.stride_tricks.sliding_window_view(whole, (side, side), axis=(0, 1))
        places = np.argwhere((windows[:, :, :, 0, 0] == patch[0, 0]).all(axis=-1))
        for y, x in places.tolist():
            if np.array_equal(whole[y : y + side, x : x + side], patch):
                return y, x, turn
    raise AssertionError("the patch is no part of the picture")


def test_workers_give_the_items_that_one_process_gives_and_follow_the_epochs(dataset: Path) -> None:
    pairs = NoisyPairs(dataset, patch=32, augment=True, seed=3)
    loader = DataLoader(pairs, batch_size=None, num_workers=2, persistent_workers=True)
    epochs = []
    for epoch in range(2):
        pairs.set_epoch(epoch)
        epochs.append(list(loader))
        assert_same(epochs[-1], [pairs[index] for index in range(len(pairs))])
    assert not torch.equal(epochs[0][0].clean, epochs[1][0].clean)


def test_spawned_workers_give_the_items_of_both_datasets(dataset: Path, place: Workplace) -> None:
    pairs = NoisyPairs(dataset, patch=32, seed=3)
    fresh = SynthesisDataset([photograph(64, 70)], patch=32, model=place.model, crops=6)
    both = ConcatDataset([pairs, fresh])
    for dataset_of_both in (pairs, fresh):
        dataset_of_both.set_epoch(2)
    expected = [both[index] for index in range(len(both))]
    # one worker, as starting Python anew takes seconds
    assert_same(
        list(DataLoader(both, batch_size=None, num_workers=1, multiprocessing_context="spawn")), expected
    )


def test_a_dataset_that_was_read_from_can_be_pickled(dataset: Path) -> None:
    pairs = NoisyPairs(dataset, patch=32, cache_bytes=1 << 20)
    pairs.set_epoch(4)
    items = list(pairs)
    assert_same(list(pickle.loads(pickle.dumps(pairs))), items)


def test_kept_pictures_give_the_same_items_without_reading_again(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "copy")
    pairs = NoisyPairs(tmp_path / "copy", cache_bytes=1 << 30)
    items = list(pairs)
    shutil.rmtree(tmp_path / "copy" / "splits")
    assert_same(list(pairs), items)


def test_a_transform_gets_both_sides(dataset: Path) -> None:
    item = NoisyPairs(dataset)[0]
    changed = NoisyPairs(dataset, transform=lambda noisy, clean: (noisy - clean, clean[:1]))[0]
    assert torch.equal(changed.noisy, item.noisy - item.clean) and changed.clean.shape == (1, 64, 64)


def test_a_table_of_real_pairs_is_read_as_a_dataset_is(tmp_path: Path) -> None:
    table = two_cameras_marked(tmp_path)
    known = {pair.name: pair for pair in read_pairs(table)}
    pairs = NoisyPairs(table, raw=True)
    assert {item.key for item in pairs} == {"one_train_noisy", "two_train_noisy"}
    for item in NoisyPairs(table, split="", raw=True):
        noisy, clean = load_pair(known[item.key])
        np.testing.assert_array_equal(pixels(item.noisy), noisy)
        np.testing.assert_array_equal(pixels(item.clean), clean)
        assert item.iso == known[item.key].condition.iso
    patches = list(DataLoader(NoisyPairs(table, patch=32, crops=4), batch_size=8))
    assert patches[0].noisy.shape == (8, 3, 32, 32)


def test_grey_pictures_of_twelve_bits_end_at_1(tmp_path: Path) -> None:
    for side in ("noisy", "clean"):
        picture = photograph(40, 50, channels=1, bits=16) // 16
        picture[0, 0] = 4095
        save_photograph(tmp_path / f"a_{side}.png", picture)
    table = write_table(tmp_path, {"a": ("X", 100)})
    (item,) = NoisyPairs(table, bit_depth=12)
    assert item.clean.shape == (1, 40, 50) and item.clean.max() == 1
    (item,) = NoisyPairs(table, raw=True)
    assert item.clean.dtype == torch.uint16 and int(item.clean.numpy().max()) == 4095
    with pytest.raises(UsageError, match="bit_depth must be 8 to 16"):
        NoisyPairs(table, bit_depth=32)


def test_what_cannot_be_read_is_refused_and_the_error_says_what_to_do(dataset: Path, tmp_path: Path) -> None:
    table = two_cameras_marked(tmp_path)
    with pytest.raises(UsageError, match=r"no split 'trian'; did you mean 'train'\? it has: test, train"):
        NoisyPairs(dataset, split="trian")
    with pytest.raises(UsageError, match=r"no split 'test'; it has: train, val"):
        NoisyPairs(table, split="test")
    with pytest.raises(UsageError, match="a tile is 64x64, smaller than the 65 pixel patch"):
        NoisyPairs(dataset, patch=65)
    with pytest.raises(UsageError, match="pair one_train_noisy is 96x80, smaller than the 81 pixel patch"):
        NoisyPairs(table, patch=81)
    with pytest.raises(UsageError, match="says itself that it has 8 bits"):
        NoisyPairs(dataset, bit_depth=12)
    with pytest.raises(UsageError, match="no such file or folder; give the folder of a built dataset"):
        NoisyPairs(tmp_path / "absent")
    with pytest.raises(UsageError, match=r"read a URL by noisegen\.TileStream"):
        NoisyPairs("s3://bucket/dataset")
    for wrong in ({"patch": 0}, {"crops": 0}, {"seed": -1}):
        with pytest.raises(UsageError, match=r"must be 1 or more|0 or more"):
            NoisyPairs(dataset, **wrong)
    with pytest.raises(IndexError):
        NoisyPairs(dataset)[10**6]


def test_an_unfinished_dataset_is_refused(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "copy")
    folder = DatasetFolder(tmp_path / "copy")
    folder.marker_file(folder.shards()[1]).unlink()
    with pytest.raises(UsageError, match=r"shard 000001 is not finished; build the dataset to its end"):
        NoisyPairs(tmp_path / "copy")


def test_a_damaged_tile_is_named(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "copy")
    for tar in (tmp_path / "copy").rglob("*.tar"):
        content = bytearray(tar.read_bytes())
        content[len(content) // 8 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 8)
        tar.write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot be read .*; run noisegen verify"):
        list(NoisyPairs(tmp_path / "copy"))
