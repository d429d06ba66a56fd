"""Failed rows of a build. They are kept in the markers of the shards; here they only pass through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from noisegen.synthesis.files import json_bytes, write_atomically
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.shards import Failure, Shard

__all__ = ["FailureTally", "write_failures"]


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


def write_failures(folder: DatasetFolder, shards: Iterable[Shard], unrecorded: Iterable[Failure]) -> Path:
    """Lists the failed rows of these shards, as far as they are finished, then those that no marker has yet."""
    path = folder.failures_file
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, _lines(folder, shards, unrecorded))
    return path


def _lines(folder: DatasetFolder, shards: Iterable[Shard], unrecorded: Iterable[Failure]) -> Iterator[bytes]:
    for marker in folder.markers(shards):
        yield from (json_bytes(asdict(failure)) for failure in marker.failures)
    yield from (json_bytes(asdict(failure)) for failure in unrecorded)
