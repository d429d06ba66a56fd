"""How far a dataset is, read from its state files without disturbing who writes it."""

from __future__ import annotations

import fcntl
import re
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from noisegen.errors import UsageError
from noisegen.synthesis.files import read_json
from noisegen.synthesis.formats import assembly_of
from noisegen.synthesis.layout import DatasetFolder, Marker, Shard
from noisegen.synthesis.stages import Timing, bottleneck, shares
from noisegen.synthesis.staging import opened_dataset

__all__ = ["DatasetStatus", "dataset_status", "duration_text", "reasons_text"]


@dataclass(frozen=True)
class DatasetStatus:
    """The state of a dataset.

    Attributes:
        running: whether a build holds the dataset now.
        writing: names of the shards that it is writing.
        shards, shards_done: in all, and finished.
        damaged: names of finished shards that the next build will redo (files missing, or marked by `verify`), and
            "lmdb" where all shards are done but not the databases made of them.
        retried: names of finished shards that `retry-failed` has still to redo.
        rows, rows_done: photographs of the manifest in all, and in finished shards.
        tiles: in finished shards.
        failures: rows of finished shards that gave no tiles, by reason.
        megapixels_per_second: mean over the finished shards; None where none has been timed.
        seconds_left: estimate at that rate; None where it is unknown, 0 when all is done.
        stages: share of the threads' time spent on read, synthesize, encode, write and idle (threads that had no tile
            to make); empty where no tile has been timed.
        bottleneck: the stage that the others wait for; None where no tile has been timed.
    """

    running: bool
    writing: tuple[str, ...]
    shards: int
    shards_done: int
    damaged: tuple[str, ...]
    retried: tuple[str, ...]
    rows: int
    rows_done: int
    tiles: int
    failures: dict[str, int]
    megapixels_per_second: float | None
    seconds_left: float | None
    stages: dict[str, float]
    bottleneck: str | None

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)

    def text(self) -> str:
        """A few lines for people."""
        doing = f", writing shard {', '.join(self.writing)}" if self.writing else ""
        lines = [
            f"build     {'running' + doing if self.running else 'not running'}",
            f"shards    {self.shards_done} of {self.shards} done",
            f"photos    {self.rows_done} of {self.rows} done",
            f"tiles     {self.tiles}",
            f"failures  {reasons_text(self.failures)}",
        ]
        if self.damaged:
            lines.append(f"damaged   {', '.join(self.damaged)} (the same command makes them anew)")
        if self.retried:
            lines.append(f"retried   {', '.join(self.retried)} not redone yet; retry-failed continues")
        if self.megapixels_per_second is not None:
            lines.append(f"rate      {self.megapixels_per_second:.2f} MP/s")
        if self.stages:
            spent = ", ".join(f"{name} {share:.0%}" for name, share in self.stages.items())
            lines.append(f"time      {spent}; limited by: {self.bottleneck}")
        if self.seconds_left:
            lines.append(f"left      about {duration_text(self.seconds_left)} at this rate")
        return "\n".join(lines)


def dataset_status(output: str | Path) -> DatasetStatus:
    """Reads the state of a dataset in a folder or at a URL, which may be in the making.

    Raises:
        UsageError: there is no dataset.
        RemoteError: the URL cannot be read.
    """
    with opened_dataset(output) as folder:
        return _status(folder)


def _status(folder: DatasetFolder) -> DatasetStatus:
    run = folder.read_run()
    shards = folder.shards()
    running = _is_running(folder)
    done = [marker for shard in shards if (marker := folder.finished(shard))]
    names = {marker.shard.name for marker in done}
    damaged = tuple(s.name for s in shards if s.name not in names and folder.marker_file(s).exists())
    assembly = assembly_of(run["config"]["format"])
    if assembly is not None and len(done) == len(shards) and not assembly.is_assembled(folder, shards):
        damaged += (run["config"]["format"],)
    rows = sum(shard.stop - shard.start for shard in shards)
    rows_done = sum(marker.shard.stop - marker.shard.start for marker in done)
    tiles = sum(marker.tiles for marker in done)
    timings = _timings(folder, done)
    seconds = sum(timing.seconds for timing in timings)
    timed_tiles = sum(timing.tiles for timing in timings)
    rate = timed_tiles * run["config"]["tile_size"] ** 2 / 1e6 / seconds if timed_tiles else None
    left: float | None = None
    if rows_done == rows:
        left = 0.0
    elif rows_done and timed_tiles:
        left = (rows - rows_done) * (tiles / rows_done) * seconds / timed_tiles
    return DatasetStatus(
        running=running,
        writing=_being_written(folder, shards) if running else (),
        shards=len(shards),
        shards_done=len(done),
        damaged=damaged,
        retried=tuple(s.name for s in shards if folder.retry_file(s).exists()),
        rows=rows,
        rows_done=rows_done,
        tiles=tiles,
        failures=dict(sorted(Counter(f.reason for marker in done for f in marker.failures).items())),
        megapixels_per_second=None if rate is None else round(rate, 3),
        seconds_left=None if left is None else round(left, 3),
        stages=shares(timings) if timed_tiles else {},
        bottleneck=bottleneck(timings) if timed_tiles else None,
    )


def reasons_text(failures: dict[str, int]) -> str:
    """The number of failures, and how many of each reason."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in failures.items())
    return f"{sum(failures.values())}" + (f" ({reasons})" if reasons else "")


def duration_text(seconds: float) -> str:
    """A length of time in the two units that matter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _is_running(folder: DatasetFolder) -> bool:
    """Whether the lock is taken. It is held here for an instant at most, which a starting build waits out."""
    try:
        with (folder.state / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _being_written(folder: DatasetFolder, shards: list[Shard]) -> tuple[str, ...]:
    found = {shard.name for shard in shards}
    with suppress(OSError):
        started = {number for path in folder.temporary.iterdir() for number in re.findall(r"\d+", path.name)}
        return tuple(sorted(started & found))
    return ()


def _timings(folder: DatasetFolder, done: list[Marker]) -> list[Timing]:
    timings = []
    for marker in done:
        # a shard may be redone, or its record be missing after a crash, while this reads
        with suppress(OSError, UsageError, TypeError):
            timings.append(Timing(**read_json(folder.timing_file(marker.shard))))
    return timings
