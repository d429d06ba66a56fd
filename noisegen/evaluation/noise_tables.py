"""The files that a report of noise scores is made of: Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from noisegen.errors import UsageError
from noisegen.evaluation.noise_markdown import noise_details, noise_summary
from noisegen.evaluation.noise_means import (
    MeanScore,
    NoiseReport,
    camera_means,
    mean_scores,
    problems_of,
    two_sample_accuracy,
)
from noisegen.evaluation.noise_score import METRICS, ConditionScore, metric_value
from noisegen.spreadsheets import plain_cell

if TYPE_CHECKING:
    from noisegen.evaluation.two_sample import TwoSampleScore

__all__ = ["json_text", "noise_csv", "noise_json", "write_noise_tables"]

# Short vectors of `NoiseScore` and `NoiseDetail` that stand in the CSV, one column for each value.
VECTORS = ("std_real", "std_synthetic", "bias_real", "bias_synthetic", "acf_real", "acf_synthetic")
PAIRED_VECTORS = ("drift", "channels")


def noise_csv(report: NoiseReport) -> str:
    """One line for each method and condition, then one for each method and mean (without ISO) with what it costs.

    Metrics and short vectors have columns of their own; curves, maps and histograms are only in the JSON.
    """
    records = []
    for method, rows in report.scores.items():
        test = report.two_sample.get(method)
        records += [_csv_record(method, row, test) for row in rows]
    means = [*camera_means(report.scores), *mean_scores(report.scores)]
    records += [_csv_mean(report, mean, method) for mean in means for method in report.scores]
    widest = max((list(record) for record in records), key=len)
    columns = [*widest, *dict.fromkeys(name for record in records for name in record if name not in widest)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: plain_cell(value) for name, value in record.items()} for record in records)
    return text.getvalue()


def noise_json(report: NoiseReport) -> dict[str, object]:
    """Scores, means, costs, the two-sample test (without its pictures) and problems as plain values."""
    return {
        "costs": {method: asdict(cost) for method, cost in report.costs.items()},
        "drawn_on": report.drawn_on,
        "scores": {method: [asdict(row) for row in rows] for method, rows in report.scores.items()},
        "means": [_json_mean(mean) for mean in mean_scores(report.scores)],
        "camera_means": [{"camera": mean.camera} | _json_mean(mean) for mean in camera_means(report.scores)],
        "two_sample": {
            method: {
                "accuracy": score.accuracy,
                "standard_error": score.standard_error,
                "patches": score.patches,
                "by_condition": [
                    {"dataset": dataset, "condition": asdict(condition), "accuracy": value}
                    for (dataset, condition), value in score.by_condition.items()
                ],
            }
            for method, score in report.two_sample.items()
        },
        "problems": problems_of(report),
    }


def json_text(record: Mapping[str, object]) -> str:
    """Indented JSON with each list of numbers on one line."""
    text = json.dumps(record, indent=1, allow_nan=False)
    return re.sub(r"\[[\s\d.,eE+\-nul]+\]", lambda match: " ".join(match[0].split()), text) + "\n"


def write_noise_tables(
    folder: Path, report: NoiseReport, record: Mapping[str, object], pictures: Sequence[str] = ()
) -> None:
    """Writes ``noise.md``, ``noise.csv`` and, from ``record``, ``noise.json`` into the folder.

    Args:
        folder: made where absent.
        report: the scores.
        record: the JSON's content.
        pictures: files in the folder that the Markdown shows.

    Raises:
        UsageError: the folder cannot be written.
    """
    shown = "".join(f"\n![{Path(name).stem}]({name})\n" for name in pictures)
    markdown = f"# Noise scores\n\n{noise_summary(report)}"
    if any(row.score and row.score.detail for rows in report.scores.values() for row in rows):
        markdown += noise_details(report)
    if pictures:
        markdown += f"\n## Pictures\n{shown}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "noise.md").write_text(markdown, encoding="utf-8")
        (folder / "noise.csv").write_text(noise_csv(report), encoding="utf-8")
        (folder / "noise.json").write_text(json_text(record), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: the tables cannot be written: {error.strerror}") from error


def _csv_record(method: str, row: ConditionScore, test: TwoSampleScore | None) -> dict[str, object]:
    record: dict[str, object] = {"method": method, "dataset": row.dataset, **asdict(row.condition)}
    record |= {"iso_rule": row.rule, "pictures": row.pictures}
    if row.score:
        record |= {metric.name: metric_value(row.score, metric.name) for metric in METRICS}
        for name in VECTORS:
            record |= {f"{name}_{index}": value for index, value in enumerate(getattr(row.score, name))}
        for name in PAIRED_VECTORS if row.score.detail else ():
            for side, values in zip(("real", "synthetic"), getattr(row.score.detail, name), strict=True):
                values = values if isinstance(values, tuple) else (values,)
                record |= {f"{name}_{side}_{index}": value for index, value in enumerate(values)}
    key = row.dataset, row.condition
    record["two_sample_accuracy"] = test.by_condition.get(key) if test else None
    record["problems"] = "; ".join(row.problems)
    return record


def _csv_mean(report: NoiseReport, mean: MeanScore, method: str) -> dict[str, object]:
    record: dict[str, object] = {"method": method, "dataset": mean.dataset, "camera": mean.camera}
    record["conditions"] = f"{mean.conditions} of {mean.of}"
    record |= {name: values[method] for name, values in mean.values.items()}
    if not mean.camera:
        record["two_sample_accuracy"] = two_sample_accuracy(report.two_sample.get(method), mean.dataset)
    cost = report.costs.get(method)
    return record | (asdict(cost) if cost else {})


def _json_mean(mean: MeanScore) -> dict[str, object]:
    return {"dataset": mean.dataset, "conditions": mean.conditions, "of": mean.of} | dict(mean.values)
