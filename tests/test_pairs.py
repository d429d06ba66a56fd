"""Tables of pairs are checked as a whole, with every problem named, before any work starts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from noisegen.conditions import Condition
from noisegen.datasets.pairs import load_pair, read_pairs
from noisegen.errors import InputError, UsageError

HEADER = "noisy_path,clean_path,camera,iso"


def picture(path: Path, height: int = 5, width: int = 7, dtype: type = np.uint8, channels: int = 3) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.arange(height * width * channels, dtype=dtype).reshape(height, width, channels)
    assert cv2.imwrite(str(path), values[:, :, ::-1] if channels == 3 else values)
    return path.name


def table_of(folder: Path, text: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text(text)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "clean"):
        picture(tmp_path / f"{name}.png")
    return tmp_path


def test_relative_paths_start_at_the_folder_of_the_table(folder: Path) -> None:
    [pair] = read_pairs(table_of(folder, f"{HEADER}\na.png,clean.png,S6,800\n"))
    assert pair.noisy_path == folder / "a.png"
    assert pair.clean_path == folder / "clean.png"
    assert pair.condition == Condition("S6", 800)
    assert (pair.split, pair.dataset, pair.name) == (None, None, "a")


def test_a_parquet_table_reads_like_the_csv(folder: Path) -> None:
    text = f"{HEADER},split,dataset\na.png,clean.png,S6,800,train,sidd\nb.png,clean.png,GP,100,val,\n"
    csv = table_of(folder, text)
    pd.read_csv(csv).to_parquet(folder / "pairs.parquet")
    assert read_pairs(folder / "pairs.parquet") == read_pairs(csv)
    pd.read_csv(csv).astype({"iso": float}).to_parquet(folder / "floats.parquet")
    assert read_pairs(folder / "floats.parquet") == read_pairs(csv)


def test_a_split_keeps_its_rows_and_checks_only_them(folder: Path) -> None:
    text = (
        f"{HEADER},split\na.png,clean.png,S6,800,train\nb.png,clean.png,S6,800,val\ngone.png,x.png,S6,8,test"
    )
    table = table_of(folder, text)
    assert [pair.name for pair in read_pairs(table, split="val")] == ["b"]
    with pytest.raises(
        UsageError, match=r"'valid' does not occur; did you mean 'val'\? there are: test, train, val"
    ):
        read_pairs(table, split="valid")


def test_a_split_of_a_table_without_splits_is_an_error(folder: Path) -> None:
    with pytest.raises(UsageError, match="no 'split' column"):
        read_pairs(table_of(folder, f"{HEADER}\na.png,clean.png,S6,800\n"), split="val")


def test_an_unknown_column_is_named_beside_the_allowed_ones(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown column 'shutter'; required: noisy_path.*optional: split"):
        read_pairs(table_of(folder, f"{HEADER},shutter\na.png,clean.png,S6,800,1/50\n"))


def test_a_missing_column_is_named(folder: Path) -> None:
    with pytest.raises(UsageError, match="column 'iso' is missing"):
        read_pairs(table_of(folder, "noisy_path,clean_path,camera\na.png,clean.png,S6\n"))


def test_all_problems_of_all_rows_come_in_one_error(folder: Path) -> None:
    picture(folder / "wide.png", width=8)
    picture(folder / "deep.png", dtype=np.uint16)
    picture(folder / "grey.png", channels=1)
    (folder / "broken.png").write_bytes(b"not a picture")
    rows = [
        "a.png,clean.png,S6,800",
        "gone.png,clean.png,S6,800",
        "broken.png,clean.png,S6,800",
        "wide.png,clean.png,S6,800",
        "deep.png,clean.png,S6,800",
        "grey.png,clean.png,S6,800",
        "a.png,clean.png,,-100",
        "a.png,clean.png,S6,1.5",
        ",clean.png,S6,auto",
    ]
    with pytest.raises(UsageError) as caught:
        read_pairs(table_of(folder, "\n".join([HEADER, *rows])))
    message = str(caught.value)
    assert "10 problem(s)" in message
    assert "row 1:" not in message
    for expected in (
        "row 2: noisy_path",
        "row 3: noisy_path",
        "row 4: wide.png is 8x5 but clean.png is 7x5",
        "row 5: deep.png has 3 channel(s) of 16 bits but clean.png has 3 of 8",
        "row 6: grey.png has 1 channel(s) of 8 bits but clean.png has 3 of 8",
        "row 7: camera is empty",
        "row 7: iso '-100'",
        "row 8: iso '1.5'",
        "row 9: noisy_path is empty",
        "row 9: iso 'auto'",
    ):
        assert expected in message


def test_a_long_list_of_problems_is_cut_with_its_rest_counted(folder: Path) -> None:
    rows = "\n".join("a.png,clean.png,S6,0" for _ in range(25))
    with pytest.raises(UsageError, match=r"(?s)25 problem.*row 20: iso.*and 5 more") as caught:
        read_pairs(table_of(folder, f"{HEADER}\n{rows}\n"))
    assert "row 21" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        (f"{HEADER}\n", "has no rows"),
        (f"{HEADER}\na.png,clean.png,S6\n", "row 1 has 3 fields where the header has 4"),
        (f"{HEADER},iso\na.png,clean.png,S6,800,800\n", "occurs twice"),
    ],
)
def test_a_table_that_is_not_one_is_a_clear_error(folder: Path, text: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        read_pairs(table_of(folder, text))


def test_a_file_that_is_no_table_is_a_clear_error(folder: Path) -> None:
    (folder / "fake.parquet").write_bytes(b"PAR0")
    for name, expected in (
        ("gone.csv", "no such file"),
        ("fake.parquet", "cannot be read"),
        ("a.png", "ends in"),
    ):
        with pytest.raises(UsageError, match=expected):
            read_pairs(folder / name)


def test_the_scene_names_a_pair_where_scenes_are_unique(folder: Path) -> None:
    rows = "a.png,clean.png,S6,800,{}\nb.png,clean.png,S6,800,{}\n"
    unique = read_pairs(table_of(folder, f"{HEADER},scene\n" + rows.format("door", "mug")))
    assert [pair.name for pair in unique] == ["door", "mug"]
    shared = read_pairs(table_of(folder, f"{HEADER},scene\n" + rows.format("door", "door")))
    assert [pair.name for pair in shared] == ["a", "b"]


def test_a_name_does_not_change_with_the_chosen_split(folder: Path) -> None:
    text = f"{HEADER},scene,split\na.png,clean.png,S6,800,door,train\nb.png,clean.png,S6,800,door,val\n"
    table = table_of(folder, text)
    assert read_pairs(table, split="val") == read_pairs(table)[1:]


def test_equal_stems_fall_back_to_the_path(folder: Path) -> None:
    picture(folder / "other" / "a.png")
    rows = "a.png,clean.png,S6,800\nother/a.png,clean.png,S6,800\n"
    assert [pair.name for pair in read_pairs(table_of(folder, f"{HEADER}\n{rows}"))] == [
        "a.png",
        "other/a.png",
    ]


def test_loading_gives_noisy_and_clean_in_rgb(folder: Path) -> None:
    [pair] = read_pairs(table_of(folder, f"{HEADER}\na.png,clean.png,S6,800\n"))
    noisy, clean = load_pair(pair)
    expected = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    np.testing.assert_array_equal(noisy, expected)
    np.testing.assert_array_equal(clean, expected)


def test_a_picture_replaced_after_the_check_is_caught_on_loading(folder: Path) -> None:
    [pair] = read_pairs(table_of(folder, f"{HEADER}\na.png,clean.png,S6,800\n"))
    picture(folder / "a.png", width=9)
    with pytest.raises(InputError, match="both must be alike"):
        load_pair(pair)
