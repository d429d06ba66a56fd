"""Folders of SIDD-Medium and of one's own camera become tables of pairs in one command."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from noisegen.cli import main
from noisegen.conditions import Condition
from noisegen.datasets.pairs import load_pair, read_pairs
from noisegen.datasets.sidd import TEST_INSTANCES, TRAINING_INSTANCES, split_of

NAMES = (
    "0004_001_S6_00100_00060_4400_L",
    "0054_003_N6_00320_00100_3200_N",
    "0001_001_S6_00100_00060_3200_L",
    "0198_010_GP_10000_05000_5500_H",
)


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((8, 10, 3), value, np.uint8))


def sidd(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    for name in names:
        for number in ("010", "011"):
            for side, value in (("NOISY", 90), ("GT", 80)):
                picture(folder / "Data" / name / f"{name[:4]}_{side}_SRGB_{number}.PNG", value)
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["make-pairs", *arguments])


def test_the_split_has_the_published_numbers_of_instances() -> None:
    assert (len(TRAINING_INSTANCES), len(TEST_INSTANCES)) == (56, 22)
    assert not TRAINING_INSTANCES & TEST_INSTANCES
    assert (split_of(4), split_of(199), split_of(1)) == ("train", "val", "")


def test_sidd_medium_is_listed_with_camera_iso_and_split(tmp_path: Path) -> None:
    table = tmp_path / "tables" / "sidd.csv"
    done = run(str(sidd(tmp_path / "SIDD")), "-o", str(table))
    assert done.exit_code == 0, done.output
    assert "8 pairs, 0 problems" in done.output
    pairs = read_pairs(table)
    assert [pair.name for pair in pairs][:3] == ["SIDD_0001_010", "SIDD_0001_011", "SIDD_0004_010"]
    assert Counter(pair.split for pair in pairs) == {"train": 2, "val": 4, None: 2}
    assert {pair.dataset for pair in pairs} == {"sidd"}
    noisy, clean = load_pair(pairs[0])
    assert (noisy.max(), clean.max()) == (90, 80)


def test_an_iso_outside_the_papers_five_is_kept(tmp_path: Path) -> None:
    run(str(sidd(tmp_path)), "-o", str(tmp_path / "sidd.csv"))
    conditions = {pair.condition for pair in read_pairs(tmp_path / "sidd.csv")}
    assert {Condition("N6", 320), Condition("GP", 10000)} <= conditions


def test_the_data_folder_itself_and_lower_case_suffixes_do(tmp_path: Path) -> None:
    data = sidd(tmp_path, NAMES[:1]) / "Data"
    for file in sorted((data / NAMES[0]).iterdir()):
        file.rename(file.with_suffix(".png"))
    assert run(str(data), "-o", str(tmp_path / "sidd.csv")).exit_code == 0
    assert len(read_pairs(tmp_path / "sidd.csv")) == 2


def test_what_does_not_fit_is_listed_and_the_rest_is_written(tmp_path: Path) -> None:
    data = sidd(tmp_path) / "Data"
    (data / NAMES[0] / "0004_GT_SRGB_011.PNG").unlink()
    (data / NAMES[1] / "0054_NOISY_SRGB_010.PNG").unlink()
    (data / NAMES[2] / "0001_NOISY_SRGB_010.PNG").rename(data / NAMES[2] / "0002_NOISY_SRGB_010.PNG")
    (data / NAMES[2] / "0001_GT_SRGB_010.PNG").unlink()
    (data / "0005_001_XX_00100_00060_3200_L").mkdir()
    (data / "0006_001_S6_00100_00060_3200_L").mkdir()
    done = run(str(tmp_path), "-o", str(tmp_path / "sidd.csv"), "--json")
    assert done.exit_code == 3
    summary = json.loads(done.stdout)
    assert {Path(p["path"]).name: p["reason"] for p in summary["problems"]} == {
        "0004_NOISY_SRGB_011.PNG": "missing_clean",
        "0054_GT_SRGB_010.PNG": "missing_noisy",
        "0002_NOISY_SRGB_010.PNG": "bad_name",
        "0005_001_XX_00100_00060_3200_L": "bad_name",
        "0006_001_S6_00100_00060_3200_L": "empty",
    }
    assert len(read_pairs(tmp_path / "sidd.csv")) == summary["pairs"] == 5


def test_two_folders_of_ones_own_camera_are_a_table_in_one_command(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "shots" / "noisy" / f"{name}.png", 90)
        picture(tmp_path / "shots" / "clean" / f"{name}.tif", 80)
    picture(tmp_path / "shots" / "noisy" / "alone.png", 90)
    table = tmp_path / "mine.csv"
    options = ["--layout", "folders", "--camera", "X100V", "--iso", "6400"]
    done = run(str(tmp_path / "shots"), "-o", str(table), *options)
    assert done.exit_code == 3
    assert "missing_clean" in done.output
    pairs = read_pairs(table)
    assert [(pair.name, pair.condition) for pair in pairs] == [
        ("a", Condition("X100V", 6400)),
        ("b", Condition("X100V", 6400)),
    ]


def test_two_pictures_of_one_name_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("input/a.png", "input/a.bmp", "gt/a.png", "input/b.png", "gt/b.png"):
        picture(tmp_path / name, 90)
    options = ["--layout", "folders", "--camera", "X", "--iso", "100", "--json"]
    done = run(str(tmp_path), "-o", str(tmp_path / "pairs.csv"), *options)
    assert [problem["reason"] for problem in json.loads(done.stdout)["problems"]] == ["bad_name"]
    assert [pair.name for pair in read_pairs(tmp_path / "pairs.csv")] == ["b"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layout", "folders"], "needs --camera and --iso"),
        (["--iso", "100"], "are for --layout folders"),
        (["--layout", "folders", "--camera", "X", "--iso", "100"], "one folder named noisy"),
        ([], "holds no folders"),
    ],
)
def test_a_request_that_cannot_be_carried_out_says_what_is_needed(
    tmp_path: Path, options: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    done = run(str(tmp_path / "empty"), "-o", str(tmp_path / "pairs.csv"), *options)
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "pairs.csv").exists()


def test_paths_are_relative_to_the_table_where_they_were_given_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidd(tmp_path / "SIDD", NAMES[:1])
    monkeypatch.chdir(tmp_path)
    run("SIDD", "-o", "tables/sidd.csv")
    assert "../SIDD/Data/0004_001_S6" in (tmp_path / "tables" / "sidd.csv").read_text()
    assert len(read_pairs(tmp_path / "tables" / "sidd.csv")) == 2
