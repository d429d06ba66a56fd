"""Means of noise scores over conditions, the same conditions for every method, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from noisegen.evaluation.noise_score import FLOOR, METRICS, Scores, metric_value

if TYPE_CHECKING:
    from noisegen.evaluation.two_sample import TwoSampleScore

__all__ = ["ALL", "MeanScore", "NoiseReport", "mean_scores", "problems_of", "two_sample_accuracy"]

ALL = "all"


@dataclass(frozen=True)
class NoiseReport:
    """All that is known of some methods on some pairs.

    Attributes:
        scores: by method, the floor (`noise_score.FLOOR`) last where it was measured.
        two_sample: by method, with the floor; empty where the test was not run.
        notes: what else is left out, and why.
    """

    scores: Scores
    two_sample: Mapping[str, TwoSampleScore]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MeanScore:
    """Mean over the conditions of a dataset, or of all, that every method covers, so that methods compare.

    Attributes:
        dataset: its name, or "all".
        conditions: how many are in the mean.
        of: how many there are.
        values: by metric and method. A metric is absent where no condition is covered by every method, or
            where it was not measured.
    """

    dataset: str
    conditions: int
    of: int
    values: Mapping[str, Mapping[str, float]]


def mean_scores(scores: Scores) -> list[MeanScore]:
    """The mean for each dataset, where there are several, and last for all conditions."""
    rows = {
        method: {(row.dataset, row.condition): row.score for row in rows} for method, rows in scores.items()
    }
    keys = list(next(iter(rows.values())))
    datasets = sorted({dataset for dataset, _ in keys})
    means = []
    for group in [*(datasets if len(datasets) > 1 else []), ALL]:
        members = [key for key in keys if group in (ALL, key[0])]
        shared = [key for key in members if all(table[key] is not None for table in rows.values())]
        values: dict[str, dict[str, float]] = {}
        for metric in METRICS:
            found = {
                method: [metric_value(table[key], metric.name) for key in shared]
                for method, table in rows.items()
            }
            known = [i for i in range(len(shared)) if all(column[i] is not None for column in found.values())]
            if known:
                values[metric.name] = {
                    method: float(np.mean([column[i] for i in known])) for method, column in found.items()
                }
        means.append(MeanScore(group, len(shared), len(members), values))
    return means


def two_sample_accuracy(score: TwoSampleScore | None, dataset: str) -> float | None:
    """Accuracy over the test patches, or, of one dataset, the mean over its conditions."""
    if score is None:
        return None
    if dataset == ALL:
        return score.accuracy
    found = [value for (name, _), value in score.by_condition.items() if name == dataset]
    return float(np.mean(found)) if found else None


def problems_of(report: NoiseReport) -> list[str]:
    """Every condition and picture left out, one line each, and the report's notes."""
    return [
        *(
            f"{method}, {row.condition.camera} ISO {row.condition.iso}: {problem}"
            for method, rows in report.scores.items()
            if method != FLOOR  # it has no problems that the methods do not have
            for row in rows
            for problem in row.problems
        ),
        *report.notes,
    ]
