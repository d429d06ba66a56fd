"""Scoring a noise model on real pairs: what is compared, what is averaged, and what is left out by name."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from noise_eval_fixtures import SIGMAS, awgn, make_pair, save, six_pairs, unpadded

from noisegen.conditions import Condition
from noisegen.datasets.pairs import Pair, read_pairs
from noisegen.errors import UsageError
from noisegen.evaluation.noise_eval import ConditionScore, central_crop, evaluate_noise
from noisegen.evaluation.noise_markdown import noise_summary
from noisegen.evaluation.noise_means import NoiseReport, camera_means, mean_scores, problems_of
from noisegen.evaluation.noise_tables import noise_csv, noise_json
from noisegen.evaluation.structure_metrics import acf_error
from noisegen.fitting.one_pass import fit_models
from noisegen.models.classical import Awgn
from noisegen.models.learning import ModelSizes

DATA = Path(__file__).parents[2] / "shared" / "data" / "pairs.csv"


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    return six_pairs(tmp_path)


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
    assert means["all"].values["kld_nm"] == {name: score.kld_nm for name, score in gp.items() if score}
    assert (means["one"].conditions, means["one"].values) == (0, {})
    text = noise_summary(NoiseReport(scores, {}))
    assert "| one | S6 | 100 | – | " in unpadded(text)
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
    assert "10 pixels or more" in row.problems[0]


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
    means = {mean.dataset: mean.values["kld_nm"]["model"] for mean in mean_scores({"model": rows})}
    assert list(means) == ["one", "two", "all"]
    assert means["one"] == pytest.approx((klds[Condition("S6", 100)] + klds[Condition("S6", 800)]) / 2)
    assert means["all"] == pytest.approx(np.mean(list(klds.values())))


def test_a_camera_s_mean_is_over_its_conditions_in_its_dataset(pairs: list[Pair]) -> None:
    rows = evaluate_noise(awgn(*SIGMAS), pairs)
    klds = {row.condition: row.score.kld_nm for row in rows if row.score}
    s6, gp = camera_means({"model": rows})
    assert [(mean.dataset, mean.camera, mean.conditions, mean.of) for mean in (s6, gp)] == [
        ("one", "S6", 2, 2),
        ("two", "GP", 1, 1),
    ]
    expected = (klds[Condition("S6", 100)] + klds[Condition("S6", 800)]) / 2
    assert s6.values["kld_nm"]["model"] == pytest.approx(expected)
    assert f"| one | S6 | mean of 2 | {expected:.4f} |" in unpadded(
        noise_summary(NoiseReport({"model": rows}, {}))
    )


def test_many_methods_stand_in_one_table_with_a_row_each(pairs: list[Pair]) -> None:
    rows = evaluate_noise(awgn(*SIGMAS), pairs)
    names = [f"method-{index}" for index in range(15)]
    text = unpadded(noise_summary(NoiseReport(dict.fromkeys(names, rows), {})))
    table = text.split("## kld_nm by camera and ISO\n\n")[1].split("\n\n")[0].splitlines()
    assert table[0] == "| dataset | one | one | two | **one** | **two** | **all** |"
    assert table[2:4] == [
        "| camera | S6 | S6 | GP | | | |",
        "| ISO | 100 | 800 | 400 | mean of 2 | mean of 1 | mean of 3 |",
    ]
    assert [line.split(" | ")[0] for line in table[4:]] == [f"| {name}" for name in names]
    klds = [row.score.kld_nm for row in rows if row.score]
    assert table[4].split(" | ")[1:4] == [f"{kld:.4f}" for kld in klds]
    assert max(map(len, noise_summary(NoiseReport(dict.fromkeys(names, rows), {})).splitlines())) < 130


def test_csv_and_json_hold_the_numbers_of_the_table(pairs: list[Pair]) -> None:
    scores = {
        "model": evaluate_noise(awgn(*SIGMAS), pairs),
        "two": evaluate_noise(awgn(Condition("GP", 400)), pairs),
    }
    report = NoiseReport(scores, {})
    lines = list(csv.DictReader(io.StringIO(noise_csv(report))))
    assert [line["method"] for line in lines] == ["model"] * 3 + ["two"] * 3 + ["model", "two"] * 5
    assert [line["camera"] for line in lines[6::2]] == ["S6", "GP", "", "", ""]
    first = scores["model"][0].score
    assert first is not None
    assert float(lines[0]["kld_nm"]) == first.kld_nm
    assert float(lines[0]["std_real_2"]) == first.std_real[2]
    record = json.loads(json.dumps(noise_json(report), allow_nan=False))
    assert record["scores"]["model"][0]["score"]["acf_error"] == first.acf_error
    assert record["scores"]["two"][0]["score"] is None
    assert len(record["problems"]) == len(problems_of(report)) == 2


def test_a_type_that_is_not_fitted_is_an_error_that_lists_those_that_are(pairs: list[Pair]) -> None:
    with pytest.raises(
        UsageError, match="white cannot be fitted; there are: awgn, poisson-gaussian, heteroscedastic"
    ):
        fit_models(["white"], pairs)


@pytest.mark.skipif(not DATA.exists(), reason="the real pairs for development are not beside this checkout")
def test_white_noise_on_real_sidd_blocks_scores_as_the_field_measured() -> None:
    pairs = [pair for pair in read_pairs(DATA, split="val") if pair.dataset == "sidd"]
    std = {pair.condition: (20.0,) * 3 for pair in pairs}
    rows = evaluate_noise(Awgn.of(ModelSizes(), std=std), pairs)
    assert mean_scores({"white": rows})[-1].values["acf_error"]["white"] == pytest.approx(0.14, abs=0.005)
