"""`noisegen eval-denoiser` from the command line: scores, means, pictures, the submission, what is left out."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from benchmark_fixtures import SMALL_LAYOUTS, blocks, shift_denoiser, write_v5, write_v73
from click.testing import CliRunner, Result
from noise_eval_fixtures import unpadded
from scipy.io import loadmat

from noisegen.cli import main
from noisegen.datasets import sidd_blocks
from noisegen.evaluation.denoising_metrics import SSIM_CONVENTIONS, psnr, ssim

Run = Callable[..., Result]
VALIDATION, SECRET, PLUS = SMALL_LAYOUTS


def save(path: Path, picture: np.ndarray) -> str:
    shown = picture[..., ::-1] if picture.shape[2] == 3 else picture
    assert cv2.imwrite(str(path), shown)
    return path.name


def write_table(folder: Path, table: str = "pairs.csv", offset: int = 10, dtype: type = np.uint8) -> None:
    """Two datasets, S6 and GP; noisy = clean + offset, + 2 offset for GP, so that a denoiser of that shift is known."""
    lines = ["noisy_path,clean_path,camera,iso,dataset,split"]
    for number, (camera, iso, dataset, split) in enumerate(
        [
            ("S6", 100, "one", "val"),
            ("S6", 100, "one", "val"),
            ("GP", 400, "two", "val"),
            ("GP", 400, "two", "train"),
        ]
    ):
        clean = (blocks((40, 300, 3), number) // 2 + 40).astype(dtype)
        noisy = (clean + offset * (2 if camera == "GP" else 1)).astype(dtype)
        files = [
            save(folder / f"{Path(table).stem}-{kind}-{number}.png", picture)
            for kind, picture in (("noisy", noisy), ("clean", clean))
        ]
        lines.append(f"{','.join(files)},{camera},{iso},{dataset},{split}")
    (folder / table).write_text("\n".join(lines) + "\n")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in a folder with a table of pairs and denoisers that take 10 and 4 grey levels off."""
    monkeypatch.setattr(sidd_blocks, "LAYOUTS", SMALL_LAYOUTS)
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path)
    shift_denoiser(tmp_path / "ten.safetensors", 10)
    shift_denoiser(tmp_path / "four.safetensors", 4)

    def invoke(*options: str, denoiser: str = "ten.safetensors") -> Result:
        return CliRunner().invoke(main, ["eval-denoiser", denoiser, *options, "--device", "cpu", "-q"])

    return invoke


def write_sidd(folder: Path, layout: sidd_blocks.BlockLayout, shift: int = 10) -> np.ndarray:
    """Noisy blocks, and clean ones that are `shift` darker."""
    noisy = blocks(layout.shape) // 2 + 40
    (folder / f"{layout.noisy}.mat").unlink(missing_ok=True)
    write_v73(folder / f"{layout.noisy}.mat", layout.noisy, noisy)
    if layout.clean:
        write_v5(folder / f"{layout.clean}.mat", layout.clean, (noisy - shift).astype(np.uint8))
    return noisy


def level(difference: float, top: float = 255) -> float:
    return float(20 * np.log10(top / abs(difference)))


def test_a_report_holds_tables_that_agree_with_the_metrics(run: Run, tmp_path: Path) -> None:
    result = run("pairs.csv", "--beside", "weak=four.safetensors", "-o", "out")
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "crops.png",
        "denoising.csv",
        "denoising.json",
        "denoising.md",
    ]
    markdown = (out / "denoising.md").read_text()
    assert markdown.startswith("# Denoising scores\n\n" + result.stdout)
    assert "![crops](crops.png)" in markdown

    lines = list(csv.DictReader((out / "denoising.csv").open()))
    assert [(line["name"], line["method"]) for line in lines[:4]] == [
        ("pairs-noisy-0", "noisy"),
        ("pairs-noisy-0", "ten"),
        ("pairs-noisy-0", "weak"),
        ("pairs-noisy-1", "noisy"),
    ]
    assert len(lines) == 9  # the row of split train is not scored
    noisy, clean = (
        cv2.imread(str(tmp_path / f"pairs-{kind}-2.png"))[..., ::-1] for kind in ("noisy", "clean")
    )
    for line, picture in zip(lines[6:], (noisy, noisy - 10, noisy - 4), strict=True):
        assert (line["benchmark"], line["camera"], line["iso"]) == ("pairs: two", "GP", "400")
        assert float(line["psnr"]) == pytest.approx(psnr(picture, clean, 255))
        for name in SSIM_CONVENTIONS:
            assert float(line[f"ssim_{name}"]) == pytest.approx(ssim(picture, clean, name, 255))

    record = json.loads((out / "denoising.json").read_text())
    assert [mean["benchmark"] for mean in record["means"]] == ["pairs: one", "pairs: two", "all"]
    assert [mean["condition"] for mean in record["by_condition"]] == [
        {"camera": "S6", "iso": 100},
        {"camera": "GP", "iso": 400},
    ]
    two = record["means"][1]
    assert two["scores"]["ten"]["psnr"] == pytest.approx(level(10))
    assert two["scores"]["weak"]["psnr"] == pytest.approx(level(16))
    assert len(record["settings"]["methods"]["ten"]["sha256"]) == 64
    assert f"| pairs: two | ten | 1 | {level(10):.2f} | +{level(10) - level(20):.2f} |" in unpadded(
        result.stdout
    )
    assert "SSIM matlab3d | SSIM gauss2d | SSIM skimage_default" in result.stdout
    picture = cv2.imread(str(out / "crops.png"))
    assert picture.shape[1] > 4 * 256
    assert picture.std() > 10


def test_files_of_one_name_are_repetitions_with_mean_and_spread(run: Run, tmp_path: Path) -> None:
    shift_denoiser(tmp_path / "two.safetensors", 2)
    seeds = ["--beside", "mine=four.safetensors", "--beside", "mine=two.safetensors"]
    result = run("pairs.csv", *seeds, "-o", "out", denoiser="other=ten.safetensors")
    assert result.exit_code == 0, result.output
    (tmp_path / "four.safetensors").rename(tmp_path / "mine-1.safetensors")
    (tmp_path / "two.safetensors").rename(tmp_path / "mine-2.safetensors")
    starred = run("pairs.csv", "--beside", "mine=mine-*.safetensors", denoiser="other=ten.safetensors")
    assert result.stdout == starred.stdout
    assert "no such files" in run("pairs.csv", "--beside", "mine=his-*.safetensors").output
    record = json.loads((tmp_path / "out" / "denoising.json").read_text())
    assert record["methods"] == ["noisy", "other", "mine 1", "mine 2"]
    # noisy is clean + 20 in the second dataset
    two = record["repetitions"]["mine"][1]
    values = [level(16), level(18)]
    assert two["benchmark"] == "pairs: two" and two["count"] == 2
    assert two["mean"]["psnr"] == pytest.approx(np.mean(values))
    assert two["std"]["psnr"] == pytest.approx(abs(values[0] - values[1]) / np.sqrt(2))
    text = unpadded(result.stdout)
    assert f"| pairs: two | mine | 2 | {np.mean(values):.2f} ± {two['std']['psnr']:.2f} |" in text
    assert f"| pairs: two | other | 1 | {level(10):.2f} |" in text
    # one of the repetitions is shown
    assert cv2.imread(str(tmp_path / "out" / "crops.png")).shape[1] < 5 * 270


def test_identical_pictures_are_left_out_of_every_mean_psnr_and_told(run: Run, tmp_path: Path) -> None:
    result = run("pairs.csv", "--beside", "four.safetensors", "-o", "out")
    record = json.loads((tmp_path / "out" / "denoising.json").read_text())
    one, two, everything = record["means"]
    # noisy is clean + 10 on both pictures of dataset one
    assert (one["identical"], two["identical"], everything["identical"]) == (2, 0, 2)
    assert {scores["psnr"] for scores in one["scores"].values()} == {None}
    assert one["scores"]["ten"]["ssim"]["matlab3d"] == pytest.approx(1)
    assert everything["scores"] != two["scores"]
    for method in ("noisy", "ten", "four"):
        assert everything["scores"][method]["psnr"] == two["scores"][method]["psnr"]
    assert "left out of every method's mean PSNR: 2 of 2 in pairs: one; 2 of 3 in all." in result.stdout
    lines = list(csv.DictReader((tmp_path / "out" / "denoising.csv").open()))
    assert [line["psnr"] for line in lines if line["method"] == "ten"][:2] == ["inf", "inf"]


def test_several_benchmarks_are_scored_together(run: Run, tmp_path: Path) -> None:
    write_sidd(tmp_path, VALIDATION, 13)
    write_sidd(tmp_path, PLUS, 14)
    result = run("pairs.csv", ".", "--half", "second", "--split", "train", "--crop", "20", "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    found = {mean["benchmark"]: (mean["pictures"], mean["scores"]["ten"]["psnr"]) for mean in record["means"]}
    assert found["SIDD validation"] == (6, pytest.approx(level(3)))
    assert found["SIDD+ second half"] == (3, pytest.approx(level(4)))
    assert found["pairs"] == (1, pytest.approx(level(10)))
    assert found["all"][1] == pytest.approx((6 * level(3) + 3 * level(4) + level(10)) / 10)
    conditions = [
        (mean["benchmark"], mean["condition"] and mean["condition"]["camera"])
        for mean in record["by_condition"]
    ]
    assert conditions == [
        ("SIDD validation", "S6"),
        ("SIDD validation", None),
        ("SIDD+ second half", None),
        ("pairs", "GP"),
    ]


def test_the_submission_holds_every_block_in_both_forms(run: Run, tmp_path: Path) -> None:
    noisy = write_sidd(tmp_path, SECRET)
    result = run(f"{SECRET.noisy}.mat", "-o", "out")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("## Submission\n\nSubmitSrgb.csv and SubmitSrgb.mat, ")
    expected = noisy - 10

    table = pd.read_csv(tmp_path / "out" / "SubmitSrgb.csv")
    assert list(table.columns) == ["ID", "BLOCK"]
    assert table["ID"].tolist() == list(range(6))
    for number, text in enumerate(table["BLOCK"]):
        block = np.frombuffer(base64.b64decode(text), np.uint8).reshape(SECRET.block)
        np.testing.assert_array_equal(block, expected[number // 3, number % 3])

    content = loadmat(tmp_path / "out" / "SubmitSrgb.mat")
    cells = content["DenoisedBlocksSrgb"]
    assert cells.shape == SECRET.grid
    for index in np.ndindex(SECRET.grid):
        assert cells[index].dtype == np.uint8
        np.testing.assert_array_equal(cells[index], expected[index])
    assert content["TimeMPSrgb"].item() > 0
    assert content["OptionalData"]["MethodName"].item().item() == "ten"
    record = json.loads((tmp_path / "out" / "denoising.json").read_text())
    assert record["submission"]["files"] == ["SubmitSrgb.csv", "SubmitSrgb.mat"]
    assert record["means"] == []
    assert not list((tmp_path / "out").glob(".*"))


def test_a_bad_pair_is_named_and_the_others_are_scored(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pairs-clean-1.png").write_bytes(b"no picture")
    data = bytearray((tmp_path / "pairs-noisy-2.png").read_bytes())
    data[5000:5100] = bytes(100)
    (tmp_path / "pairs-noisy-2.png").write_bytes(data)
    result = run("pairs.csv", "-o", "out")
    assert result.exit_code == 3, result.output
    record = json.loads((tmp_path / "out" / "denoising.json").read_text())
    assert [mean["pictures"] for mean in record["means"]] == [1]
    first, second = record["problems"]
    assert first.startswith("pairs.csv: row 2: clean_path:")
    assert second.startswith(f"pairs, pairs-noisy-2: {tmp_path / 'pairs-noisy-2.png'}: ")
    assert f"## Left out\n\n- {first}\n- {second}\n" in result.stdout


def test_pictures_of_16_bits_are_scored_with_their_own_range(run: Run, tmp_path: Path) -> None:
    write_table(tmp_path, "deep.csv", 1000, np.uint16)
    shift_denoiser(tmp_path / "deep.safetensors", 900, bit_depth=12)
    result = run("deep.csv", "--json", "--split", "", denoiser="deep.safetensors")
    assert result.exit_code == 0, result.output
    means = json.loads(result.stdout)["means"]
    assert means[0]["scores"]["noisy"]["psnr"] == pytest.approx(level(1000, 4095))
    assert means[0]["scores"]["deep"]["psnr"] == pytest.approx(level(100, 4095))
    assert means[1]["pictures"] == 2
    result = run("deep.csv")
    assert result.exit_code == 3
    assert "3 channel(s) of uint16; the denoiser is for 3 channel(s) of 8 bits" in result.stdout


def test_a_block_that_cannot_be_denoised_leaves_no_submission(run: Run, tmp_path: Path) -> None:
    write_sidd(tmp_path, SECRET)
    shift_denoiser(tmp_path / "grey.safetensors", 1, channels=1)
    result = run(f"{SECRET.noisy}.mat", "-o", "out", denoiser="grey.safetensors")
    assert result.exit_code == 3
    assert "SIDD benchmark: no submission written: the picture has 3 channel(s)" in result.stdout
    assert not list((tmp_path / "out").glob("*Submit*"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["pairs.csv", "--split", "test"], "split 'test' does not occur; there are: train, val"),
        (["pairs.csv", "--half", "first"], "--half is for SIDD+"),
        (
            ["pairs.csv", "--beside", "ten.safetensors"],
            "'ten' is the name of another denoiser; give it as NAME=ten",
        ),
        (["pairs.csv", "--beside", "noisy=four.safetensors"], "'noisy' is the name of the noisy pictures"),
        (
            ["pairs.csv", "--beside", "deep.safetensors"],
            "ten: 3 channel(s) of 8 bits, deep: 3 channel(s) of 16",
        ),
        (["pairs.csv", "--beside", "away.safetensors"], "checkpoint away.safetensors does not exist"),
        ([f"{SECRET.noisy}.mat"], "give --output, the folder for the submission"),
        (["pairs.csv", "-o", "pairs.csv/out"], "the folder cannot be made"),
        (["note.txt"], "note.txt: no such file; give a table of pairs"),
    ],
)
def test_a_request_that_cannot_be_met_exits_2_with_what_to_do(
    run: Run, tmp_path: Path, options: list[str], expected: str
) -> None:
    write_sidd(tmp_path, SECRET)
    shift_denoiser(tmp_path / "deep.safetensors", 1, bit_depth=16)
    result = run(*options)
    assert result.exit_code == 2, result.output
    assert expected in result.stderr
