"""How far a dataset is, read from its state files without disturbing who writes it."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from noisegen.errors import UsageError
from noisegen.synthesis.files import read_json
from noisegen.synthesis.formats import assembly_of
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.locks import is_locked
from noisegen.synthesis.shards import Marker, Shard
from noisegen.synthesis.stages import Timing, bottleneck, shares
from noisegen.synthesis.staging import opened_dataset

__all__ = ["DatasetStatus", "dataset_status", "duration_text", "reasons_text"]


# Markers that are read; of more finished shards, so many, evenly spread. They are small files, and may be a million.
SAMPLED_SHARDS, LAST_SHARDS = 2048, 256
# a process that has finished no shard for longer than that, or three shards, is not counted
RECENT_SECONDS = 120.0
LISTED = 20
# of shards, in names of temporary files
_NAMES = re.compile(r"(?<!\d)\d{6,7}(?!\d)")


@dataclass(frozen=True)
class DatasetStatus:
    """The state of a dataset.

    Attributes:
        running: whether a build holds the dataset now; None at a URL, where that cannot be seen.
        newest: seconds since a shard was finished, by the clock of whoever did; None where none has been timed.
        writing: names of the shards that are being written.
        shards, shards_done: in all, and finished.
        sampled: number of finished shards whose records were read; if fewer than ``shards_done``, then ``rows_done``,
            ``tiles``, ``failures`` and ``damaged`` are projected or of these shards only.
        damaged: names of finished shards that the next build will redo (files missing, or marked by `verify`), and
            "lmdb" where all shards are done but not the databases made of them.
        retried: names of finished shards that `retry-failed` has still to redo.
        rows, rows_done: photographs of the manifest in all, and in finished shards.
        tiles: in finished shards.
        failures: rows of finished shards that gave no tiles, by reason.
        megapixels_per_second: mean over the finished shards, of one process; None where none has been timed.
        processes: that finished a shard in the last minutes, or the last ones that did.
        seconds_left: estimate at that rate by so many processes; None where it is unknown, 0 when all is done.
        stages: share of the threads' time spent on read, synthesize, encode, write and idle (threads that had no tile
            to make); empty where no tile has been timed.
        bottleneck: the stage that the others wait for; None where no tile has been timed.
    """

    running: bool | None
    newest: float | None
    writing: tuple[str, ...]
    shards: int
    shards_done: int
    sampled: int
    damaged: tuple[str, ...]
    retried: tuple[str, ...]
    rows: int
    rows_done: int
    tiles: int
    failures: dict[str, int]
    megapixels_per_second: float | None
    processes: int
    seconds_left: float | None
    stages: dict[str, float]
    bottleneck: str | None

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)

    def text(self) -> str:
        """A few lines for people."""
        doing = f", writing shard {', '.join(self.writing)}" if self.writing else ""
        about = "about " if self.sampled < self.shards_done else ""
        state = {True: f"running{doing}", False: "not running", None: "cannot be seen at a URL"}[self.running]
        newest = "" if self.newest is None else f", the newest {duration_text(max(0.0, self.newest))} ago"
        lines = [
            f"build     {state}",
            f"shards    {self.shards_done} of {self.shards} done{newest}",
            f"photos    {about}{self.rows_done} of {self.rows} done",
            f"tiles     {about}{self.tiles}",
            f"failures  {about}{reasons_text(self.failures)}",
        ]
        if self.damaged:
            lines.append(f"damaged   {_listed(self.damaged)} (the same command makes them anew)")
        if self.retried:
            lines.append(f"retried   {_listed(self.retried)} not redone yet; retry-failed continues")
        if self.megapixels_per_second is not None:
            of_each = f" by each of {self.processes} processes" if self.processes > 1 else ""
            lines.append(f"rate      {self.megapixels_per_second:.2f} MP/s{of_each}")
        if self.stages:
            spent = ", ".join(f"{name} {share:.0%}" for name, share in self.stages.items())
            lines.append(f"time      {spent}; limited by: {self.bottleneck}")
        if self.seconds_left:
            lines.append(f"left      about {duration_text(self.seconds_left)} at this rate")
        return "\n".join(lines)


def dataset_status(output: str | Path, *, sampled: int = SAMPLED_SHARDS) -> DatasetStatus:
    """Reads the state of a dataset in a folder or at a URL, which may be in the making.

    Args:
        output: the folder or URL.
        sampled: of more finished shards the records of so many are read; more than `LAST_SHARDS`.

    Raises:
        UsageError: there is no dataset.
        RemoteError: the URL cannot be read.
    """
    with opened_dataset(output) as folder:
        return _status(folder, sampled)


def _status(folder: DatasetFolder, sampled: int) -> DatasetStatus:
    run = folder.read_run()
    shards = folder.shards()
    running = is_locked(folder) if folder.place == str(folder.root) else None
    notes = folder.notes()
    finished = notes.done & ~notes.bad
    read = list(folder.finished_ones(_sample(shards, finished, sampled)))
    done = [marker for _, marker in read if marker]
    share = len(done) / max(1, len(read))
    shards_done = round(share * int(finished.sum()))
    damaged = [shards[int(i)].name for i in np.flatnonzero(notes.done & notes.bad)]
    damaged = sorted([*damaged, *(shard.name for shard, marker in read if marker is None)])
    assembly = assembly_of(run["config"]["format"])
    if assembly is not None and shards_done == len(shards) and not assembly.is_assembled(folder, shards):
        damaged.append(run["config"]["format"])
    each = shards_done / max(1, len(done))
    tiles = round(each * sum(marker.tiles for marker in done))
    failures = Counter(failure.reason for marker in done for failure in marker.failures)
    timings = _timings(folder, done)
    seconds = sum(timing.seconds for timing in timings)
    timed_tiles = sum(timing.tiles for timing in timings)
    rate = timed_tiles * run["config"]["tile_size"] ** 2 / 1e6 / seconds if timed_tiles else None
    rows = sum(shard.stop - shard.start for shard in shards)
    rows_done = min(rows, round(each * sum(marker.shard.stop - marker.shard.start for marker in done)))
    processes = _processes(timings)
    left: float | None = None
    if shards_done == len(shards):
        left = 0.0
    elif rows_done and timed_tiles:
        left = (rows - rows_done) * (tiles / rows_done) * seconds / timed_tiles / processes
    return DatasetStatus(
        running=running,
        newest=round(time.time() - max(timing.finished for timing in timings), 1) if timings else None,
        writing=_being_written(folder, len(shards)) if running else (),
        shards=len(shards),
        shards_done=shards_done,
        sampled=len(read),
        damaged=tuple(damaged),
        retried=tuple(shards[int(i)].name for i in np.flatnonzero(notes.retry)),
        rows=rows,
        rows_done=rows_done,
        tiles=tiles,
        failures={reason: round(each * count) for reason, count in sorted(failures.items())},
        megapixels_per_second=None if rate is None else round(rate, 3),
        processes=processes,
        seconds_left=None if left is None else round(left, 3),
        stages=shares(timings) if timed_tiles else {},
        bottleneck=bottleneck(timings) if timed_tiles else None,
    )


def _sample(shards: Sequence[Shard], finished: np.ndarray, count: int) -> list[Shard]:
    """All finished shards if they are not many; else some, evenly spread, and the last, which tell who is at work."""
    found = np.flatnonzero(finished)
    if len(found) > count:
        even = np.linspace(0, len(found) - 1, count - LAST_SHARDS).astype(np.int64)
        found = np.union1d(found[even], found[-LAST_SHARDS:])
    return [shards[int(i)] for i in found]


def _processes(timings: Sequence[Timing]) -> int:
    """How many finished a shard of late; 1 where nothing is known."""
    newest = max((timing.finished for timing in timings), default=0.0)
    recent = max(RECENT_SECONDS, 3 * max((timing.seconds for timing in timings), default=0.0))
    return max(1, len({timing.process for timing in timings if timing.finished >= newest - recent}))


def reasons_text(failures: dict[str, int]) -> str:
    """The number of failures, and how many of each reason."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in failures.items())
    return f"{sum(failures.values())}" + (f" ({reasons})" if reasons else "")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def duration_text(seconds: float) -> str:
    """A length of time in the two units that matter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _being_written(folder: DatasetFolder, shards: int) -> tuple[str, ...]:
    found: set[int] = set()
    with suppress(OSError):
        for place in (folder.temporary, *(path for path in folder.temporary.iterdir() if path.is_dir())):
            found |= {int(number) for path in place.iterdir() for number in _NAMES.findall(path.name)}
    return tuple(f"{number:06d}" for number in sorted(found) if number < shards)


def _timings(folder: DatasetFolder, done: Sequence[Marker]) -> list[Timing]:
    timings = []
    folder.fetch(folder.timing_file(marker.shard).relative_to(folder.root).as_posix() for marker in done)
    for marker in done:
        # a shard may be redone, or its record be missing after a crash, while this reads
        with suppress(OSError, UsageError, TypeError):
            timings.append(Timing(**read_json(folder.timing_file(marker.shard))))
    return timings
