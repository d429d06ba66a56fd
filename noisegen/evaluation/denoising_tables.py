"""The files of a report of denoising scores: Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from noisegen.errors import UsageError
from noisegen.evaluation.denoising_eval import NOISY, DenoisingScores, Score
from noisegen.evaluation.denoising_means import (
    MeanScore,
    benchmark_means,
    condition_means,
    repeated_mean,
)
from noisegen.evaluation.denoising_metrics import SSIM_CONVENTIONS
from noisegen.evaluation.noise_markdown import markdown_table
from noisegen.evaluation.noise_tables import json_text
from noisegen.evaluation.sidd_submission import Submission
from noisegen.spreadsheets import plain_cell

__all__ = ["denoising_csv", "denoising_json", "denoising_summary", "write_denoising_tables"]

UNKNOWN = "–"
PUBLISHED = "matlab3d"  # the convention of the published SIDD tables


def denoising_summary(scores: DenoisingScores, submission: Submission | None = None) -> str:
    """Markdown: means by benchmark and method, then by camera and ISO, then what was handed in and left out."""
    parts = []
    if scores.cases:
        means = benchmark_means(scores)
        parts += [
            "Means over pictures or blocks. PSNR in dB, gain over the noisy input; SSIM by its convention.\n",
            *_repeated_table(means, scores.repetitions),
            _mean_table(means),
            *_identical_note(means),
        ]
        by_condition = condition_means(scores)
        if by_condition:
            parts += [
                "\n## PSNR by camera and ISO, dB\n",
                _condition_table(by_condition, scores.methods, lambda score: _number(score.psnr, 2)),
                f"\n## SSIM {PUBLISHED} by camera and ISO\n",
                _condition_table(
                    by_condition, scores.methods, lambda score: _number(score.ssim[PUBLISHED], 4)
                ),
            ]
    if submission is not None:
        head = "\n## Submission\n" if parts else "## Submission\n"
        pace = f"{submission.seconds_per_megapixel:.3g} seconds per megapixel"
        parts += [head, f"{' and '.join(submission.files)}, {pace}. Without clean blocks nothing is scored."]
    if scores.problems:
        head = "\n## Left out\n" if parts else "## Left out\n"
        parts += [head, "\n".join(f"- {problem}" for problem in scores.problems)]
    return "\n".join(parts) + "\n"


def denoising_csv(scores: DenoisingScores) -> str:
    """One line for each case and method; ``psnr`` is ``inf`` for a picture identical to the clean one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    similarities = [f"ssim_{name}" for name in SSIM_CONVENTIONS]
    writer.writerow(["benchmark", "name", "camera", "iso", "method", "psnr", *similarities])
    for scored in scores.cases:
        case = scored.case
        condition = [case.condition.camera, case.condition.iso] if case.condition else ["", ""]
        for method, score in scored.scores.items():
            values = [score.psnr, *(score.ssim[name] for name in SSIM_CONVENTIONS)]
            writer.writerow(map(plain_cell, [case.group, case.name, *condition, method, *values]))
    return text.getvalue()


def denoising_json(scores: DenoisingScores, submission: Submission | None = None) -> dict[str, object]:
    """Means, the submission and problems as plain values; the cases are in the CSV."""
    return {
        "methods": list(scores.methods),
        "repetitions": {
            name: [
                {
                    "benchmark": mean.group,
                    "count": over.count,
                    "mean": _plain(over.mean),
                    "std": _plain(over.std),
                }
                for mean in benchmark_means(scores)
                for over in (repeated_mean(mean, methods),)
            ]
            for name, methods in scores.repetitions.items()
        },
        "means": [_record(mean) for mean in benchmark_means(scores)],
        "by_condition": [
            {"condition": asdict(mean.condition) if mean.condition else None} | _record(mean)
            for mean in condition_means(scores)
        ],
        "submission": asdict(submission) if submission else None,
        "problems": list(scores.problems),
    }


def write_denoising_tables(
    folder: Path,
    scores: DenoisingScores,
    submission: Submission | None,
    record: Mapping[str, object],
    picture: str | None,
) -> None:
    """Writes ``denoising.md``, ``denoising.csv`` and, from ``record``, ``denoising.json``.

    Args:
        folder: is there.
        scores, submission: for the Markdown and the CSV.
        record: the JSON's content.
        picture: file in the folder that the Markdown shows.

    Raises:
        UsageError: the folder cannot be written.
    """
    markdown = f"# Denoising scores\n\n{denoising_summary(scores, submission)}"
    if picture is not None:
        markdown += f"\n## Pictures\n\n![{Path(picture).stem}]({picture})\n"
    try:
        (folder / "denoising.md").write_text(markdown, encoding="utf-8")
        (folder / "denoising.csv").write_text(denoising_csv(scores), encoding="utf-8")
        (folder / "denoising.json").write_text(json_text(record), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: the tables cannot be written: {error.strerror}") from error


def _mean_table(means: Sequence[MeanScore]) -> str:
    heads = [
        "benchmark",
        "method",
        "pictures",
        "PSNR",
        "gain",
        *(f"SSIM {name}" for name in SSIM_CONVENTIONS),
    ]
    rows = []
    for mean in means:
        for method, score in mean.values.items():
            gain = "" if method == NOISY else _number(score.psnr - mean.values[NOISY].psnr, 2, "+")
            similarities = [_number(score.ssim[name], 4) for name in SSIM_CONVENTIONS]
            rows.append([mean.group, method, str(mean.cases), _number(score.psnr, 2), gain, *similarities])
    return markdown_table(heads, rows, 2)


def _repeated_table(means: Sequence[MeanScore], repetitions: Mapping[str, tuple[str, ...]]) -> list[str]:
    if not repetitions:
        return []
    rows = []
    for mean in means:
        noisy = mean.values[NOISY]
        rows.append([mean.group, NOISY, "", _number(noisy.psnr, 2), "", _number(noisy.ssim[PUBLISHED], 4)])
        for name, methods in repetitions.items():
            over = repeated_mean(mean, methods)
            psnr, ssim = (
                f"{_number(value, digits)} ± {_number(std, digits)}"
                if over.count > 1
                else _number(value, digits)
                for value, std, digits in (
                    (over.mean.psnr, over.std.psnr, 2),
                    (over.mean.ssim[PUBLISHED], over.std.ssim[PUBLISHED], 4),
                )
            )
            gain = _number(over.mean.psnr - noisy.psnr, 2, "+")
            rows.append([mean.group, name, str(over.count), psnr, gain, ssim])
    heads = ["benchmark", "method", "repetitions", "PSNR", "gain", f"SSIM {PUBLISHED}"]
    return [markdown_table(heads, rows, 2), "\n± is the standard deviation over repetitions, which are:\n"]


def _condition_table(means: Sequence[MeanScore], methods: Sequence[str], cell: Callable[[Score], str]) -> str:
    rows = []
    for mean in means:
        condition = mean.condition
        place = [condition.camera, str(condition.iso)] if condition else [UNKNOWN, UNKNOWN]
        rows.append([mean.group, *place, str(mean.cases), *(cell(mean.values[method]) for method in methods)])
    return markdown_table(["benchmark", "camera", "ISO", "pictures", *methods], rows, 3)


def _identical_note(means: Sequence[MeanScore]) -> list[str]:
    left_out = [f"{mean.identical} of {mean.cases} in {mean.group}" for mean in means if mean.identical]
    if not left_out:
        return []
    return [
        "\nA method gives exactly the clean picture, PSNR infinite, so that these are left out of every method's "
        f"mean PSNR: {'; '.join(left_out)}."
    ]


def _record(mean: MeanScore) -> dict[str, object]:
    return {
        "benchmark": mean.group,
        "pictures": mean.cases,
        "identical": mean.identical,
        "scores": {method: _plain(score) for method, score in mean.values.items()},
    }


def _plain(score: Score) -> dict[str, object]:
    """With null where there is no number."""
    ssim = {name: value if math.isfinite(value) else None for name, value in score.ssim.items()}
    return {"psnr": score.psnr if math.isfinite(score.psnr) else None, "ssim": ssim}


def _number(value: float, digits: int, sign: str = "") -> str:
    return f"{value:{sign}.{digits}f}" if math.isfinite(value) else UNKNOWN
