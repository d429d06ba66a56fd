"""Checks every file of a dataset against its records, down to the pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisegen.errors import InputError, UsageError
from noisegen.png import decode_png
from noisegen.synthesis.files import FileRecord, record_file, write_json
from noisegen.synthesis.formats import Format, format_named
from noisegen.synthesis.layout import DatasetFolder, Marker, Shard
from noisegen.synthesis.records import pixel_hash, read_index
from noisegen.synthesis.summary import disagreements
from noisegen.synthesis.threads import usable_cores, worker_threads

__all__ = ["VerifyReport", "verify_dataset"]


@dataclass(frozen=True)
class VerifyReport:
    """What was found.

    Attributes:
        shards: that are finished and were checked.
        unfinished: shards that are not built yet.
        tiles: that were checked.
        problems: name of a shard, or "dataset" for the files of the whole -> what is wrong with it.
    """

    shards: int
    unfinished: int
    tiles: int
    problems: dict[str, list[str]]

    @property
    def exit_code(self) -> int:
        """0, or 1 where anything is wrong."""
        return 1 if self.problems else 0

    def text(self) -> str:
        """A few lines for people."""
        lines = [f"{where}: {problem}" for where, found in self.problems.items() for problem in found]
        lines.append(f"{self.shards} shards with {self.tiles} tiles checked, {len(self.problems)} damaged")
        if self.unfinished:
            lines.append(f"{self.unfinished} shards are not built yet; build-dataset continues")
        if self.problems:
            lines.append("run the same build-dataset command again to have the damaged parts made anew")
        return "\n".join(lines)


def verify_dataset(output: Path, *, workers: int | None = None) -> VerifyReport:
    """Reads every file of the finished shards and compares it with marker and index table.

    A damaged shard gets a mark (``state/SHARD.bad.json``) that makes the next build redo it; a mark on a shard
    that proves whole is removed. Nothing else is changed.

    Raises:
        UsageError: the folder holds no dataset.
    """
    folder = DatasetFolder(output)
    if folder.run_file.is_file() and not folder.run_is_whole():
        damaged = "run.json does not agree with its hash in state/run.xxh3; nothing else was checked"
        return VerifyReport(0, 0, 0, {"dataset": [damaged]})
    run = folder.read_run()
    output_format = format_named(run["config"]["format"])
    shards = folder.shards()
    begun = [shard for shard in shards if folder.marker_file(shard).exists()]
    problems: dict[str, list[str]] = {}
    tiles = 0
    with worker_threads(workers or usable_cores()) as pool:
        checks = pool.map(lambda shard: _check(folder, output_format, shard), begun)
        for shard, (count, found) in zip(begun, checks, strict=True):
            tiles += count
            if found:
                problems[shard.name] = found
            try:
                _mark(folder, shard, found)
            except OSError as error:  # a dataset that can only be read
                problems.setdefault(shard.name, []).append(f"its mark cannot be changed: {error.strerror}")
    complete = len(begun) == len(shards) and not problems
    if complete and (stale := disagreements(folder, shards, run["config"]["tile_size"])):
        problems["dataset"] = stale
    return VerifyReport(len(begun), len(shards) - len(begun), tiles, problems)


def _mark(folder: DatasetFolder, shard: Shard, problems: Sequence[str]) -> None:
    path = folder.bad_file(shard)
    if problems:
        write_json(path, {"shard": shard.name, "problems": problems})
    elif path.exists():
        path.unlink()


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
    found += [
        f"tile {key} is listed more than once" for key in sorted(k for k, n in Counter(keys).items() if n > 1)
    ]
    whole = 0
    try:
        with closing(output_format.open_tiles(folder, shard)) as tiles:
            for row, key in zip(index, keys, strict=True):
                bad = list(_tile_problems(row, *tiles.read(key)))
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


def _tile_problems(row: dict[str, Any], noisy: bytes, clean: bytes) -> Iterator[str]:
    shapes = []
    for side, data in (("noisy", noisy), ("clean", clean)):
        if FileRecord.of(data).xxh3 != row[f"{side}_xxh3"]:
            yield f"the {side} file has another hash than the index table says"
        try:
            picture = decode_png(data)
        except InputError as error:
            yield f"the {side} picture cannot be decoded: {error}"
            continue
        shapes.append((picture.shape, picture.dtype))
        if side == "noisy" and pixel_hash(picture) != row["noisy_pixels_xxh3"]:
            yield "the noisy pixels have another hash than the index table says"
    if len(set(shapes)) > 1:
        yield "noisy and clean differ in size or type"
