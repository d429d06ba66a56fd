"""The folder of a dataset, all of it plain files.

    run.json                     what the dataset is a function of: settings, hashes, versions
    shards/000000.tar            formats webdataset and lmdb: KEY.noisy.png, KEY.clean.png, KEY.json
    shards/000000.parquet        format parquet
    lq/KEY.png gt/KEY.png        format folders; the two names depend on the layout
    hdf5/ROW-VARIANT.hdf5        format hdf5
    lq.lmdb/ gt.lmdb/            format lmdb, assembled from the tar files when all shards are done
    splits/NAME/                 holds the above, of each split, where the dataset is split
    index/000000.parquet         a row for each tile (see `noisegen.synthesis.records`)
    state/000000.done.json       written last: rows, tile count, failures, files with size and hash
    state/000000.bad.json        put there by `verify`; the next build redoes the shard and removes it
    state/lmdb.json              the LMDB files with sizes and hashes; lmdb.bad.json as of a shard
    state/000000.timing.json     seconds and tiles, for `status`
    state/host.json              where it was last built, with which settings that change no byte
    state/lock                   held by the running build
    state/tmp/                   what is being written
    dataset.json failures.jsonl contact_sheet.png    at the end of a build

KEY is ROW-VARIANT-Y-X of the tile: its row in the manifest and its upper left pixel in the photograph.
The same command with the same versions gives the same bytes in every file but the timing records, host.json
and the lock.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from noisegen.errors import UsageError
from noisegen.synthesis.files import FileRecord, read_json, temporary_name, write_json

__all__ = ["DatasetFolder", "Failure", "Marker", "Shard", "shards_of", "tile_key_name"]


@dataclass(frozen=True)
class Shard:
    """A slice of the manifest, rows ``start`` to ``stop - 1``."""

    index: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.index:06d}"


def shards_of(rows: int, rows_per_shard: int) -> list[Shard]:
    """Cuts the manifest into shards."""
    starts = range(0, rows, rows_per_shard)
    return [Shard(i, start, min(start + rows_per_shard, rows)) for i, start in enumerate(starts)]


def tile_key_name(row: int, variant: int, y: int, x: int) -> str:
    """The tile's key, under which its files are found."""
    return f"{row:08d}-{variant:02d}-{y:05d}-{x:05d}"


@dataclass(frozen=True)
class Failure:
    """A manifest row that gave no tiles, and why."""

    row: int
    id: str
    path: str
    reason: str
    message: str


@dataclass(frozen=True)
class Marker:
    """What a finished shard consists of.

    Attributes:
        shard: its slice of the manifest.
        tiles: number of tiles.
        failures: rows that gave none.
        files: path relative to the dataset -> size and hash.
    """

    shard: Shard
    tiles: int
    failures: tuple[Failure, ...]
    files: dict[str, FileRecord]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "shard": self.shard.name,
            "rows": [self.shard.start, self.shard.stop],
            "tiles": self.tiles,
            "failures": [asdict(failure) for failure in self.failures],
            "files": {path: asdict(record) for path, record in self.files.items()},
        }


@dataclass(frozen=True)
class DatasetFolder:
    """Names of the files of a dataset."""

    root: Path

    @property
    def run_file(self) -> Path:
        return self.root / "run.json"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def temporary(self) -> Path:
        return self.root / "state" / "tmp"

    def split_folder(self, split: str) -> Path:
        """Where the pictures of a split lie; an undivided dataset has them at its root."""
        return self.root / "splits" / split if split else self.root

    def split_folders(self) -> dict[str, Path]:
        """All folders of `split_folder` that there are, by split."""
        return {"": self.root, **{path.name: path for path in sorted(self.root.glob("splits/*"))}}

    def index_file(self, shard: Shard) -> Path:
        return self.root / "index" / f"{shard.name}.parquet"

    def marker_file(self, shard: Shard) -> Path:
        return self.state / f"{shard.name}.done.json"

    def bad_file(self, shard: Shard) -> Path:
        return self.state / f"{shard.name}.bad.json"

    def timing_file(self, shard: Shard) -> Path:
        return self.state / f"{shard.name}.timing.json"

    def read_run(self) -> dict[str, Any]:
        """The contents of run.json.

        Raises:
            UsageError: the folder holds no dataset.
        """
        if not self.run_file.is_file():
            raise UsageError(
                f"{self.root} holds no dataset of noisegen (no run.json); give the folder of one"
            )
        return read_json(self.run_file, advice="restore it, or build into another folder")

    def shards(self) -> list[Shard]:
        """The shards that run.json plans.

        Raises:
            UsageError: the folder holds no dataset.
        """
        run = self.read_run()
        return shards_of(run["rows"], run["config"]["rows_per_shard"])

    def read_marker(self, shard: Shard) -> Marker | None:
        """The shard's marker, None where it has not been finished.

        Raises:
            UsageError: the marker is damaged.
        """
        path = self.marker_file(shard)
        if not path.exists():
            return None
        value = read_json(path)
        try:
            return Marker(
                Shard(shard.index, *value["rows"]),
                value["tiles"],
                tuple(Failure(**failure) for failure in value["failures"]),
                {name: FileRecord(**record) for name, record in value["files"].items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path} is damaged ({error!r}); remove it to have that shard built again"
            ) from error

    def write_marker(self, marker: Marker) -> None:
        """Declares a shard finished."""
        write_json(self.marker_file(marker.shard), marker.to_dict())

    def finished(self, shard: Shard) -> Marker | None:
        """The marker of a shard that needs nothing: no complaint of `verify`, every file has its size.

        It comes without its list of files, which may be long.
        """
        if self.bad_file(shard).exists():
            return None
        try:
            marker = self.read_marker(shard)
            if marker is None or marker.shard != shard:
                return None
            sizes_match = all((self.root / p).stat().st_size == r.size for p, r in marker.files.items())
            return replace(marker, files={}) if sizes_match else None
        except (UsageError, OSError):
            return None

    def remove_leftovers(self) -> None:
        """Removes what a killed build was writing."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        for name in ("run.json", "dataset.json", "failures.jsonl", "contact_sheet.png"):
            temporary_name(self.root / name).unlink(missing_ok=True)
        for path in self.state.glob(temporary_name(self.state / "*").name):
            path.unlink()
