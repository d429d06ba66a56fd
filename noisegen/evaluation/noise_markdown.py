"""Noise scores of several methods side by side, as Markdown for people: the short of it first, then everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from noisegen.evaluation.noise_means import (
    ALL,
    MeanScore,
    NoiseReport,
    mean_scores,
    problems_of,
    two_sample_accuracy,
)
from noisegen.evaluation.noise_score import FLOOR, METRICS, ConditionScore, NoiseScore, metric_value
from noisegen.evaluation.structure_metrics import CHANNEL_PAIRS, DIRECTIONS, LONGEST_LAG

__all__ = ["markdown_table", "noise_details", "noise_summary"]

SUMMARY = ("kld_nm", "kld_nm_detrended", "acf_error", "acf_error_detrended", "std_error")
TWO_SAMPLE = "two-sample accuracy"
PLACE = ("dataset", "camera", "ISO")

Row = Sequence[str]


def noise_summary(report: NoiseReport) -> str:
    """The means by method, over all and by dataset, then kld_nm, acf_error and std for each condition."""
    *datasets, overall = mean_scores(report.scores)
    tested = f"; {TWO_SAMPLE} is best at 0.5" if report.two_sample else ""
    floor = f" '{FLOOR}' is the noise floor, real against real." if FLOOR in report.scores else ""
    parts = [
        f"Means over {_counted(overall)}. Lower is better{tested}.{floor}\n",
        _mean_table(report, [overall]),
    ]
    if datasets:
        parts += ["\n## By dataset\n", _mean_table(report, datasets)]
    for name in ("kld_nm", "acf_error"):
        parts += [f"\n## {name}\n", _metric_table(report, name, [*datasets, overall])]
    parts += ["\n## Noise std, grey levels\n", _std_table(report)]
    problems = problems_of(report)
    if problems:
        parts += ["\n## Left out\n", "\n".join(f"- {problem}" for problem in problems)]
    return "\n".join(parts) + "\n"


def noise_details(report: NoiseReport) -> str:
    """A table for each of the other metrics, and the measured values behind them, for each condition."""
    means = mean_scores(report.scores)
    parts = []
    if report.two_sample:
        parts += [f"\n## {TWO_SAMPLE}\n", _two_sample_table(report)]
    for metric in METRICS:
        if metric.name in ("kld_nm", "acf_error") or metric.name not in means[-1].values:
            continue
        unit = f" In {metric.unit}." if metric.unit else ""
        parts += [f"\n## {metric.name}\n", f"{metric.meaning[0].upper()}{metric.meaning[1:]}.{unit}\n"]
        parts.append(_metric_table(report, metric.name, means))
    lags = [f"{axis} {lag}" for axis in DIRECTIONS for lag in range(1, LONGEST_LAG + 1)]
    parts += [
        "\n## Mean noise, grey levels\n",
        _value_table(report, None, lambda score, side: (score.bias_real, score.bias_synthetic)[side], 2),
        "\n## Drift, grey levels\n",
        "Standard deviation of the noise's slow part (Gaussian window, sigma 32 pixels).\n",
        _value_table(report, ["drift"], lambda score, side: _detail(score, "drift")[side : side + 1], 2),
        "\n## Correlation between channels\n",
        _value_table(report, [*CHANNEL_PAIRS], lambda score, side: _detail(score, "channels")[side], 3),
        "\n## Autocorrelation\n",
        "Mean over channels, lags along x, y and the diagonal.\n",
        _value_table(report, lags, _lag_values, 2),
    ]
    return "\n".join(parts) + "\n"


def markdown_table(heads: Row, rows: Sequence[Row], texts: int) -> str:
    """A Markdown table whose first ``texts`` columns are words and the others right-aligned numbers."""
    rule = ["---"] * texts + ["---:"] * (len(heads) - texts)
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *rows])


def _mean_table(report: NoiseReport, means: Sequence[MeanScore]) -> str:
    names = [name for name in SUMMARY if any(name in mean.values for mean in means)]
    several = [] if means[0].dataset == ALL else ["dataset"]
    heads = [*several, "method", *names, *([TWO_SAMPLE] if report.two_sample else [])]
    rows = []
    for mean in means:
        for method in report.scores:
            cells = [_number(mean.values.get(name, {}).get(method), _digits(name)) for name in names]
            if report.two_sample:
                cells.append(_accuracy(report, method, mean.dataset))
            rows.append([*([mean.dataset] if several else []), method, *cells])
    return markdown_table(heads, rows, 1 + len(several))


def _accuracy(report: NoiseReport, method: str, dataset: str) -> str:
    score = report.two_sample.get(method)
    text = _number(two_sample_accuracy(score, dataset), 3)
    return f"{text} ± {score.standard_error:.3f}" if score and dataset == ALL else text


def _metric_table(report: NoiseReport, name: str, means: Sequence[MeanScore]) -> str:
    digits = _digits(name)
    rows = [
        [*_place(line[0]), *(_number(metric_value(row.score, name), digits) for row in line)]
        for line in _lines(report)
    ]
    for mean in means:
        values = mean.values.get(name, {})
        cells = [_number(values.get(method), digits) for method in report.scores]
        rows.append([f"**{mean.dataset}**", f"mean over {_counted(mean)}", "", *cells])
    return markdown_table([*PLACE, *report.scores], rows, 3)


def _std_table(report: NoiseReport) -> str:
    """Real noise and each method, root mean square over channels; the floor has nothing to add."""
    methods = [name for name in report.scores if name != FLOOR]
    rows = []
    for line in _lines(report):
        found = [row.score for row in line[: len(methods)]]
        real = next((score.std_real for score in found if score), None)
        values = [real, *(score.std_synthetic if score else None for score in found)]
        pictures = str(max(row.pictures for row in line))
        rows.append([*_place(line[0]), pictures, *(_number(_rms(value), 2) for value in values)])
    return markdown_table([*PLACE, "pictures", "real", *methods], rows, 3)


def _two_sample_table(report: NoiseReport) -> str:
    rows = []
    for line in _lines(report):
        key = line[0].dataset, line[0].condition
        found = [report.two_sample.get(method) for method in report.scores]
        values = [score.by_condition.get(key) if score else None for score in found]
        rows.append([*_place(line[0]), *(_number(value, 3) for value in values)])
    rows.append(["**all**", "", "", *(_accuracy(report, method, ALL) for method in report.scores)])
    return markdown_table([*PLACE, *report.scores], rows, 3)


def _value_table(
    report: NoiseReport,
    columns: Sequence[str] | None,
    pick: Callable[[NoiseScore, int], Sequence[float]],
    digits: int,
) -> str:
    """What was measured of the real noise and of each method's, a line each; columns None: the channels."""
    rows = []
    width = len(columns) if columns else 0
    for line in _lines(report):
        scored = {
            name: row.score
            for name, row in zip(report.scores, line, strict=True)
            if row.score and name != FLOOR
        }
        sides = [(name, score, 1) for name, score in scored.items()]
        if scored:
            sides.insert(0, ("real", next(iter(scored.values())), 0))
        for name, score, side in sides:
            values = [_number(value, digits) for value in pick(score, side)]
            width = max(width, len(values))
            rows.append([*_place(line[0]), name, *values])
    heads = list(columns) if columns else (["R", "G", "B"] if width == 3 else ["grey"] * width)
    return markdown_table([*PLACE, "noise", *heads], [row + [""] * (4 + width - len(row)) for row in rows], 4)


def _lines(report: NoiseReport) -> list[tuple[ConditionScore, ...]]:
    """For each condition the rows of all methods."""
    return list(zip(*report.scores.values(), strict=True))


def _place(row: ConditionScore) -> list[str]:
    return [row.dataset, row.condition.camera, str(row.condition.iso)]


def _detail(score: NoiseScore, name: str) -> Sequence[Any]:
    return getattr(score.detail, name) if score.detail else ((), ())


def _lag_values(score: NoiseScore, side: int) -> list[float]:
    return np.mean(_detail(score, "acf")[side], axis=-1)[:, 1:].ravel().tolist()


def _counted(mean: MeanScore) -> str:
    return f"{mean.conditions} of {mean.of} (camera, ISO)"


def _digits(name: str) -> int:
    return next(metric.digits for metric in METRICS if metric.name == name)


def _rms(values: Sequence[float] | None) -> float | None:
    return float(np.sqrt(np.mean(np.square(values)))) if values is not None else None


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
