"""Failed rows of a build. They are kept in the markers of the shards; here they only pass through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from noisegen.synthesis.files import json_bytes, write_atomically
from noisegen.synthesis.layout import DatasetFolder, Failure

__all__ = ["FailureTally", "failures_agree", "recorded_failures", "write_failures"]


class FailureTally:
    """Counts failures, and holds those of the shard in the making: a million would not fit in memory unnoticed."""

    def __init__(self) -> None:
        self._recorded = 0
        self.unrecorded: list[Failure] = []

    def __len__(self) -> int:
        return self._recorded + len(self.unrecorded)

    def add(self, failure: Failure) -> None:
        """Notes a failure of the shard in the making."""
        self.unrecorded.append(failure)

    def record(self, count: int) -> None:
        """Counts failures that a finished shard's marker holds."""
        self._recorded += count

    def shard_finished(self) -> None:
        """The failures added so far are in the shard's marker now."""
        self.record(len(self.unrecorded))
        self.unrecorded.clear()


def recorded_failures(folder: DatasetFolder) -> Iterator[Failure]:
    """The failures of the finished shards, in the order of the manifest."""
    for shard in folder.shards():
        if marker := folder.read_marker(shard):
            yield from marker.failures


def write_failures(folder: DatasetFolder, unrecorded: Iterable[Failure] = ()) -> Path:
    """Writes failures.jsonl: one line for each failed row of the finished shards, then those that no marker has yet."""
    path = folder.root / "failures.jsonl"
    write_atomically(path, _lines(folder, unrecorded))
    return path


def failures_agree(folder: DatasetFolder) -> bool:
    """Whether failures.jsonl holds what the markers of the finished shards say."""
    try:
        with (folder.root / "failures.jsonl").open("rb") as file:
            same = all(file.readline() == line for line in _lines(folder))
            return same and not file.read(1)
    except OSError:
        return False


def _lines(folder: DatasetFolder, unrecorded: Iterable[Failure] = ()) -> Iterator[bytes]:
    for failures in (recorded_failures(folder), unrecorded):
        for failure in failures:
            yield json_bytes(asdict(failure))
