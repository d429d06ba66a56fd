"""`noisegen eval-noise` from the command line: tables, plots, several methods, what is left out and refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch
from click.testing import CliRunner, Result
from noise_eval_fixtures import six_pairs

from noisegen.cli import main
from noisegen.conditions import Condition, Vocabulary
from noisegen.models import checkpoint_of_model
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.sizes import NMFlowGANSizes

Run = Callable[..., Result]
PLOTS = {"overview", "samples", "histograms", "intensity", "correlation-maps", "spectra", "channels"}


def tiny_checkpoint(path: Path, *conditions: Condition) -> Path:
    config = NMFlowGANSizes(
        structure_width=2, structure_depth=1, signal_widths=(2,), unet_width=2, unet_depth=2, critic_width=2
    )
    torch.manual_seed(0)
    model = NMFlowGAN(config, Vocabulary.of(conditions)).eval()
    path.parent.mkdir(exist_ok=True)
    write_checkpoint(path, checkpoint_of_model("nm-flowgan", model, {}))
    return path


def write_table(folder: Path, cameras: tuple[str, ...] = ("S6", "GP")) -> None:
    """pairs.csv of the six pairs, those of these cameras, as split train and as split val."""
    lines = ["noisy_path,clean_path,camera,iso,dataset,split"]
    for pair in six_pairs(folder):
        if pair.condition.camera in cameras:
            row = (
                f"{pair.noisy_path.name},{pair.clean_path.name},{pair.condition.camera},{pair.condition.iso}"
            )
            lines += [f"{row},{pair.dataset},{split}" for split in ("train", "val")]
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the command on six pairs, with an untrained model that knows two of the three conditions."""
    write_table(tmp_path)
    tiny_checkpoint(tmp_path / "tiny.safetensors", Condition("S6", 100), Condition("S6", 800))

    def invoke(*options: str, model: str = "tiny.safetensors") -> Result:
        where = [str(tmp_path / model), str(tmp_path / "pairs.csv"), "--device", "cpu"]
        return CliRunner().invoke(main, ["eval-noise", *where, *options])

    return invoke


def headline(text: str) -> dict[str, list[str]]:
    """The first table of the Markdown, by method."""
    lines = text[text.index("| method") :].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows if not row[0].startswith("---")}


def test_a_report_holds_tables_that_agree_and_plots_that_can_be_read(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("--against", "awgn", "-o", str(out), "--crop", "128", "--two-sample-patches", "80")
    assert result.exit_code == 3, result.output
    assert "tiny, GP ISO 400: not covered: camera 'GP' is not known" in result.stdout
    markdown = (out / "noise.md").read_text()
    assert markdown.startswith("# Noise scores\n\n" + result.stdout)

    record = json.loads((out / "noise.json").read_text())
    methods = ["tiny", "awgn", "real halves"]
    assert list(record["scores"]) == methods
    assert {row["score"] is None for name in methods[1:] for row in record["scores"][name]} == {False}
    assert record["settings"]["methods"]["tiny"] == record["settings"]["checkpoint_sha256"]

    mean = record["means"][-1]
    assert (mean["dataset"], mean["conditions"], mean["of"]) == ("all", 2, 3)
    table = headline(result.stdout)
    assert list(table) == ["method", *methods]
    assert table["method"][:2] == ["parameters", "MP/s"]
    assert table["real halves"][:2] == ["", ""]
    cost = record["costs"]["tiny"]
    parameters, rate = (float(cell.replace(",", "")) for cell in table["tiny"][:2])
    assert parameters == cost["parameters"] > 0
    assert rate == pytest.approx(cost["megapixels_per_second"], rel=0.01)
    assert "MP/s: drawing alone, one CPU thread" in result.stdout
    for method in methods:
        *numbers, accuracy = list(zip(table["method"], table[method], strict=True))[2:]
        for name, cell in numbers:
            digits = len(cell.partition(".")[2])
            assert float(cell) == pytest.approx(mean[name][method], abs=0.6 * 10**-digits)
        test = record["two_sample"][method]
        assert accuracy[1] == f"{test['accuracy']:.3f} ± {test['standard_error']:.3f}"
        assert [row["condition"]["iso"] for row in test["by_condition"]] == [100, 800]
    assert mean["kld_nm"]["real halves"] < 0.002
    assert mean["kld_nm"]["awgn"] < 0.002 < mean["kld_nm"]["tiny"]

    with (out / "noise.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * 3 + 5 * 3
    for line in lines[:9]:
        [row] = [
            row
            for row in record["scores"][line["method"]]
            if [row["condition"]["camera"], str(row["condition"]["iso"])] == [line["camera"], line["iso"]]
        ]
        if row["score"] is None:
            assert line["kld_nm"] == ""
            continue
        scored = row["score"] | row["score"]["detail"]
        for name in ("kld_nm", "std_error", "akld", "spectrum_error_db", "intensity_error", "bias_error"):
            assert float(line[name]) == scored[name]
        assert float(line["channels_synthetic_2"]) == scored["channels"][1][2]
        assert float(line["drift_real_0"]) == scored["drift"][0]
    for line in lines[9:]:
        if line["method"] == "tiny":
            assert float(line["parameters"]) == record["costs"]["tiny"]["parameters"]
        if line["camera"]:
            continue
        [values] = [values for values in record["means"] if values["dataset"] == line["dataset"]]
        assert values.get("akld", {}).get(line["method"]) == (float(line["akld"]) if line["akld"] else None)
        if line["dataset"] == "all":
            accuracy = record["two_sample"][line["method"]]["accuracy"]
            assert float(line["two_sample_accuracy"]) == accuracy

    telltales = {f"telltales-{method}" for method in methods[:-1]}
    assert {path.stem for path in (out / "plots").iterdir()} == PLOTS | telltales
    for path in (out / "plots").iterdir():
        assert f"(plots/{path.name})" in markdown
        picture = cv2.imread(str(path))
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 10


def test_pictures_too_small_for_the_two_sample_test_leave_only_that_out(run: Run) -> None:
    result = run("--against", "", "--crop", "24", "--two-sample", "--two-sample-patches", "40", "--json")
    assert result.exit_code == 3
    record = json.loads(result.stdout)
    assert record["two_sample"] == {}
    assert record["problems"][-1].startswith("two-sample tests left out: no condition has pictures large")
    assert record["means"][-1]["kld_nm"]["tiny"] > 0


def test_everything_is_printed_as_json_and_the_exit_code_is_0_where_all_is_covered(
    run: Run, tmp_path: Path
) -> None:
    write_table(tmp_path, ("S6",))
    result = run("--against", "", "--crop", "96", "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert list(record["scores"]) == ["tiny", "real halves"]
    assert (record["problems"], record["two_sample"]) == ([], {})


def test_further_checkpoints_are_named_by_as_much_of_their_path_as_they_need(
    run: Run, tmp_path: Path
) -> None:
    write_table(tmp_path, ("S6",))
    (tmp_path / "a").mkdir()
    shutil.copy(tmp_path / "tiny.safetensors", tmp_path / "a" / "tiny.safetensors")
    same, other = str(tmp_path / "a" / "tiny.safetensors"), str(tmp_path / "other.safetensors")
    tiny_checkpoint(tmp_path / "other.safetensors", Condition("S6", 100), Condition("S6", 800))
    record = json.loads(run("--against", f"awgn,{other}", "--crop", "96", "--json").stdout)
    assert list(record["scores"]) == ["tiny", "awgn", "other", "real halves"]
    assert list(record["settings"]["methods"]) == ["tiny", "other"]
    record = json.loads(run("--against", f"{same},{other}", "--crop", "96", "--json").stdout)
    first, second, third, _ = record["scores"]
    assert (first, second, third) == (f"{tmp_path.name}/tiny", "a/tiny", f"{tmp_path.name}/other")
    assert record["scores"][first] == record["scores"][second]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--against", "white"],
            "unknown baseline white; there are: awgn, poisson-gaussian, heteroscedastic",
        ),
        (["--against", "missing.safetensors"], "missing.safetensors"),
        (["--split", "valid"], "there are: train, val"),
        (["--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_a_request_that_cannot_be_met_exits_2_with_what_to_do(
    run: Run, options: list[str], expected: str
) -> None:
    result = run(*options)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_an_output_folder_that_cannot_be_made_is_told_before_the_work(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("-o", str(tmp_path / "file" / "out"))
    assert result.exit_code == 2
    assert "the folder cannot be made" in result.stderr


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others(run: Run) -> None:
    options = ["--against", "", "--crop", "96", "--json"]
    first, again, other = (
        json.loads(run(*options, "--seed", seed).stdout)["scores"]["tiny"] for seed in ("1", "1", "2")
    )
    assert first == again
    assert first != other
