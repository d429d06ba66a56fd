"""Noise scores of several methods side by side, as Markdown for people: the short of it first, then everything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from noisegen.evaluation.noise_means import (
    ALL,
    MeanScore,
    NoiseReport,
    camera_means,
    mean_scores,
    problems_of,
    two_sample_accuracy,
)
from noisegen.evaluation.noise_score import FLOOR, METRICS, ConditionScore, NoiseScore, metric_value
from noisegen.evaluation.structure_metrics import CHANNEL_PAIRS, DIRECTIONS, LONGEST_LAG

__all__ = ["markdown_table", "noise_details", "noise_summary"]

SUMMARY = ("kld_nm", "acf_error", "spectrum_error_db", "channel_error", "std_error")
BY_DATASET = ("kld_nm", "kld_nm_detrended", "acf_error", "acf_error_detrended", "std_error")
TWO_SAMPLE = "two-sample accuracy"
COST = ("parameters", "MP/s")
PLACE = ("dataset", "camera", "ISO")

Row = Sequence[str]


def noise_summary(report: NoiseReport) -> str:
    """The means and the cost of each method, then kld_nm by camera and by condition, then what is left out."""
    *_, overall = means = mean_scores(report.scores)
    tested = f"; {TWO_SAMPLE} is best at 0.5" if report.two_sample else ""
    floor = f" '{FLOOR}' is the noise floor, real against real." if FLOOR in report.scores else ""
    cost = f"\nMP/s: drawing alone, {report.drawn_on}." if report.costs else ""
    parts = [
        f"Means over {overall.conditions} of {overall.of} (camera, ISO). Lower is better{tested}.{floor}{cost}\n",
        _mean_table(report, [overall], SUMMARY),
    ]
    cameras = camera_means(report.scores)
    if 1 < len(cameras) < overall.of:
        parts += [
            "\n## kld_nm by camera\n",
            _condition_table(report.scores, _mean_rows(report, "kld_nm", cameras)),
        ]
    parts += ["\n## kld_nm by camera and ISO\n", _metric_table(report, "kld_nm", means)]
    problems = problems_of(report)
    if problems:
        parts += ["\n## Left out\n", "\n".join(f"- {problem}" for problem in problems)]
    return "\n".join(parts) + "\n"


def noise_details(report: NoiseReport) -> str:
    """A table for each of the other metrics, and the measured values behind them, for each condition."""
    *datasets, overall = means = mean_scores(report.scores)
    parts = []
    if datasets:
        parts += ["\n## By dataset\n", _mean_table(report, datasets, BY_DATASET)]
    if report.two_sample:
        parts += [f"\n## {TWO_SAMPLE}\n", _two_sample_table(report)]
    for metric in METRICS:
        if metric.name == "kld_nm" or metric.name not in overall.values:
            continue
        unit = f" In {metric.unit}." if metric.unit else ""
        parts += [f"\n## {metric.name}\n", f"{metric.meaning[0].upper()}{metric.meaning[1:]}.{unit}\n"]
        parts.append(_metric_table(report, metric.name, means))
    lags = [f"{axis} {lag}" for axis in DIRECTIONS for lag in range(1, LONGEST_LAG + 1)]
    parts += [
        "\n## Noise std, grey levels\n",
        _std_table(report),
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
    """A Markdown table in columns of even width, the first ``texts`` of words, the others of right-aligned numbers."""
    widths = [max(3, *map(len, column)) for column in zip(heads, *rows, strict=True)]
    rule = ["-" * width if i < texts else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [
        [cell.ljust(width) if i < texts else cell.rjust(width) for i, (cell, width) in enumerate(line)]
        for line in (zip(cells, widths, strict=True) for cells in (heads, rule, *rows))
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _mean_table(report: NoiseReport, means: Sequence[MeanScore], metrics: Sequence[str]) -> str:
    """A row for each method, with what it costs where the means are those over all."""
    names = [name for name in metrics if any(name in mean.values for mean in means)]
    over_all = means[0].dataset == ALL
    heads = [
        *([] if over_all else ["dataset"]),
        "method",
        *(COST if over_all and report.costs else ()),
        *names,
    ]
    heads += [TWO_SAMPLE] if report.two_sample else []
    rows = []
    for mean in means:
        for method in report.scores:
            cells = _cost_cells(report, method) if over_all and report.costs else []
            cells += [_number(mean.values.get(name, {}).get(method), _digits(name)) for name in names]
            if report.two_sample:
                cells.append(_accuracy(report, method, mean.dataset))
            rows.append([*([] if over_all else [mean.dataset]), method, *cells])
    return markdown_table(heads, rows, 1 if over_all else 2)


def _cost_cells(report: NoiseReport, method: str) -> list[str]:
    if method == FLOOR:
        return ["", ""]
    cost = report.costs[method]
    rate = cost.megapixels_per_second
    return [
        "–" if cost.parameters is None else f"{cost.parameters:,}",
        "–" if rate is None else f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}",
    ]


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
    return _condition_table(report.scores, [*rows, *_mean_rows(report, name, means)])


def _mean_rows(report: NoiseReport, name: str, means: Sequence[MeanScore]) -> list[Row]:
    rows: list[Row] = []
    for mean in means:
        values = mean.values.get(name, {})
        cells = [_number(values.get(method), _digits(name)) for method in report.scores]
        place = [mean.dataset, mean.camera] if mean.camera else [f"**{mean.dataset}**", ""]
        rows.append([*place, f"mean of {mean.conditions}", *cells])
    return rows


def _condition_table(names: Iterable[str], rows: Sequence[Row]) -> str:
    """Rows that begin with a place; where they are fewer than what is named, the table is laid on its side."""
    heads = [*PLACE, *names]
    if len(rows) >= len(heads) - len(PLACE):
        return markdown_table(heads, rows, len(PLACE))
    first, *lines = zip(heads, *rows, strict=True)
    return markdown_table(first, lines, 1)


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
    return _condition_table(["pictures", "real", *methods], rows)


def _two_sample_table(report: NoiseReport) -> str:
    rows = []
    for line in _lines(report):
        key = line[0].dataset, line[0].condition
        found = [report.two_sample.get(method) for method in report.scores]
        values = [score.by_condition.get(key) if score else None for score in found]
        rows.append([*_place(line[0]), *(_number(value, 3) for value in values)])
    rows.append(["**all**", "", "", *(_accuracy(report, method, ALL) for method in report.scores)])
    return _condition_table(report.scores, rows)


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


def _digits(name: str) -> int:
    return next(metric.digits for metric in METRICS if metric.name == name)


def _rms(values: Sequence[float] | None) -> float | None:
    return float(np.sqrt(np.mean(np.square(values)))) if values is not None else None


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
