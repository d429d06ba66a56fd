"""The training's log, `log.csv`: one line (step, name, value) per loss or score."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Journal", "read_journal"]


class Journal(AbstractContextManager["Journal"]):
    """Appends to the log of a training that goes on at `start`.

    What an interrupted run logged of steps that are done again is dropped, and a line that it did not finish.

    Args:
        path: the file; None to write nothing.
        start: the first step that is done now.
    """

    def __init__(self, path: Path | None, start: int) -> None:
        self._file = None
        if path is None:
            return
        if path.exists():
            lines = path.read_text().splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and int(line.split(",")[0]) < start]
            path.write_text("".join(kept))
        self._file = path.open("a", newline="")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs values under the number of the step that gave them, counted from 0."""
        if self._file is not None:
            csv.writer(self._file).writerows((step, name, f"{value:.6g}") for name, value in values.items())

    def flush(self) -> None:
        """Makes the file hold what was written."""
        if self._file is not None:
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def read_journal(path: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of each name in the order of the log."""
    values: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with path.open(newline="") as file:
        for step, name, value in csv.reader(file):
            values[name].append((int(step), float(value)))
    return dict(values)
