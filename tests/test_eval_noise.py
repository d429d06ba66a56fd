"""Scoring a noise model on real pairs: what is compared, what is averaged, and what is left out by name."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from noisegen.cli import main
from noisegen.conditions import Condition, Vocabulary
from noisegen.datasets.pairs import Pair, read_pairs
from noisegen.errors import UsageError
from noisegen.evaluation.noise_eval import ConditionScore, central_crop, evaluate_noise
from noisegen.evaluation.noise_metrics import acf_error
from noisegen.evaluation.noise_tables import mean_scores, noise_csv, noise_json, noise_markdown, problems_of
from noisegen.fitting.classical import fit_baselines
from noisegen.models import nm_flowgan_checkpoint
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.classical import Awgn
from noisegen.models.nm_flowgan.config import NMFlowGANConfig
from noisegen.models.nm_flowgan.model import NMFlowGAN

DATA = Path(__file__).parents[2] / "shared" / "data" / "pairs.csv"
SIGMAS = {Condition("S6", 100): 4.0, Condition("S6", 800): 16.0, Condition("GP", 400): 8.0}


def awgn(*conditions: Condition, factor: float = 1.0) -> Awgn:
    std = {condition: (factor * SIGMAS[condition],) * 3 for condition in conditions}
    return Awgn(Vocabulary.of(std), 3, 8, std)


def save(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image[:, :, ::-1])
    return path


def make_pair(
    folder: Path, condition: Condition, sigma: float, name: str, dataset: str, blur: int = 1
) -> Pair:
    rng = np.random.default_rng(sum(map(ord, name)))
    clean = rng.integers(100, 156, (150, 220, 3)).astype(np.uint8)
    noise = cv2.blur(rng.normal(0, sigma * blur, clean.shape), (blur, blur)) if blur > 1 else None
    noise = rng.normal(0, sigma, clean.shape) if noise is None else noise
    noisy = np.clip(np.round(clean + noise), 0, 255).astype(np.uint8)
    paths = save(folder / f"{name}_noisy.png", noisy), save(folder / f"{name}_clean.png", clean)
    return Pair(*paths, condition, "val", name, dataset)


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    kinds = [(Condition("S6", 100), "one"), (Condition("S6", 800), "one"), (Condition("GP", 400), "two")]
    return [
        make_pair(tmp_path, condition, SIGMAS[condition], f"{dataset}-{condition.iso}-{i}", dataset)
        for condition, dataset in kinds
        for i in range(2)
    ]


def by_condition(rows: list[ConditionScore]) -> dict[Condition, ConditionScore]:
    return {row.condition: row for row in rows}


def test_the_true_model_scores_at_the_floor_and_a_wrong_one_above(pairs: list[Pair]) -> None:
    right = evaluate_noise(awgn(*SIGMAS), pairs)
    wrong = evaluate_noise(awgn(*SIGMAS, factor=1.5), pairs)
    assert [row.pictures for row in right] == [2, 2, 2]
    for good, bad in zip(right, wrong, strict=True):
        assert good.score is not None
        assert bad.score is not None
        assert good.score.kld_nm < 0.002 < 0.02 < bad.score.kld_nm
        assert good.score.std_synthetic == pytest.approx(good.score.std_real, rel=0.03)
        assert bad.score.std_synthetic == pytest.approx(np.multiply(bad.score.std_real, 1.5), rel=0.03)


def test_white_noise_against_blurred_noise_shows_in_acf_error_and_not_in_kld(tmp_path: Path) -> None:
    condition = Condition("S6", 800)
    pair = make_pair(tmp_path, condition, 16, "blurred", "one", blur=3)
    [row] = evaluate_noise(awgn(condition), [pair])
    assert row.score is not None
    assert row.score.kld_nm < 0.01
    triangle = [2 / 3, 2 / 3, 4 / 9, 1 / 3, 1 / 3, 0, 0, 0, 0]
    assert row.score.acf_error == pytest.approx(np.mean(triangle), abs=0.03)
    assert row.score.acf_real[:2] == pytest.approx(triangle[:2], abs=0.06)
    assert row.score.acf_synthetic[:2] == pytest.approx([0, 0], abs=0.03)


def test_scores_repeat_with_the_seed_and_change_with_it(pairs: list[Pair]) -> None:
    model = awgn(*SIGMAS)
    assert evaluate_noise(model, pairs, seed=1) == evaluate_noise(model, pairs, seed=1)
    assert evaluate_noise(model, pairs, seed=1) != evaluate_noise(model, pairs, seed=2)


def test_a_condition_is_the_mean_over_its_pictures(pairs: list[Pair]) -> None:
    model = awgn(*SIGMAS)
    both = evaluate_noise(model, pairs[:2])[0].score
    singles = [evaluate_noise(model, [pair])[0].score for pair in pairs[:2]]
    assert both is not None
    assert both.kld_nm == pytest.approx(np.mean([single.kld_nm for single in singles if single]))
    acfs = [(single.acf_real, single.acf_synthetic) for single in singles if single]
    assert both.acf_error == pytest.approx(acf_error(*np.mean(acfs, axis=0)))


def test_an_uncovered_condition_is_named_and_in_no_mean(pairs: list[Pair]) -> None:
    scores = {
        "model": evaluate_noise(awgn(Condition("GP", 400)), pairs),
        "awgn": evaluate_noise(awgn(*SIGMAS), pairs),
    }
    row = by_condition(list(scores["model"]))[Condition("S6", 100)]
    assert (row.score, row.pictures, row.rule) == (None, 0, "")
    assert "camera 'S6' is not known" in row.problems[0]
    means = {mean.dataset: mean for mean in mean_scores(scores)}
    gp = {name: by_condition(list(rows))[Condition("GP", 400)].score for name, rows in scores.items()}
    assert (means["all"].conditions, means["all"].of) == (1, 3)
    assert means["all"].kld_nm == {name: score.kld_nm for name, score in gp.items() if score}
    assert (means["one"].conditions, means["one"].kld_nm) == (0, {})
    text = noise_markdown(scores)
    assert "| one | S6 | 100 | 2 | not covered | " in text
    assert "- model, S6 ISO 100: not covered: camera 'S6' is not known" in text


def test_an_iso_between_two_known_ones_is_scored_by_interpolation(pairs: list[Pair], tmp_path: Path) -> None:
    condition = Condition("S6", 283)
    pair = make_pair(tmp_path, condition, 8.0, "between", "one")
    [row] = evaluate_noise(awgn(Condition("S6", 100), Condition("S6", 800)), [pair])
    assert row.rule.startswith("log-iso 100..800")
    assert row.score is not None
    assert row.score.kld_nm < 0.002


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_scored(pairs: list[Pair]) -> None:
    pairs[1].noisy_path.write_bytes(b"")
    row = by_condition(evaluate_noise(awgn(*SIGMAS), pairs))[Condition("S6", 100)]
    assert row.pictures == 1
    assert row.score is not None
    assert len(row.problems) == 1
    assert row.problems[0].startswith(f"{pairs[1].name} left out: ")


def test_a_picture_too_small_for_the_longest_lag_is_named(tmp_path: Path) -> None:
    dot = save(tmp_path / "dot.png", np.zeros((1, 1, 3), np.uint8))
    [row] = evaluate_noise(awgn(*SIGMAS), [Pair(dot, dot, Condition("GP", 400), None, "dot")])
    assert row.score is None
    assert "5 pixels or more" in row.problems[0]


def test_only_the_central_square_counts(pairs: list[Pair]) -> None:
    noisy = cv2.imread(str(pairs[0].noisy_path))
    before = evaluate_noise(awgn(*SIGMAS), pairs[:1], crop=100)
    noisy[:25], noisy[:, :60] = 0, 0
    cv2.imwrite(str(pairs[0].noisy_path), noisy)
    assert evaluate_noise(awgn(*SIGMAS), pairs[:1], crop=100) == before
    assert evaluate_noise(awgn(*SIGMAS), pairs[:1], crop=0) != before
    picture = np.arange(5 * 9).reshape(5, 9, 1)
    np.testing.assert_array_equal(central_crop(picture, 3), picture[1:4, 3:6])
    np.testing.assert_array_equal(central_crop(picture, 7), picture[:, 1:8])


def test_means_are_over_conditions_and_given_for_each_dataset(pairs: list[Pair]) -> None:
    rows = evaluate_noise(awgn(*SIGMAS), pairs)
    klds = {row.condition: row.score.kld_nm for row in rows if row.score}
    means = {mean.dataset: mean.kld_nm["model"] for mean in mean_scores({"model": rows})}
    assert list(means) == ["one", "two", "all"]
    assert means["one"] == pytest.approx((klds[Condition("S6", 100)] + klds[Condition("S6", 800)]) / 2)
    assert means["all"] == pytest.approx(np.mean(list(klds.values())))


def test_csv_and_json_hold_the_numbers_of_the_table(pairs: list[Pair]) -> None:
    scores = {
        "model": evaluate_noise(awgn(*SIGMAS), pairs),
        "two": evaluate_noise(awgn(Condition("GP", 400)), pairs),
    }
    lines = list(csv.DictReader(io.StringIO(noise_csv(scores))))
    assert [line["method"] for line in lines] == ["model"] * 3 + ["two"] * 3
    first = scores["model"][0].score
    assert first is not None
    assert float(lines[0]["kld_nm"]) == first.kld_nm
    assert float(lines[0]["std_real_2"]) == first.std_real[2]
    record = json.loads(json.dumps(noise_json(scores), allow_nan=False))
    assert record["scores"]["model"][0]["score"]["acf_error"] == first.acf_error
    assert record["scores"]["two"][0]["score"] is None
    assert len(record["problems"]) == len(problems_of(scores)) == 2


def test_an_unknown_baseline_is_an_error_that_lists_the_known_ones(pairs: list[Pair]) -> None:
    with pytest.raises(UsageError, match="unknown baseline white; there are: awgn, heteroscedastic"):
        fit_baselines(["white"], pairs)


@pytest.mark.skipif(not DATA.exists(), reason="the real pairs for development are not beside this checkout")
def test_white_noise_on_real_sidd_blocks_scores_as_the_field_measured() -> None:
    pairs = [pair for pair in read_pairs(DATA, split="val") if pair.dataset == "sidd"]
    std = {pair.condition: (20.0,) * 3 for pair in pairs}
    rows = evaluate_noise(Awgn(Vocabulary.of(std), 3, 8, std), pairs)
    assert mean_scores({"white": rows})[-1].acf_error["white"] == pytest.approx(0.14, abs=0.005)


@pytest.fixture
def command_line(pairs: list[Pair], tmp_path: Path) -> list[str]:
    """A tiny untrained model that knows two of the three conditions, and a table of the pairs."""
    config = NMFlowGANConfig(
        structure_width=2, structure_depth=1, signal_widths=(2,), unet_width=2, unet_depth=2, critic_width=2
    )
    model = NMFlowGAN(config, Vocabulary.of([Condition("S6", 100), Condition("S6", 800)])).eval()
    write_checkpoint(tmp_path / "model.safetensors", nm_flowgan_checkpoint(model, {}))
    lines = ["noisy_path,clean_path,camera,iso,dataset,split"]
    for pair in pairs:
        for split in ("train", "val"):
            where = f"{pair.noisy_path.name},{pair.clean_path.name}"
            lines.append(f"{where},{pair.condition.camera},{pair.condition.iso},{pair.dataset},{split}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    return ["eval-noise", str(tmp_path / "model.safetensors"), str(tmp_path / "pairs.csv"), "--device", "cpu"]


def test_the_command_prints_the_model_beside_its_baselines(command_line: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [*command_line, "-o", str(tmp_path / "out")])
    assert result.exit_code == 3, result.output
    header = result.stdout.splitlines()[0]
    assert "| kld_nm model | kld_nm awgn | kld_nm heteroscedastic | acf_error model |" in header
    assert "model, GP ISO 400: not covered: camera 'GP' is not known" in result.stdout
    assert (tmp_path / "out" / "noise.md").read_text() == result.stdout
    assert len((tmp_path / "out" / "noise.csv").read_text().splitlines()) == 1 + 3 * 3
    record = json.loads((tmp_path / "out" / "noise.json").read_text())
    assert record["settings"]["checkpoint_sha256"]
    assert {row["score"] is None for row in record["scores"]["awgn"]} == {False}
    assert record["means"][-1]["kld_nm"]["awgn"] < 0.002 < record["means"][-1]["kld_nm"]["model"]


def test_the_command_prints_json_and_exits_0_where_all_is_covered(
    command_line: list[str], tmp_path: Path
) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("".join(line for line in table.read_text().splitlines(True) if ",GP," not in line))
    result = CliRunner().invoke(main, [*command_line, "--against", "", "--crop", "96", "--json"])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert list(record["scores"]) == ["model"]
    assert record["problems"] == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--against", "white"], "unknown baseline white"),
        (["--split", "valid"], "there are: train, val"),
        (["--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_a_request_that_cannot_be_met_exits_2_with_what_to_do(
    command_line: list[str], options: list[str], expected: str
) -> None:
    result = CliRunner().invoke(main, [*command_line, *options])
    assert result.exit_code == 2
    assert expected in result.stderr
