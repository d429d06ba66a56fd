"""Checked pairs as text, CSV and JSON."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from noisegen.datasets.pair_checks import PairCheck
from noisegen.spreadsheets import plain_cell

__all__ = ["checks_json", "checks_text", "write_checks"]

MEASURES = ("shift_y", "shift_x", "shift_error", "drift", "drift_error", "saturated")


def checks_text(checks: Sequence[PairCheck]) -> str:
    """A table with a line for each pair, what is wrong with the bad ones, and a summary by reason."""
    lines = [("pair", "camera", "ISO", "shift y", "shift x", "drift", "saturated", "reasons")]
    for check in checks:
        fields, measures = check.row.fields, check.measures
        numbers = (
            (
                _number(measures.shift_y, "+.2f"),
                _number(measures.shift_x, "+.2f"),
                _number(measures.drift, ".2f"),
                _number(measures.saturated, ".1%"),
            )
            if measures
            else ("-",) * 4
        )
        reasons = ", ".join(_reasons(check)) or "good"
        lines.append((check.row.name, fields["camera"], fields["iso"], *numbers, reasons))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    table = [
        "  ".join(
            text.rjust(width) if 2 <= column <= 6 else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    details = [
        f"row {check.row.number}, {check.row.name}: {problem.reason}: {problem.message}"
        for check in checks
        for problem in check.problems
    ]
    bad = sum(bool(check.problems) for check in checks)
    summary = [f"{len(checks)} pairs, {len(checks) - bad} good, {bad} bad"]
    summary += [f"  {reason}: {count}" for reason, count in _counts(checks).most_common()]
    return "\n".join([*table, "", *details, *([""] if details else []), *summary])


def checks_json(checks: Sequence[PairCheck]) -> str:
    """All pairs with measures and problems, and counts by reason; what cannot be told is null."""
    pairs = [
        {
            "row": check.row.number,
            "pair": check.row.name,
            **{key: check.row.fields[key] for key in ("noisy_path", "clean_path", "camera", "iso")},
            **_measures(check),
            "problems": [
                {key: _plain(value) for key, value in asdict(problem).items()} for problem in check.problems
            ],
        }
        for check in checks
    ]
    bad = sum(bool(check.problems) for check in checks)
    summary = {"pairs": len(checks), "bad": bad, "reasons": dict(_counts(checks))}
    return json.dumps({"pairs": pairs, "summary": summary}, indent=1, allow_nan=False)


def write_checks(output: Path, checks: Sequence[PairCheck]) -> None:
    """Writes a CSV table with a row for each pair; what cannot be told is empty."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        keys = ("noisy_path", "clean_path", "camera", "iso")
        writer.writerow(["row", "pair", *keys, *MEASURES, "reasons", "messages"])
        for check in checks:
            messages = "; ".join(problem.message for problem in check.problems)
            writer.writerow(
                [check.row.number, plain_cell(check.row.name)]
                + [plain_cell(check.row.fields[key]) for key in keys]
                + ["" if value is None else f"{value:.4f}" for value in _measures(check).values()]
                + [" ".join(_reasons(check)), plain_cell(messages)]
            )


def _reasons(check: PairCheck) -> list[str]:
    return list(dict.fromkeys(problem.reason for problem in check.problems))


def _counts(checks: Sequence[PairCheck]) -> Counter[str]:
    return Counter(reason for check in checks for reason in _reasons(check))


def _measures(check: PairCheck) -> dict[str, object]:
    values = asdict(check.measures) if check.measures else dict.fromkeys(MEASURES)
    return {key: _plain(values[key]) for key in MEASURES}


def _plain(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
