"""How far a dataset is, read from its state files."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from noisegen.synthesis.files import read_json
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.staging import opened_dataset

__all__ = ["DatasetStatus", "dataset_status"]


@dataclass(frozen=True)
class DatasetStatus:
    """The state of a dataset.

    Attributes:
        shards, shards_done: in all, and finished.
        damaged: names of finished shards that the next build will redo (files missing, or marked by `verify`).
        rows, rows_done: photographs of the manifest in all, and in finished shards.
        tiles: in finished shards.
        failures: rows of finished shards that gave no tiles, by reason.
        megapixels_per_second: mean over the finished shards; None where none has been timed.
        seconds_left: estimate at that rate; None where it is unknown, 0 when all is done.
    """

    shards: int
    shards_done: int
    damaged: tuple[str, ...]
    rows: int
    rows_done: int
    tiles: int
    failures: dict[str, int]
    megapixels_per_second: float | None
    seconds_left: float | None

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)

    def text(self) -> str:
        """A few lines for people."""
        lines = [
            f"shards    {self.shards_done} of {self.shards} done",
            f"photos    {self.rows_done} of {self.rows} done",
            f"tiles     {self.tiles}",
        ]
        total = sum(self.failures.values())
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.failures.items())
        lines.append(f"failures  {total}" + (f" ({reasons})" if total else ""))
        if self.damaged:
            lines.append(f"damaged   {', '.join(self.damaged)}; build-dataset will redo them")
        if self.megapixels_per_second is not None:
            lines.append(f"rate      {self.megapixels_per_second:.2f} MP/s")
        if self.seconds_left:
            lines.append(f"left      about {_duration(self.seconds_left)} at this rate")
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
    done = [marker for shard in shards if (marker := folder.finished(shard))]
    names = {marker.shard.name for marker in done}
    damaged = tuple(s.name for s in shards if s.name not in names and folder.marker_file(s).exists())
    rows = sum(shard.stop - shard.start for shard in shards)
    rows_done = sum(marker.shard.stop - marker.shard.start for marker in done)
    tiles = sum(marker.tiles for marker in done)
    timings = [read_json(path) for marker in done if (path := folder.timing_file(marker.shard)).exists()]
    seconds = sum(float(timing["seconds"]) for timing in timings)
    timed_tiles = sum(int(timing["tiles"]) for timing in timings)
    rate = timed_tiles * run["config"]["tile_size"] ** 2 / 1e6 / seconds if seconds else None
    left: float | None = None
    if rows_done == rows:
        left = 0.0
    elif rows_done and timed_tiles:
        left = (rows - rows_done) * (tiles / rows_done) * seconds / timed_tiles
    return DatasetStatus(
        shards=len(shards),
        shards_done=len(done),
        damaged=damaged,
        rows=rows,
        rows_done=rows_done,
        tiles=tiles,
        failures=dict(sorted(Counter(f.reason for marker in done for f in marker.failures).items())),
        megapixels_per_second=None if rate is None else round(rate, 3),
        seconds_left=None if left is None else round(left, 3),
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
