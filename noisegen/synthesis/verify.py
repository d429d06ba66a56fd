"""Checks every file of a dataset against its records, down to the pixels."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisegen.errors import InputError, UsageError
from noisegen.progress import Progress
from noisegen.synthesis.files import record_file
from noisegen.synthesis.formats import Format, assembly_of, format_named
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.noise_check import NoiseCheck, check_noise
from noisegen.synthesis.rank import Rank, resolve_rank
from noisegen.synthesis.records import noise_std, pixel_hash, read_index
from noisegen.synthesis.shards import Marker, Shard
from noisegen.synthesis.staging import opened_dataset
from noisegen.synthesis.summary import disagreements
from noisegen.synthesis.threads import usable_cores, worker_threads
from noisegen.synthesis.writing import condition_totals

__all__ = ["VerifyReport", "verify_dataset"]


@dataclass(frozen=True)
class VerifyReport:
    """What was found.

    Attributes:
        shards: that are finished and were checked.
        unfinished: shards that are not built yet.
        tiles: that were checked.
        problems: name of a shard, "dataset" for the files of the whole, or "noise" -> what is wrong with it.
        noise: the comparison with the checkpoint; None where none was asked for.
    """

    shards: int
    unfinished: int
    tiles: int
    problems: dict[str, list[str]]
    noise: NoiseCheck | None = None

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)

    @property
    def exit_code(self) -> int:
        """0, or 1 where anything is wrong."""
        return 1 if self.problems else 0

    def text(self) -> str:
        """A few lines for people."""
        lines = [f"{where}: {problem}" for where, found in self.problems.items() for problem in found]
        damaged = len(self.problems.keys() - {"dataset", "noise"})
        lines.append(f"{self.shards} shards with {self.tiles} tiles checked, {damaged} damaged")
        if self.noise is not None:
            lines.append(self.noise.text())
        if self.unfinished:
            lines.append(f"{self.unfinished} shards are not built yet; build-dataset continues")
        if self.problems.keys() - {"noise"}:
            lines.append("run the same command again to have the damaged parts made anew")
        return "\n".join(lines)


def verify_dataset(
    output: str | Path,
    *,
    workers: int | None = None,
    remake: int = 64,
    model: str | Path | None = None,
    sample: int | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    quiet: bool = False,
) -> VerifyReport:
    """Reads every file of the finished shards and compares it with marker and index table.

    From a URL each worker copies one shard at a time into a temporary folder.

    A damaged shard gets a mark (``state/SHARD.bad.json``) that makes the next build redo it; a mark on a shard
    that proves whole is removed. Nothing else is changed.

    Args:
        output: the dataset's folder or URL.
        workers: threads; default one for each core.
        remake: tiles that are made again with the checkpoint, at most, see `noisegen.synthesis.noise_check`.
        model: the checkpoint; None takes the one that the build recorded.
        sample: check so many shards at most, evenly spread; None checks all.
        rank, world_size: as of `noisegen.build_dataset`: check the shards of one of several processes. The files that
            describe the whole are checked by rank 0.
        quiet: show no progress.

    Raises:
        UsageError: there is no dataset.
        RemoteError: the URL cannot be read.
    """
    share = resolve_rank(rank, world_size)
    with opened_dataset(output) as folder:
        return _verify(folder, share, sample, workers, remake, model, quiet)


def _verify(
    folder: DatasetFolder,
    rank: Rank,
    sample: int | None,
    workers: int | None,
    remake: int,
    model: str | Path | None,
    quiet: bool,
) -> VerifyReport:
    if folder.run_file.is_file() and not folder.run_is_whole():
        damaged = "run.json does not agree with its hash in state/run.xxh3; nothing else was checked"
        return VerifyReport(0, 0, 0, {"dataset": [damaged]}, None)
    run = folder.read_run()
    output_format = format_named(run["config"]["format"])
    shards = folder.shards()
    notes = folder.notes()
    mine = rank.share(shards)
    begun = [shard for shard in mine if notes.done[shard.index]]
    unfinished = len(mine) - len(begun)
    if sample is not None and sample < len(begun):
        begun = [begun[i * len(begun) // sample] for i in range(sample)]
    problems: dict[str, list[str]] = {}
    tiles = 0
    pixels = int(run["config"]["tile_size"]) ** 2
    with Progress(len(begun), "shard", "verify", quiet=quiet) as progress:
        for shard, (count, found) in _checked(folder, output_format, begun, workers or usable_cores()):
            tiles += count
            if found:
                problems[shard.name] = found
            try:
                folder.set_bad(shard, found)
            except OSError as error:  # a dataset that can only be read
                problems.setdefault(shard.name, []).append(f"its mark cannot be changed: {error.strerror}")
            progress.update(1, pixels=count * pixels, tiles=tiles, damaged=len(problems))
    if rank.number == 0 and notes.done.all() and not problems:
        assembly = assembly_of(run["config"]["format"])
        if assembly is not None and (found := assembly.problems(folder, shards)):
            problems[run["config"]["format"]] = found
        elif stale := disagreements(folder):
            problems["dataset"] = stale
    noise = None
    if remake:
        whole = [shard for shard in begun if shard.name not in problems]
        noise = check_noise(folder, whole, tiles=remake, model=model)
        for shard, key in noise.foreign:
            found = problems.setdefault(shard.name, [])
            found.append(f"tile {key} is not what the checkpoint makes of its clean side")
            folder.set_bad(shard, found)
        if noise.problems:
            problems["noise"] = noise.problems
    return VerifyReport(len(begun), unfinished, tiles, problems, noise)


def _checked(
    folder: DatasetFolder, output_format: Format, shards: Iterable[Shard], workers: int
) -> Iterator[tuple[Shard, tuple[int, list[str]]]]:
    """Each shard with its tiles found whole and its problems; only a few are begun before they are asked for."""
    waiting: deque[tuple[Shard, Future[tuple[int, list[str]]]]] = deque()
    with worker_threads(workers, "checker") as pool:
        for shard in shards:
            waiting.append((shard, pool.submit(_check_at_hand, folder, output_format, shard)))
            if len(waiting) > 2 * workers:
                first, check = waiting.popleft()
                yield first, check.result()
        for first, check in waiting:
            yield first, check.result()


def _check_at_hand(folder: DatasetFolder, output_format: Format, shard: Shard) -> tuple[int, list[str]]:
    with folder.at_hand(shard):
        return _check(folder, output_format, shard)


def _check(folder: DatasetFolder, output_format: Format, shard: Shard) -> tuple[int, list[str]]:
    """Tiles found whole, and problems."""
    try:
        marker = folder.read_marker(shard)
    except UsageError as error:
        return 0, [str(error)]
    if marker is None or marker.shard != shard:
        return 0, ["the marker does not belong to this shard"]
    found = list(_file_problems(folder, marker))
    try:
        index = read_index(folder.index_file(shard))
    except Exception as error:  # a damaged table may raise nearly any type
        return 0, [*found, f"the index table cannot be read: {error}"]
    keys = [str(row["key"]) for row in index]
    if len(keys) != marker.tiles:
        found.append(f"the index table lists {len(keys)} tiles, the marker {marker.tiles}")
    totals = condition_totals((r["split"], r["camera"], r["iso"], r["noise_std"]) for r in index)
    if totals != marker.conditions:
        found.append("the marker counts other cameras and ISO settings than the index table")
    found += [
        f"tile {key} is listed more than once" for key in sorted(k for k, n in Counter(keys).items() if n > 1)
    ]
    whole = 0
    try:
        with closing(output_format.open_tiles(folder, shard)) as tiles:
            for row, key in zip(index, keys, strict=True):
                try:
                    bad = list(_tile_problems(row, *tiles.read(key)))
                except InputError as error:
                    bad = [str(error)]
                found += [f"tile {key}: {problem}" for problem in bad]
                whole += not bad
    except Exception as error:  # as above
        found.append(f"a tile cannot be read: {error!r}")
    return whole, found


def _file_problems(folder: DatasetFolder, marker: Marker) -> Iterator[str]:
    for name, expected in marker.files.items():
        try:
            actual = record_file(folder.root / name)
        except OSError as error:
            yield f"{name} cannot be read: {error.strerror}"
            continue
        if actual.size != expected.size:
            yield f"{name} has {actual.size} bytes instead of {expected.size}"
        elif actual.xxh3 != expected.xxh3:
            yield f"{name} has another content than when it was written"


def _tile_problems(row: dict[str, Any], noisy: np.ndarray, clean: np.ndarray) -> Iterator[str]:
    for side, picture in (("noisy", noisy), ("clean", clean)):
        if pixel_hash(picture) != row[f"{side}_pixels_xxh3"]:
            yield f"the {side} pixels have another hash than the index table says"
    if (noisy.shape, noisy.dtype) != (clean.shape, clean.dtype):
        yield "noisy and clean differ in size or type"
    elif noise_std(noisy, clean) != row["noise_std"]:
        yield "the noise has another deviation than the index table says"
