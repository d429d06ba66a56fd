"""What a build will take and give, estimated before it runs: from headers of a sample, and from real tiles."""

from __future__ import annotations

import heapq
import inspect
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from noisegen.errors import InputError
from noisegen.progress import Progress
from noisegen.remote import as_place
from noisegen.synthesis.build import build_dataset, run_of, with_rows_per_shard
from noisegen.synthesis.interrupt import StopRequest, stop_on_signals
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.plan import BuildConfig, check_run
from noisegen.synthesis.resolve import ResolvedBuild, resolved_build
from noisegen.synthesis.row_conditions import ExpectedTiles
from noisegen.synthesis.shards import Shard, shards_of
from noisegen.synthesis.status import duration_text, reasons_text
from noisegen.synthesis.trial import Range, Trial, run_trial

__all__ = ["BuildPlan", "plan_build"]

# A sample of headers is made of blocks of neighbouring rows: a row costs little where its neighbour is read.
SAMPLE_BLOCKS, BLOCK_ROWS = 128, 8
TRIAL_ROWS = 64


@dataclass(frozen=True)
class BuildPlan:
    """What a build will take and give.

    Attributes:
        rows: photographs that the build will look at.
        rows_probed: of these, the ones whose headers were read; the other numbers are projected from them.
        usable: rows that give tiles, as far as headers tell.
        failing: of the probed rows, the ones that fail by manifest or header, by reason.
        shards, shards_done: in all, and already finished in the dataset's folder.
        rows_per_shard: photographs in a shard.
        tiles: of the whole dataset.
        megapixels: noisy pixels of the whole dataset.
        bytes: of the whole dataset.
        bytes_by_format: expected bytes in each output format that keeps pictures as the one asked for does.
        peak_disk_bytes: the most that the folder occupies, in the file system's blocks.
        free_disk_bytes: where the dataset is to go; None where no folder was given.
        device, precision, workers, batch_size: what was timed and will run.
        processes: that share the work, each as fast as this one.
        trial: what was timed; None where no tile could be made.
        seconds: for what is not done yet; None as ``trial``.
        device_hours: the same in hours of this device.
    """

    rows: int
    rows_probed: int
    usable: Range
    failing: dict[str, int]
    shards: int
    shards_done: int
    rows_per_shard: int
    tiles: Range
    megapixels: Range
    bytes: Range
    bytes_by_format: dict[str, int]
    peak_disk_bytes: int
    free_disk_bytes: int | None
    device: str
    precision: str
    workers: int
    batch_size: int
    processes: int
    trial: Trial | None
    seconds: Range | None
    device_hours: Range | None

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)

    def text(self) -> str:
        """A few lines for people."""
        sampled = self.rows_probed < self.rows
        basis = f"headers of {self.rows_probed} photographs" + (
            " spread over the manifest; --all reads every one" if sampled else ""
        )
        failing = reasons_text(self.failing) + (" of those read" if sampled else "")
        done = f", {self.shards_done} of them done" if self.shards_done else ""
        lines = [
            f"photos    {self.rows}, {_count(self.usable)} usable by {basis}",
            f"failing   {failing}",
            f"shards    {self.shards} of {self.rows_per_shard} photographs{done}",
            f"tiles     {_count(self.tiles)}",
            f"device    {self.device}, {self.precision}, {self.workers} workers, batches of {self.batch_size}",
        ]
        if self.trial is None or self.seconds is None or self.device_hours is None:
            return "\n".join([*lines, "time      unknown: no tile could be made"])
        rate, seconds, hours = self.trial.megapixels_per_second, self.seconds, self.device_hours
        formats = ", ".join(f"{name} {_size(value)}" for name, value in self.bytes_by_format.items())
        free = "" if self.free_disk_bytes is None else f", {_size(self.free_disk_bytes)} free"
        shared = f" by {self.processes} processes like this one" if self.processes > 1 else ""
        lines += [
            f"size      {_size(self.bytes.expected)} ({_size(self.bytes.low)} to {_size(self.bytes.high)}); {formats}",
            f"disk      {_size(self.peak_disk_bytes)} at most{free}",
            f"timed     {self.trial.tiles} tiles in {self.trial.seconds:.1f} s after warming up: "
            f"{rate.expected:.2f} MP/s ({rate.low:.2f} to {rate.high:.2f})",
            f"time      {duration_text(seconds.expected)} ({duration_text(seconds.low)} to "
            f"{duration_text(seconds.high)}){shared}, "
            f"{hours.expected:.3g} device-hours ({hours.low:.3g} to {hours.high:.3g})",
        ]
        if self.free_disk_bytes is not None and self.free_disk_bytes < self.peak_disk_bytes:
            lines.append("the disk is too small for this dataset")
        return "\n".join(lines)


def plan_build(
    manifest: str | Path,
    output: str | Path | None = None,
    *,
    all_rows: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> BuildPlan:
    """Estimates a build without writing anything but temporary files.

    The headers of a fixed sample of the photographs are read (128 blocks of 8 rows, evenly spread), and tiles are
    made for about ten seconds on the device that the build would use. Damage behind the headers is not seen.

    Args:
        manifest: as for the build.
        output: folder of the dataset, for the room on its disk and for what is done already; None or a URL leaves both
            out.
        all_rows: read every header.
        quiet: show no progress.
        **settings: the arguments of `noisegen.build_dataset`, with its defaults.

    Raises:
        UsageError: the build would be refused.
        Interrupted: SIGINT or SIGTERM.
    """
    request = inspect.signature(build_dataset).bind(manifest, output, **settings)
    request.apply_defaults()
    with stop_on_signals() as stop, resolved_build(**request.arguments) as resolved:
        place = None if output is None else as_place(output)
        folder = DatasetFolder(place) if isinstance(place, Path) else None
        config = with_rows_per_shard(resolved, folder, request.arguments["rows_per_shard"])
        rows = (
            resolved.manifest.num_rows
            if config.limit is None
            else min(config.limit, resolved.manifest.num_rows)
        )
        shards = shards_of(rows, config.rows_per_shard)
        done = _finished(folder, shards, config, resolved)
        survey = _survey(resolved, _blocks(rows, all_rows), stop, quiet)
        trial = run_trial(resolved, config, survey.trial_rows, shards, stop) if survey.trial_rows else None
    processes = min(request.arguments["world_size"] or 1, max(1, len(shards)))
    return _project(resolved, config, survey, rows, shards, done, trial, place, processes)


@dataclass(frozen=True)
class _Block:
    """What the headers of some neighbouring rows say."""

    rows: int
    usable: int
    tiles: int


@dataclass(frozen=True)
class _Survey:
    """Blocks of rows, why rows fail, and a few rows that do not, in random order."""

    blocks: list[_Block]
    failing: dict[str, int]
    trial_rows: list[int]


def _blocks(rows: int, all_rows: bool) -> list[range]:
    """Which rows are looked at: all, or evenly spread blocks."""
    if all_rows or rows <= SAMPLE_BLOCKS * BLOCK_ROWS:
        return [range(rows)]
    starts = [i * (rows - BLOCK_ROWS) // (SAMPLE_BLOCKS - 1) for i in range(SAMPLE_BLOCKS)]
    return [range(start, start + BLOCK_ROWS) for start in starts]


def _survey(resolved: ResolvedBuild, blocks: Sequence[range], stop: StopRequest, quiet: bool) -> _Survey:
    found: list[_Block] = []
    failing: Counter[str] = Counter()
    chosen: list[tuple[int, int]] = []
    expected = ExpectedTiles(resolved.config, resolved.engine.model)
    with Progress(sum(map(len, blocks)), "photo", "plan", quiet=quiet) as progress:
        for block in blocks:
            usable = tiles = 0
            for row in resolved.manifest.rows(block.start, block.stop):
                stop.check()
                try:
                    tiles += expected.count(row)
                    usable += 1
                    chosen = heapq.nsmallest(TRIAL_ROWS, [*chosen, (crc32(b"%d" % row.index), row.index)])
                except InputError as error:
                    failing[error.reason] += 1
                progress.update(1)
            found.append(_Block(len(block), usable, tiles))
    return _Survey(found, dict(sorted(failing.items())), [row for _, row in chosen])


def _project(
    resolved: ResolvedBuild,
    config: BuildConfig,
    survey: _Survey,
    rows: int,
    shards: Sequence[Shard],
    done: Sequence[Shard],
    trial: Trial | None,
    output: str | Path | None,
    processes: int,
) -> BuildPlan:
    tiles = _total([(block.rows, block.tiles) for block in survey.blocks], rows)
    nothing = Range(0.0, 0.0, 0.0)
    megapixels = tiles.times(Range(*3 * [config.tile_size**2 / 1e6]))
    left = 1 - sum(shard.stop - shard.start for shard in done) / max(1, rows)
    seconds = hours = None
    if trial is not None:
        rate = trial.megapixels_per_second
        work = megapixels.times(Range(left / rate.high, left / rate.expected, left / rate.low))
        seconds = work.times(Range(*3 * [1 / processes]))
        hours = work.times(Range(*3 * [1 / 3600]))
    return BuildPlan(
        rows=rows,
        rows_probed=sum(block.rows for block in survey.blocks),
        usable=_total([(block.rows, block.usable) for block in survey.blocks], rows, at_most=rows),
        failing=survey.failing,
        shards=len(shards),
        shards_done=len(done),
        rows_per_shard=config.rows_per_shard,
        tiles=tiles,
        megapixels=megapixels,
        bytes=tiles.times(trial.bytes_per_tile) if trial else nothing,
        bytes_by_format={
            name: round(tiles.expected * size)
            for name, size in (trial.bytes_by_format if trial else {}).items()
        },
        peak_disk_bytes=round(tiles.high * trial.disk_per_tile) if trial else 0,
        free_disk_bytes=_free(output) if isinstance(output, Path) else None,
        device=resolved.device,
        precision=config.precision,
        workers=resolved.workers,
        batch_size=resolved.batch_size,
        processes=processes,
        trial=trial,
        seconds=seconds,
        device_hours=hours,
    )


def _total(blocks: Sequence[tuple[int, int]], rows: int, *, at_most: float = math.inf) -> Range:
    """Projects counts of (rows, found) in blocks onto all rows, with two standard errors either way."""
    seen = sum(n for n, _ in blocks)
    if not seen:
        return Range(0.0, 0.0, 0.0)
    each = sum(found for _, found in blocks) / seen
    error = 0.0
    if seen < rows:
        spread = sum((found - each * n) ** 2 for n, found in blocks) / (len(blocks) - 1)
        error = 2 * rows / seen * math.sqrt(spread * len(blocks) * (1 - seen / rows))
    total = each * rows
    return Range(max(0.0, total - error), total, min(at_most, total + error))


def _finished(
    folder: DatasetFolder | None, shards: Sequence[Shard], config: BuildConfig, resolved: ResolvedBuild
) -> list[Shard]:
    """The shards that are in the dataset's folder already.

    Raises:
        UsageError: it holds a dataset of other settings.
    """
    if folder is None or not folder.run_file.exists():
        return []
    check_run(folder, run_of(resolved, config))
    notes = folder.notes()
    return [shard for shard in shards if notes.done[shard.index] and not notes.bad[shard.index]]


def _free(path: Path) -> int:
    """Bytes free on the disk that a folder, which need not be there yet, is on."""
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def _count(value: Range) -> str:
    if value.low == value.high:
        return f"{value.expected:.0f}"
    return f"about {value.expected:.0f} ({value.low:.0f} to {value.high:.0f})"


def _size(size: float) -> str:
    """Bytes in a decimal unit of which there are one to a thousand."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"
