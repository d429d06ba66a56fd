"""Means of noise scores over conditions, the same conditions for every method, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from noisegen.conditions import Condition
from noisegen.evaluation.noise_score import FLOOR, METRICS, Scores, metric_value

if TYPE_CHECKING:
    from noisegen.evaluation.method_cost import MethodCost
    from noisegen.evaluation.two_sample import TwoSampleScore

__all__ = [
    "ALL",
    "MeanScore",
    "NoiseReport",
    "camera_means",
    "mean_scores",
    "problems_of",
    "two_sample_accuracy",
]

ALL = "all"


@dataclass(frozen=True)
class NoiseReport:
    """All that is known of some methods on some pairs.

    Attributes:
        scores: by method, the floor (`noise_score.FLOOR`) last where it was measured.
        two_sample: by method, with the floor; empty where the test was not run.
        notes: what else is left out, and why.
        costs: by method, without the floor; empty where they were not measured.
        drawn_on: where the speeds among the costs were measured, `method_cost.drawing_place`.
    """

    scores: Scores
    two_sample: Mapping[str, TwoSampleScore]
    notes: tuple[str, ...] = ()
    costs: Mapping[str, MethodCost] = field(default_factory=dict)
    drawn_on: str = ""


@dataclass(frozen=True)
class MeanScore:
    """Mean over the conditions of a dataset, of a camera of it, or of all, that every method covers.

    Attributes:
        dataset: its name, or "all".
        camera: "" for all of the dataset's.
        conditions: how many are in the mean.
        of: how many there are.
        values: by metric and method. A metric is absent where no condition is covered by every method, or
            where it was not measured.
    """

    dataset: str
    camera: str
    conditions: int
    of: int
    values: Mapping[str, Mapping[str, float]]


Key = tuple[str, Condition]


def mean_scores(scores: Scores) -> list[MeanScore]:
    """The mean for each dataset, where there are several, and last for all conditions."""
    keys = _keys(scores)
    datasets = sorted({dataset for dataset, _ in keys})
    groups = {name: [key for key in keys if key[0] == name] for name in datasets if len(datasets) > 1}
    return [_mean(scores, name, "", members) for name, members in [*groups.items(), (ALL, keys)]]


def camera_means(scores: Scores) -> list[MeanScore]:
    """The mean for each camera of each dataset."""
    groups: dict[tuple[str, str], list[Key]] = {}
    for dataset, condition in _keys(scores):
        groups.setdefault((dataset, condition.camera), []).append((dataset, condition))
    return [_mean(scores, dataset, camera, members) for (dataset, camera), members in groups.items()]


def _keys(scores: Scores) -> list[Key]:
    return [(row.dataset, row.condition) for row in next(iter(scores.values()))]


def _mean(scores: Scores, dataset: str, camera: str, members: Sequence[Key]) -> MeanScore:
    tables = {
        method: {(row.dataset, row.condition): row.score for row in rows} for method, rows in scores.items()
    }
    shared = [key for key in members if all(table[key] is not None for table in tables.values())]
    values: dict[str, dict[str, float]] = {}
    for metric in METRICS:
        found = {
            method: [metric_value(table[key], metric.name) for key in shared]
            for method, table in tables.items()
        }
        known = [i for i in range(len(shared)) if all(column[i] is not None for column in found.values())]
        if known:
            values[metric.name] = {
                method: float(np.mean([column[i] for i in known])) for method, column in found.items()
            }
    return MeanScore(dataset, camera, len(shared), len(members), values)


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
