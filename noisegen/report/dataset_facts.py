"""What a report says of a dataset as a whole, from what describes it: no tile is read, and no table of tiles."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisegen.errors import UsageError
from noisegen.synthesis.files import read_json
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.shards import Failure, Marker
from noisegen.synthesis.status import DatasetStatus, dataset_status
from noisegen.synthesis.survey import Totals

__all__ = ["DatasetFacts", "read_facts"]

# Records of finished shards that are read where the dataset is not complete, and for the rate.
SAMPLED_SHARDS = 512
# Failures of a reason that are shown, and lines that are looked through for them.
EXAMPLES, LOOKED_THROUGH = 5, 100_000


@dataclass
class DatasetFacts:
    """What a dataset holds.

    Attributes:
        run: contents of run.json.
        status: how far it is.
        described: whether the files that describe the whole are there, which are written last.
        table: as dataset.json has it; of an unfinished dataset, of the shards that were counted.
        counted: finished shards that ``table``, ``splits`` and ``size`` are of.
        splits: tiles by split; empty where it is not split.
        size: bytes of its shards.
        examples: the first failures of each reason.
        profile: contents of state/profile.json; empty without one.
        host: contents of state/host.json; empty without one.
    """

    run: Mapping[str, Any]
    status: DatasetStatus
    described: bool
    table: Mapping[str, Any]
    counted: int
    splits: Mapping[str, int]
    size: int
    examples: Mapping[str, list[Failure]] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether everything is there."""
        status = self.status
        all_done = self.described and status.shards_done == status.shards
        return all_done and not status.damaged and not status.retried

    @property
    def photographs(self) -> int:
        """That gave tiles, in the shards that were counted."""
        rows = min(self.run["rows"], self.counted * self.run["config"]["rows_per_shard"])
        return max(0, rows - sum(self.table["failures"].values()))


def read_facts(folder: DatasetFolder) -> DatasetFacts:
    """Reads what describes the dataset; it may be in the making.

    Raises:
        UsageError: the folder holds no dataset.
    """
    run = folder.read_run()
    status = dataset_status(folder.place, sampled=SAMPLED_SHARDS)
    folder.fetch(
        ("dataset.json", "shards.parquet", "failures.jsonl", "state/profile.json", "state/host.json")
    )
    described = _described(folder, run)
    table, splits, size, counted, failures = described or _counted(folder, run)
    return DatasetFacts(
        run,
        status,
        described is not None,
        table,
        counted,
        splits,
        size,
        _examples(failures, table["failures"]),
        _read_if_there(folder, "profile.json"),
        _read_if_there(folder, "host.json"),
    )


Described = tuple[Mapping[str, Any], Mapping[str, int], int, int, Iterable[Failure]]


def _described(folder: DatasetFolder, run: Mapping[str, Any]) -> Described | None:
    """From the files that are written at the end; None where they are not there, or damaged."""
    try:
        table = json.loads((folder.root / "dataset.json").read_bytes())
        shards = pq.read_table(folder.root / "shards.parquet")
    except (OSError, ValueError, pa.ArrowException):
        return None
    if not isinstance(table, dict) or not Totals().to_dict(1).keys() <= table.keys():
        return None
    names = sorted(run["config"]["split"] or ())
    splits = {name: int(np.sum(shards[f"tiles_{name}"].to_numpy())) for name in names}
    size = int(np.sum(shards["bytes"].to_numpy()))
    return table, splits, size, int(table["shards"]), _failure_lines(folder)


def _counted(folder: DatasetFolder, run: Mapping[str, Any]) -> Described:
    """From the records of finished shards, all or some, evenly spread."""
    totals = Totals()
    splits = dict.fromkeys(sorted(run["config"]["split"] or ()), 0)
    size = 0
    failures: list[Failure] = []
    for marker in _markers(folder):
        totals.add(marker)
        size += sum(record.size for record in marker.files.values())
        failures += marker.failures
        for total in marker.conditions:
            if total.split in splits:
                splits[total.split] += total.tiles
    table = totals.to_dict(int(run["config"]["tile_size"]))
    if folder.failures_file.is_file():  # of a build that gave up: they lie in a shard that was not finished
        listed = list(islice(_failure_lines(folder), LOOKED_THROUGH))
        if len(listed) > len(failures):
            failures = listed
            reasons = [failure.reason for failure in listed]
            table["failures"] = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    return table, splits, size, totals.shards, failures


def _markers(folder: DatasetFolder) -> Iterator[Marker]:
    shards = folder.shards()
    notes = folder.notes()
    found = np.flatnonzero(notes.done & ~notes.bad)
    if len(found) > SAMPLED_SHARDS:
        found = found[np.linspace(0, len(found) - 1, SAMPLED_SHARDS).astype(np.int64)]
    for index in found:
        with suppress(UsageError, OSError):  # a damaged one; the status says so
            if marker := folder.read_marker(shards[int(index)]):
                yield marker


def _failure_lines(folder: DatasetFolder) -> Iterator[Failure]:
    with suppress(OSError, ValueError, TypeError), folder.failures_file.open("rb") as file:
        for line in file:
            yield Failure(**json.loads(line))


def _examples(failures: Iterable[Failure], reasons: Mapping[str, int]) -> dict[str, list[Failure]]:
    """The first failures of each reason, the most frequent reason first."""
    found: dict[str, list[Failure]] = {
        reason: [] for reason, _ in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    }
    missing = {reason: min(EXAMPLES, count) for reason, count in reasons.items()}
    for failure in islice(failures, LOOKED_THROUGH):
        if missing.get(failure.reason, 0) > 0:
            found[failure.reason].append(failure)
            missing[failure.reason] -= 1
            if not any(missing.values()):
                break
    return found


def _read_if_there(folder: DatasetFolder, name: str) -> Mapping[str, Any]:
    """A file of ``state`` that may be missing; a damaged one tells nothing."""
    with suppress(UsageError, FileNotFoundError):
        return read_json(folder.state / name)
    return {}
