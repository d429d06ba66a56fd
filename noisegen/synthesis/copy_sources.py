"""Finished datasets as the sources of another one: opened, compared, and asked for rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from noisegen.errors import NoisegenError, UsageError
from noisegen.synthesis.files import json_bytes
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import TileRecord
from noisegen.synthesis.shards import Failure, Shard, tile_key_name

__all__ = ["SourceDataset", "check_alike", "check_photographs", "open_sources"]


@dataclass(frozen=True)
class SourceDataset:
    """A finished dataset.

    Attributes:
        folder: where it is.
        run: its run.json.
        shards: all of them.
        offset: row of the new dataset that its row 0 becomes.
        tiles: their number.
        content: a hash of what its tiles and failures are, whatever their format.
    """

    folder: DatasetFolder
    run: dict[str, Any]
    shards: tuple[Shard, ...]
    offset: int
    tiles: int
    content: str

    @classmethod
    def open(cls, root: Path, offset: int) -> SourceDataset:
        """Reads run.json and the markers.

        Raises:
            UsageError: the folder holds no dataset, or it is not finished.
        """
        folder = DatasetFolder(root)
        run = folder.read_run()
        shards = folder.shards()
        content = xxhash.xxh3_128()
        tiles = 0
        for shard in shards:
            marker = folder.read_marker(shard) if folder.finished(shard) else None
            if marker is None:
                raise UsageError(
                    f"{root}: shard {shard.name} is not finished; complete the dataset with the command that began it"
                )
            tiles += marker.tiles
            index = folder.index_file(shard).relative_to(root).as_posix()
            content.update(
                json_bytes(
                    {
                        "rows": [shard.start, shard.stop],
                        "failures": [asdict(failure) for failure in marker.failures],
                        "index": asdict(marker.files[index]),
                    }
                )
            )
        return cls(folder, run, tuple(shards), offset, tiles, content.hexdigest())

    @property
    def rows(self) -> int:
        return int(self.run["rows"])

    def shards_within(self, start: int, stop: int) -> Iterator[Shard]:
        """The shards that have rows ``start`` to ``stop - 1`` of the new dataset."""
        each = int(self.run["config"]["rows_per_shard"])
        first, last = max(0, start - self.offset) // each, -(-max(0, stop - self.offset) // each)
        yield from self.shards[first:last]

    def failures(self, shard: Shard) -> list[Failure]:
        """A shard's failed rows, with their numbers in the new dataset."""
        marker = self.folder.read_marker(shard)
        assert marker is not None
        return [replace(failure, row=failure.row + self.offset) for failure in marker.failures]

    def left_out(self, shard: Shard) -> dict[str, int]:
        """Tiles of a shard that its selection left out, by reason."""
        marker = self.folder.read_marker(shard)
        assert marker is not None
        return marker.left_out

    def records(self, shard: Shard) -> Iterator[tuple[str, TileRecord]]:
        """A shard's tiles: the key here, and the record with row and key in the new dataset.

        Raises:
            NoisegenError: the index table cannot be read.
        """
        for value in self.index(shard).to_pylist():
            record = TileRecord(**value)
            row = record.row + self.offset
            key = tile_key_name(row, record.variant, record.y, record.x)
            yield record.key, replace(record, row=row, key=key)

    def index(self, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        """A shard's index table.

        Raises:
            NoisegenError: it cannot be read.
        """
        path = self.folder.index_file(shard)
        try:
            return pq.read_table(path, columns=columns and list(columns))
        except (OSError, pa.ArrowException) as error:
            raise NoisegenError(
                f"{path} cannot be read ({error}); run noisegen verify {self.folder.root}"
            ) from error

    def provenance(self) -> dict[str, object]:
        """For run.json of the new dataset."""
        return {"rows": self.rows, "first_row": self.offset, "content": self.content, "run": self.run}


def open_sources(roots: Sequence[Path]) -> list[SourceDataset]:
    """Opens datasets; the rows of each follow those of the one before.

    Raises:
        UsageError: as `SourceDataset.open`.
    """
    sources: list[SourceDataset] = []
    for root in roots:
        offset = sources[-1].offset + sources[-1].rows if sources else 0
        sources.append(SourceDataset.open(root, offset))
    return sources


def check_alike(sources: Sequence[SourceDataset]) -> None:
    """Makes sure that one trainer can read all tiles alike.

    Raises:
        UsageError: tile size, bit depth or channels differ.
    """

    def kind(source: SourceDataset) -> dict[str, Any]:
        run = source.run
        return {
            "tile size": run["config"]["tile_size"],
            "bit depth": run["bit_depth"],
            "channels": run["channels"],
        }

    first = sources[0]
    for other in sources[1:]:
        for name, value in kind(first).items():
            if kind(other)[name] != value:
                raise UsageError(
                    f"{name} is {value} in {first.folder.root} but {kind(other)[name]} in {other.folder.root}; "
                    "only datasets that agree in it can be merged"
                )


def check_photographs(sources: Sequence[SourceDataset]) -> None:
    """Makes sure that an id stands for one photograph, in one split, and that no tile is there twice.

    One photograph in two datasets is all right where its noise differs (another seed, model or condition).
    Memory: 8 bytes for each photograph, and 40 for each tile of those that are in several datasets.

    Raises:
        UsageError: names a photograph and both datasets.
    """
    ids = [np.unique(_hashes(_ids(source))) for source in sources]
    shared = _repeated(np.concatenate(ids))
    if not len(shared):
        return
    tables = [_tiles_of(source, shared) for source in sources]
    photograph, split, place, clean, _ = np.concatenate(tables).T
    of_two_splits = _repeated(np.unique(np.stack([photograph, split]), axis=1)[0])
    _refuse(sources, of_two_splits, "is in another split in {other}; build both with the same splits")
    # at one place of a photograph there is one clean picture
    differing = _repeated(np.unique(np.stack([place, clean]), axis=1)[0])
    _refuse(
        sources,
        photograph[np.isin(place, differing)],
        "is another photograph in {other}; give the photographs distinct ids and build again",
    )
    twice = _repeated(np.concatenate([np.unique(table[:, 4]) for table in tables]))
    _refuse(
        sources,
        np.concatenate([table[np.isin(table[:, 4], twice), 0] for table in tables]),
        "has the same noisy tiles in {other}; leave one of the two out",
    )


def _refuse(sources: Sequence[SourceDataset], photographs: np.ndarray, problem: str) -> None:
    """Raises UsageError for the first of these hashes of ids that two sources have."""
    hashes = set(photographs.tolist())
    if not hashes:
        return
    found: dict[str, Path] = {}  # id -> first dataset
    for source in sources:
        root = source.folder.root
        for name in _ids(source):
            if _hash(name) in hashes and found.setdefault(name, root) != root:
                raise UsageError(f"photograph {name!r} of {found[name]} {problem.format(other=root)}")


def _ids(source: SourceDataset) -> Iterator[str]:
    for shard in source.shards:
        yield from source.index(shard, ["id"])["id"].unique().to_pylist()


def _tiles_of(source: SourceDataset, shared: np.ndarray) -> np.ndarray:
    """Hashes of id, split, place, clean pixels, and noisy pixels at their place: [tiles, 5] uint64."""
    columns = ["id", "y", "x", "split", "clean_pixels_xxh3", "noisy_pixels_xxh3"]
    tables = [np.empty((0, 5), np.uint64)]
    for shard in source.shards:
        index = source.index(shard, columns)
        of_shared = np.isin(_hashes(index["id"].to_pylist()), shared)
        values = []
        for row in index.filter(pa.array(of_shared)).to_pylist():
            place = (row["id"], row["y"], row["x"])
            parts = ((row["id"],), (row["split"],), place, (row["clean_pixels_xxh3"],))
            values.append([_hash(*part) for part in (*parts, (*place, row["noisy_pixels_xxh3"]))])
        if values:
            tables.append(np.array(values, np.uint64))
    return np.concatenate(tables)


def _repeated(values: np.ndarray) -> np.ndarray:
    """The values that are there more than once."""
    found, counts = np.unique(values, return_counts=True)
    return found[counts > 1]


def _hashes(texts: Iterator[str] | Sequence[str]) -> np.ndarray:
    return np.fromiter((_hash(text) for text in texts), np.uint64)


def _hash(*parts: object) -> int:
    return xxhash.xxh3_64_intdigest(repr(parts).encode("utf-8", "backslashreplace"))
