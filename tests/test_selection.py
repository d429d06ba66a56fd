"""Which pairs a model is trained and validated on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from training_fixtures import recipe, shrink, train_nm_flowgan, write_pair, write_table

from noisegen.cli import main
from noisegen.errors import UsageError
from noisegen.fitting.selection import Selection, select_pairs
from noisegen.models.checkpoint import read_checkpoint

ROWS = {
    "a1": ("A", 100, "train"),
    "a2": ("A", 100, "val"),
    "b1": ("B", 800, "train"),
    "b2": ("B", 800, "val"),
    "c2": ("C", 400, "val"),
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for name in ROWS:
        write_pair(tmp_path, name, 6)
    return write_table(tmp_path, ROWS)


def names(selection: Selection) -> tuple[str, str]:
    return tuple(  # type: ignore[return-value]
        " ".join(pair.name.removesuffix("_noisy") for pair in part)
        for part in (selection.training, selection.validation)
    )


def test_a_marked_table_is_trained_and_validated_as_it_says(table: Path) -> None:
    selection = select_pairs(table)
    assert names(selection) == ("a1 b1", "a2 b2")
    assert selection.not_covered == 1


def test_no_validation_where_none_is_wanted_or_the_training_is_on_other_rows(table: Path) -> None:
    assert names(select_pairs(table, validate_split="")) == ("a1 b1", "")
    assert names(select_pairs(table, split="val")) == ("a2 b2 c2", "")
    table.write_text(table.read_text().replace(",val", ","))
    assert names(select_pairs(table)) == ("a1 b1", "")


def test_another_split_can_be_validated_on(table: Path) -> None:
    assert names(select_pairs(table, split="val", validate_split="train")) == ("a2 b2 c2", "a1 b1")
    with pytest.raises(UsageError, match="split 'test' does not occur"):
        select_pairs(table, validate_split="test")


def test_cameras_restrict_training_and_validation(table: Path) -> None:
    assert names(select_pairs(table, cameras=["B"])) == ("b1", "b2")
    assert select_pairs(table, cameras=["B"]).not_covered == 0
    assert names(select_pairs(table, cameras=["B", "A"])) == ("a1 b1", "a2 b2")
    with pytest.raises(UsageError, match="no pair of camera 'C'; there are: A, B"):
        select_pairs(table, cameras=["C"])


def test_validation_on_nothing_that_is_trained_on_is_refused_where_it_was_asked_for(table: Path) -> None:
    table.write_text(table.read_text().replace("B,800,val", "B,900,val").replace("A,100,val", "A,90,val"))
    assert names(select_pairs(table)) == ("a1 b1", "")
    with pytest.raises(UsageError, match="no pair of split 'val' is of a camera and ISO"):
        select_pairs(table, validate_split="val")


def test_bad_pairs_are_left_out_where_that_is_wanted(table: Path) -> None:
    folder = table.parent
    (folder / "b2_clean.png").unlink()
    write_pair(folder, "other", 6, size=(80, 120))
    (folder / "a1_noisy.png").write_bytes((folder / "other_noisy.png").read_bytes())
    with pytest.raises(UsageError, match="1 problem"):
        select_pairs(table)
    selection = select_pairs(table, exclude_bad=True)
    assert names(selection) == ("b1", "")
    assert [(row, name) for row, name, _ in selection.excluded] == [(1, "a1_noisy"), (4, "b2_noisy")]
    assert "size_mismatch" in selection.excluded[0][2] and "unreadable" in selection.excluded[1][2]
    with pytest.raises(UsageError, match=r"no good pair of camera A to train on; bad are:\s+row 1, a1_noisy"):
        select_pairs(table, exclude_bad=True, cameras=["A"])


def test_the_command_lists_what_it_leaves_out_and_the_card_does_too(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    (table.parent / "a1_clean.png").unlink()
    output = table.parent / "model.safetensors"
    command = [
        "train-noise-model",
        str(table),
        "-o",
        str(output),
        "--exclude-bad",
        "--camera",
        "A",
        "--camera",
        "B",
    ]
    options = ["--steps", "1", "--batch", "2", "--patch", "64", "-q", "--device", "cpu"]
    result = CliRunner().invoke(main, command + options)
    assert result.exit_code == 0, result.output
    assert "row 1, a1_noisy: left out: unreadable" in result.stderr
    card = read_checkpoint(output).card
    ((row, name, problems),) = card["excluded_pairs"]
    assert (row, name) == (1, "a1_noisy") and "a1_clean.png" in problems
    assert card["training_pairs"]["conditions"] == [["B", 800, 1]]


def test_a_camera_s_model_knows_that_camera_alone(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    output = table.parent / "b.safetensors"
    train_nm_flowgan(table, output, recipe(steps=1), cameras=["B"], quiet=True)
    checkpoint = read_checkpoint(output)
    assert checkpoint.vocabulary is not None and checkpoint.vocabulary.cameras == ("B",)
    assert checkpoint.card["selection"]["conditions"][0][:2] == ["B", 800]


def test_a_camera_s_model_can_be_scored_on_that_camera_alone(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    output = table.parent / "b.safetensors"
    train_nm_flowgan(table, output, recipe(steps=1), cameras=["B"], quiet=True)
    command = ["eval-noise", str(output), str(table), "--against", "", "--json", "--device", "cpu"]
    every, one = (CliRunner().invoke(main, [*command, *extra]) for extra in ([], ["--camera", "B"]))
    assert (every.exit_code, one.exit_code) == (3, 0), every.output + one.output
    rows = json.loads(one.stdout)["scores"]["b"]
    assert [row["condition"] for row in rows] == [{"camera": "B", "iso": 800}]
    assert CliRunner().invoke(main, [*command, "--camera", "D"]).exit_code == 2
