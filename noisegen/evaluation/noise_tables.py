"""Noise scores of several methods side by side: means, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from noisegen.conditions import Condition
from noisegen.errors import UsageError
from noisegen.evaluation.noise_eval import ConditionScore, NoiseScore

__all__ = [
    "MeanScore",
    "mean_scores",
    "noise_csv",
    "noise_json",
    "noise_markdown",
    "problems_of",
    "write_noise_tables",
]

Scores = Mapping[str, Sequence[ConditionScore]]  # by method; all of the same pairs
ALL = "all"


@dataclass(frozen=True)
class MeanScore:
    """Mean over the conditions of a dataset, or of all, that every method covers, so that methods compare.

    Attributes:
        dataset: its name, or "all".
        conditions: how many are in the mean.
        of: how many there are.
        kld_nm, acf_error: by method; empty where no condition is covered by every method.
    """

    dataset: str
    conditions: int
    of: int
    kld_nm: Mapping[str, float]
    acf_error: Mapping[str, float]


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
        kld, acf = (
            ({}, {}) if not shared else (_means(rows, shared, name) for name in ("kld_nm", "acf_error"))
        )
        means.append(MeanScore(group, len(shared), len(members), kld, acf))
    return means


def problems_of(scores: Scores) -> list[str]:
    """Every condition and picture left out, one line each."""
    return [
        f"{method}, {row.condition.camera} ISO {row.condition.iso}: {problem}"
        for method, rows in scores.items()
        for row in rows
        for problem in row.problems
    ]


def noise_markdown(scores: Scores) -> str:
    """A table with a row for each condition and mean, then what was left out."""
    methods = list(scores)
    heads = ["dataset", "camera", "ISO", "pictures"]
    for quantity in ("kld_nm", "acf_error"):
        heads += [f"{quantity} {method}" for method in methods]
    heads += ["std real", *(f"std {method}" for method in methods)]
    lines = [heads, ["---"] * 4 + ["---:"] * (len(heads) - 4)]
    for rows in zip(*scores.values(), strict=True):
        first, found = rows[0], [row.score for row in rows]
        real = next((score.std_real for score in found if score), None)
        lines.append(
            [
                first.dataset,
                first.condition.camera,
                str(first.condition.iso),
                str(max(r.pictures for r in rows)),
            ]
            + [_number(score.kld_nm if score else None, 4) for score in found]
            + [_number(score.acf_error if score else None, 4) for score in found]
            + [_number(_rms(real), 2)]
            + [_number(_rms(score.std_synthetic if score else None), 2) for score in found]
        )
    for mean in mean_scores(scores):
        cells = [_number(values.get(m), 4) for values in (mean.kld_nm, mean.acf_error) for m in methods]
        title = [f"**{mean.dataset}**", "mean over", f"{mean.conditions} of {mean.of} conditions", ""]
        lines.append(title + cells + [""] * (1 + len(methods)))
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    problems = problems_of(scores)
    if problems:
        text += "\n\nLeft out:\n" + "\n".join(f"- {problem}" for problem in problems)
    return text + "\n"


def noise_csv(scores: Scores) -> str:
    """One line for each method and condition, channels and lags in columns of their own."""
    records = []
    for method, rows in scores.items():
        for row in rows:
            record: dict[str, object] = {"method": method, "dataset": row.dataset, **asdict(row.condition)}
            record |= {"iso_rule": row.rule, "pictures": row.pictures}
            for name, value in (asdict(row.score) if row.score else {}).items():
                if isinstance(value, tuple):
                    record |= {f"{name}_{index}": part for index, part in enumerate(value)}
                else:
                    record[name] = value
            record["problems"] = "; ".join(row.problems)
            records.append(record)
    columns = max((list(record) for record in records), key=len)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def noise_json(scores: Scores) -> dict[str, object]:
    """Scores, means and problems as plain values."""
    return {
        "scores": {method: [asdict(row) for row in rows] for method, rows in scores.items()},
        "means": [asdict(mean) for mean in mean_scores(scores)],
        "problems": problems_of(scores),
    }


def write_noise_tables(folder: Path, scores: Scores, record: Mapping[str, object]) -> None:
    """Writes ``noise.md``, ``noise.csv`` and, from ``record``, ``noise.json`` into the folder.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "noise.md").write_text(noise_markdown(scores))
        (folder / "noise.csv").write_text(noise_csv(scores))
        (folder / "noise.json").write_text(json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"{folder}: the tables cannot be written: {error.strerror}") from error


def _means(
    rows: Mapping[str, Mapping[tuple[str, Condition], NoiseScore | None]],
    keys: Sequence[tuple[str, Condition]],
    name: str,
) -> dict[str, float]:
    return {
        method: float(np.mean([getattr(table[key], name) for key in keys])) for method, table in rows.items()
    }


def _rms(values: Sequence[float] | None) -> float | None:
    return float(np.sqrt(np.mean(np.square(values)))) if values is not None else None


def _number(value: float | None, digits: int) -> str:
    return "not covered" if value is None else f"{value:.{digits}f}"
