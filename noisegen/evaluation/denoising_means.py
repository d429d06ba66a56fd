"""Means of denoising scores: over a benchmark, over all, over a camera and ISO."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from noisegen.conditions import Condition
from noisegen.evaluation.denoising_eval import CaseScore, DenoisingScores, Score
from noisegen.evaluation.denoising_metrics import SSIM_CONVENTIONS

__all__ = ["ALL", "MeanScore", "benchmark_means", "condition_means"]

ALL = "all"


@dataclass(frozen=True)
class MeanScore:
    """Means over the same cases for every method.

    Attributes:
        group: the cases' group, or "all".
        condition: camera and ISO of the cases; None for a whole group, and for cases where it is not known.
        cases: how many.
        identical: those of them where a method gives exactly the clean picture. Their PSNR is infinite, so they are
            left out of the mean PSNR, for every method.
        values: by method.
    """

    group: str
    condition: Condition | None
    cases: int
    identical: int
    values: Mapping[str, Score]


def benchmark_means(scores: DenoisingScores) -> list[MeanScore]:
    """The mean over the cases of each group, in order, and over all where there are several groups."""
    groups = list(dict.fromkeys(scored.case.group for scored in scores.cases))
    means = [
        _mean(group, None, [scored for scored in scores.cases if scored.case.group == group])
        for group in groups
    ]
    return means if len(groups) < 2 else [*means, _mean(ALL, None, scores.cases)]


def condition_means(scores: DenoisingScores) -> list[MeanScore]:
    """The mean over the cases of each group, camera and ISO, sorted; cases whose condition is unknown last.

    Empty where no condition is known.
    """
    parts: dict[tuple[str, Condition | None], list[CaseScore]] = {}
    for scored in scores.cases:
        parts.setdefault((scored.case.group, scored.case.condition), []).append(scored)
    if not any(condition for _, condition in parts):
        return []

    def place(key: tuple[str, Condition | None]) -> tuple[str, bool, str, int]:
        group, condition = key
        return (
            group,
            condition is None,
            condition.camera if condition else "",
            condition.iso if condition else 0,
        )

    return [_mean(group, condition, parts[group, condition]) for group, condition in sorted(parts, key=place)]


def _mean(group: str, condition: Condition | None, cases: Sequence[CaseScore]) -> MeanScore:
    finite = [
        scored for scored in cases if all(math.isfinite(score.psnr) for score in scored.scores.values())
    ]
    values = {
        method: Score(
            float(np.mean([scored.scores[method].psnr for scored in finite])) if finite else math.nan,
            {
                name: float(np.mean([scored.scores[method].ssim[name] for scored in cases]))
                for name in SSIM_CONVENTIONS
            },
        )
        for method in cases[0].scores
    }
    return MeanScore(group, condition, len(cases), len(cases) - len(finite), values)
