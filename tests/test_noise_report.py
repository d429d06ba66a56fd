"""What the full evaluation measures beyond the cheap metrics, its floors, what it keeps, and its figures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from noise_eval_fixtures import SIGMAS, awgn, make_pair, save, six_pairs

from noisegen.conditions import Condition
from noisegen.datasets import pairs as pair_module
from noisegen.datasets.pairs import Pair
from noisegen.evaluation import noise_eval, noise_report
from noisegen.evaluation.method_cost import MethodCost
from noisegen.evaluation.noise_eval import Evaluation, ScoredPicture, evaluate_methods, evaluate_noise
from noisegen.evaluation.noise_markdown import noise_summary
from noisegen.evaluation.noise_means import NoiseReport
from noisegen.evaluation.noise_overview import overview_figures
from noisegen.evaluation.noise_pictures import Sample, sample_figures
from noisegen.evaluation.noise_plots import spectrum_figures
from noisegen.evaluation.noise_report import KeptPictures
from noisegen.evaluation.noise_score import FLOOR, METRICS, NoiseDetail, metric_value
from noisegen.evaluation.plot_style import abreast, figure_png, line_style, pages, panels
from noisegen.models.classical import Awgn
from noisegen.models.learning import ModelSizes

S6 = Condition("S6", 800)


def details(evaluation: Evaluation, method: str) -> list[NoiseDetail]:
    found = [row.score.detail for row in evaluation.methods[method] if row.score and row.score.detail]
    assert len(found) == len(evaluation.methods[method])
    return found


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    pairs = six_pairs(tmp_path_factory.mktemp("pairs"))
    return evaluate_methods({"right": awgn(*SIGMAS), "strong": awgn(*SIGMAS, factor=1.5)}, pairs)


def test_the_true_model_is_near_the_floor_in_every_metric_and_a_strong_one_above(
    evaluation: Evaluation,
) -> None:
    spread = {"kld_nm", "kld_nm_detrended", "kld_naflow", "akld", "std_error", "spectrum_error_db"}
    for metric in METRICS:
        for index, row in enumerate(evaluation.floor):
            scores = [evaluation.methods[name][index].score for name in ("right", "strong")]
            right, strong = (metric_value(score, metric.name) for score in scores)
            floor = metric_value(row.score, metric.name)
            assert right is not None
            assert strong is not None
            assert floor is not None
            assert right < 4 * floor + 0.05
            if metric.name in spread:
                assert strong > 2 * right


def test_the_errors_of_noise_half_again_as_strong_are_what_arithmetic_says(evaluation: Evaluation) -> None:
    for row in evaluation.methods["strong"]:
        assert row.score is not None
        assert row.score.std_error == pytest.approx(0.5, abs=0.03)
        detail = row.score.detail
        assert detail is not None
        assert detail.intensity_error == pytest.approx(0.5, abs=0.04)
        assert detail.spectrum_error_db == pytest.approx(20 * np.log10(1.5), abs=0.15)
        assert detail.channel_error == pytest.approx(0, abs=0.03)
        assert detail.bias_error == pytest.approx(0, abs=0.3)


def test_the_cheap_metrics_are_the_same_numbers_with_and_without_detail(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    for cheap, full in zip(
        evaluate_noise(awgn(*SIGMAS), six_pairs(tmp_path)), evaluation.methods["right"], strict=True
    ):
        assert cheap.score is not None
        assert full.score is not None
        assert cheap.score.detail is None
        for name in ("kld_nm", "acf_error", "std_error", "acf_synthetic", "bias_real"):
            assert getattr(cheap.score, name) == getattr(full.score, name)


def test_drift_worsens_the_raw_numbers_and_is_measured_and_taken_off(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, S6, 6.0, "drifting", "one")
    y = np.mgrid[:150, :220][0]
    clean = cv2.imread(str(pair.clean_path))
    noise = np.random.default_rng(0).normal(0, 6, clean.shape)
    drifting = clean + noise + (y / 149 * 16 - 8)[..., None]
    cv2.imwrite(str(pair.noisy_path), np.clip(np.round(drifting), 0, 255).astype(np.uint8))
    found = evaluate_methods({"right": awgn(S6, factor=6 / 16)}, [pair])
    score = found.methods["right"][0].score
    [detail] = details(found, "right")
    assert score is not None
    assert score.acf_error > 0.3 > 0.15 > detail.acf_error_detrended
    assert score.kld_nm > 0.1 > 0.03 > detail.kld_nm_detrended
    # the window is cut off at the border, which flattens the ends of a ramp
    assert 0.65 * 16 / np.sqrt(12) < detail.drift[0] < 16 / np.sqrt(12)
    assert detail.drift[1] < 0.4


def test_floors_follow_the_real_noise_and_not_the_methods(tmp_path: Path) -> None:
    pairs = six_pairs(tmp_path)[:1]
    floors = [evaluate_methods({"m": awgn(*SIGMAS, factor=f)}, pairs).floor for f in (1.0, 2.0)]
    assert floors[0] == floors[1]
    assert evaluate_methods({"m": awgn(*SIGMAS)}, pairs, detailed=False).floor == []


def test_every_pair_is_decoded_once_whatever_the_number_of_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def load(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        decoded.append(pair.name)
        return pair_module.load_pair(pair)

    monkeypatch.setattr(noise_eval, "load_pair", load)
    pairs = six_pairs(tmp_path)
    model, calls = awgn(*SIGMAS), []
    evaluate_methods(
        {"a": model, "b": model, "c": model}, pairs, detailed=False, advance=lambda pixels: calls.append(1)
    )
    assert sorted(decoded) == sorted(pair.name for pair in pairs)
    assert len(calls) == 3 * len(pairs)


def test_grey_pictures_have_no_channel_correlation_and_everything_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clean = rng.integers(100, 156, (100, 120, 1)).astype(np.uint8)
    noisy = np.round(clean + rng.normal(0, 8, clean.shape)).astype(np.uint8)
    paths = [tmp_path / "n.png", tmp_path / "c.png"]
    for path, image in zip(paths, (noisy, clean), strict=True):
        assert cv2.imwrite(str(path), image)
    grey = Awgn.of(ModelSizes(channels=1), std={S6: (8.0,)})
    found = evaluate_methods({"grey": grey}, [Pair(*paths, S6, None, "grey")])
    [detail] = details(found, "grey")
    assert (detail.channel_error, detail.channels) == (None, ((), ()))
    assert detail.intensity_error == pytest.approx(0, abs=0.15)
    report = NoiseReport({**found.methods, FLOOR: found.floor}, {})
    assert "| grey " in noise_summary(report)
    assert all(
        metric_value(found.methods["grey"][0].score, metric.name) is not None
        for metric in METRICS
        if metric.name != "channel_error"
    )


def test_pictures_are_kept_as_large_as_all_of_them_fit_and_a_sample_of_each_condition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise_report, "KEPT_PIXELS", 2 * 50 * 50)
    image = np.arange(80 * 90 * 3, dtype=np.uint16).reshape(80, 90, 3)
    pairs = [Pair(tmp_path, tmp_path, Condition("A", iso), None, str(iso), "one") for iso in (800, 100)]
    kept = KeptPictures(2, 10)
    for pair in pairs:
        kept.add(ScoredPicture(pair, image, image, {"m": image}))
    assert kept.kept[0].real.shape == (50, 50, 3)
    samples = kept.samples()
    assert [sample.condition.iso for sample in samples] == [100, 800]
    np.testing.assert_array_equal(samples[0].synthetic["m"], image[15:65, 20:70] / 4)


def test_many_conditions_go_on_several_pages() -> None:
    assert [len(page) for page in pages(list(range(11)), 5)] == [5, 5, 1]


def test_many_methods_are_drawn_in_groups_that_can_be_told_apart(evaluation: Evaluation) -> None:
    names = [f"m{index}" for index in range(15)]
    assert [len(group) for group in abreast(names)] == [5, 5, 5]
    assert [len(group) for group in abreast(names[:7])] == [4, 3]
    assert abreast(names[:6]) == [names[:6]]
    assert abreast([]) == []
    assert len({str(line_style(index)) for index in range(36)}) == 36
    scores = dict.fromkeys(names, evaluation.methods["right"])
    drawn = panels(scores)
    assert len(drawn) == 3 * 3
    assert [name for _, details in drawn[:3] for name in details] == names
    figure = next(spectrum_figures(scores))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["real", *names]


def test_samples_of_many_methods_stand_in_rows_beside_the_real_noise() -> None:
    image = np.zeros((8, 8, 3))
    samples = [
        Sample("", Condition("A", iso), image, image, {f"m{index}": image for index in range(8)})
        for iso in (100, 200, 400)
    ]
    first, second = sample_figures(samples)
    titles = [ax.get_title() for ax in first.axes if ax.get_title() and "noise" not in ax.get_title()]
    row = ["clean", "real", *(f"m{index}" for index in range(4))]
    other = ["clean", "real", *(f"m{index}" for index in range(4, 8))]
    assert titles == [*row, *other] * 2
    assert len(second.axes) == len(first.axes) / 2


def test_the_overview_has_a_row_for_each_method_the_best_first_and_a_column_for_each_number(
    evaluation: Evaluation,
) -> None:
    scores = {"strong": evaluation.methods["strong"], "right": evaluation.methods["right"]}
    report = NoiseReport(
        {**scores, FLOOR: evaluation.floor}, {}, (), {"right": MethodCost(1200, 3.5)}, "a device"
    )
    [figure] = overview_figures(report)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["right", "strong"]
    assert [ax.get_title() for ax in figure.axes] == [
        "kld_nm",
        "acf_error",
        "spectrum_error_db",
        "std_error",
        "parameters",
        "MP/s",
    ]
    assert list(overview_figures(NoiseReport({"none": []}, {}))) == []


def test_the_same_scores_give_the_same_picture_file(evaluation: Evaluation) -> None:
    scores = {**evaluation.methods, FLOOR: evaluation.floor}
    first, again = (figure_png(next(spectrum_figures(scores))) for _ in range(2))
    assert first == again
    assert isinstance(next(spectrum_figures(scores)), Figure)
    assert first.startswith(b"\x89PNG")


def test_a_pair_that_cannot_be_read_is_named_by_every_method_and_scored_by_none(tmp_path: Path) -> None:
    broken = Pair(tmp_path / "absent.png", tmp_path / "absent.png", S6, None, "absent")
    dot = save(tmp_path / "dot.png", np.zeros((1, 1, 3), np.uint8))
    found = evaluate_methods({"m": awgn(S6)}, [broken, Pair(dot, dot, S6, None, "dot")])
    [row] = found.methods["m"]
    assert row.score is None
    assert [problem.split(" ")[0] for problem in row.problems] == ["absent", "dot"]
    assert found.floor[0].score is None
