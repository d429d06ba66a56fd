"""Means of denoising scores: over a benchmark, over all, over a camera and ISO."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from noisegen.conditions import Condition
from noisegen.evaluation.denoising_eval import CaseScore, DenoisingScores, Score
from noisegen.evaluation.denoising_metrics import SSIM_CONVENTIONS

__all__ = ["ALL", "MeanScore", "Repeated", "benchmark_means", "condition_means", "repeated_mean"]

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


@dataclass(frozen=True)
class Repeated:
    """Mean and standard deviation over repetitions of one method, for PSNR in dB and each SSIM.

    Attributes:
        count: number of repetitions; of one alone the deviations are NaN.
        mean, std: scores.
    """

    count: int
    mean: Score
    std: Score


def repeated_mean(mean: MeanScore, methods: Sequence[str]) -> Repeated:
    """Over the repetitions `methods` of a mean over cases; the deviation is that of a sample (divided by n - 1)."""
    scores = [mean.values[method] for method in methods]

    def over(reduce: Callable[[list[float]], float]) -> Score:
        return Score(
            reduce([score.psnr for score in scores]),
            {name: reduce([score.ssim[name] for score in scores]) for name in SSIM_CONVENTIONS},
        )

    def deviation(values: list[float]) -> float:
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

    return Repeated(len(scores), over(lambda values: float(np.mean(values))), over(deviation))


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
