"""The folder of a dataset, all of it plain files.

    run.json                     what the dataset is a function of: settings, hashes, versions
    state/run.xxh3               xxh3_128 (hex) of run.json
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
    state/000000.retry.json      put there by `retry-failed`; as bad.json, but the shard counts as finished and
                                 stays in place until the new one is ready
    state/000000.timing.json     seconds and tiles, for `status` (see `noisegen.synthesis.stages`)
    state/noisy_pool.json        descriptions of the noisy pictures that the model took references from
    state/host.json              where it was last built, with which settings that change no byte
    state/profile.json state/trace.json    where the time of the last build with --profile went
    state/lock                   held by the running build
    state/tmp/                   what is being written
    state/ranks/                 locks, profiles and lists of failures of the ranks of a job
    shards.parquet               a row for each shard (see `noisegen.synthesis.survey`), at the end of a build, as are
    failures.jsonl contact_sheet.png README.md croissant.json
    dataset.json                 written last: it is there when everything is

KEY is ROW-VARIANT-Y-X of the tile: its row in the manifest and its upper left pixel in the photograph.
The same command with the same versions gives the same bytes in every file but the timing records, the profile,
host.json, the locks and the files of ranks.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisegen.errors import UsageError
from noisegen.suggestions import did_you_mean_path
from noisegen.synthesis.files import (
    FileRecord,
    json_bytes,
    read_json,
    read_sealed_json,
    temporary_name,
    write_atomically,
    write_json,
    write_sealed_json,
)
from noisegen.synthesis.shards import ConditionTotal, Failure, Marker, Shard, shards_of

if TYPE_CHECKING:
    from noisegen.synthesis.interrupt import StopRequest

__all__ = ["NOISY_POOL", "SUMMARY_FILES", "DatasetFolder", "Notes"]

NOISY_POOL = "noisy_pool.json"

# what describes the whole; the first is written last
SUMMARY_FILES = (
    *("dataset.json", "shards.parquet", "failures.jsonl", "contact_sheet.png", "README.md"),
    "croissant.json",
)

MARKERS_AT_ONCE = 256
_NOTE = re.compile(r"(\d+)\.(done|bad|retry)\.json")


@dataclass(frozen=True)
class Notes:
    """Which shards there is a file of a kind of: bool arrays by the number of the shard.

    Attributes:
        done: markers; whether all files are there as well is another question.
        bad: complaints of `verify`.
        retry: marks of `retry-failed`.
    """

    done: np.ndarray
    bad: np.ndarray
    retry: np.ndarray

    @property
    def all_done(self) -> bool:
        return bool(self.done.all()) and not (self.bad.any() or self.retry.any())


@dataclass(frozen=True)
class DatasetFolder:
    """Names of the files of a dataset.

    Its last methods are where `noisegen.synthesis.staging.StagedFolder` does more: there the dataset is at a URL.

    Attributes:
        root: the folder.
        part: names what a process writes that shares the folder with others, or NAME/THREAD what one thread of it
            does; "" where it does not.
    """

    root: Path
    part: str = field(default="", kw_only=True)

    @property
    def run_file(self) -> Path:
        return self.root / "run.json"

    @property
    def run_hash_file(self) -> Path:
        return self.state / "run.xxh3"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def temporary(self) -> Path:
        return self.state / "tmp" / self.part

    @property
    def ranks(self) -> Path:
        return self.state / "ranks"

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

    def retry_file(self, shard: Shard) -> Path:
        return self.state / f"{shard.name}.retry.json"

    def timing_file(self, shard: Shard) -> Path:
        return self.state / f"{shard.name}.timing.json"

    @property
    def noisy_pool_file(self) -> Path:
        return self.state / NOISY_POOL

    @property
    def profile_file(self) -> Path:
        return self._told("profile.json")

    @property
    def trace_file(self) -> Path:
        return self._told("trace.json")

    @property
    def failures_file(self) -> Path:
        """Where failures are listed; in the end those of all parts are in the first."""
        return self._told("failures.jsonl") if self.part else self.root / "failures.jsonl"

    def _told(self, name: str) -> Path:
        return self.ranks / f"{self.part}.{name}" if self.part else self.state / name

    def read_run(self) -> dict[str, Any]:
        """The contents of run.json.

        Raises:
            UsageError: the folder holds no dataset, or run.json is not what was written.
        """
        if not self.run_file.is_file():
            raise UsageError(
                f"{self.place} holds no dataset of noisegen (no run.json); give the folder of one"
                f"{did_you_mean_path(self.root) if self.place == str(self.root) else ''}"
            )
        advice = "the same build-dataset command writes it anew"
        run = read_json(self.run_file, advice=advice)
        # copies that tiles are read from have no hash
        if self.run_hash_file.is_file() and not self.run_is_whole():
            raise UsageError(
                f"{self.run_file} is damaged or was changed (it does not agree with its hash in state/run.xxh3); "
                f"{advice}"
            )
        return run

    def write_run(self, run: Mapping[str, Any]) -> None:
        """Writes run.json, and beside the shards' state its hash: by it a damaged run.json is found and replaced."""
        content = json_bytes(run, indent=1)
        write_atomically(self.run_hash_file, FileRecord.of(content).xxh3.encode() + b"\n")
        write_atomically(self.run_file, content)

    def run_is_whole(self) -> bool:
        """Whether run.json is what `write_run` wrote."""
        return self._agrees_with_run_hash(self.run_file.read_bytes())

    def began_with(self, run: Mapping[str, Any]) -> bool:
        """Whether `write_run` wrote this run, whatever run.json holds now."""
        return self._agrees_with_run_hash(json_bytes(run, indent=1))

    def _agrees_with_run_hash(self, content: bytes) -> bool:
        try:
            stored = self.run_hash_file.read_bytes()
        except FileNotFoundError:
            return False
        return stored == FileRecord.of(content).xxh3.encode() + b"\n"

    def shards(self) -> Sequence[Shard]:
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
        value = read_sealed_json(path)
        try:
            return Marker(
                Shard(shard.index, *value["rows"]),
                value["tiles"],
                tuple(ConditionTotal(*total) for total in value["conditions"]),
                tuple(Failure(**failure) for failure in value["failures"]),
                dict(value["left_out"]),
                {name: FileRecord(**record) for name, record in value["files"].items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path} is damaged ({error!r}); remove it to have that shard built again"
            ) from error

    def markers(self, shards: Iterable[Shard] | None = None) -> Iterator[Marker]:
        """The markers of these shards, of all without any, as far as there are some.

        Raises:
            UsageError: one is damaged.
        """
        for group in _groups(self.shards() if shards is None else shards):
            with self.markers_at_hand(group):
                yield from filter(None, map(self.read_marker, group))

    def write_marker(self, marker: Marker) -> None:
        """Declares a shard finished."""
        write_sealed_json(self.marker_file(marker.shard), marker.to_dict())

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
            sizes_match = all(self.size_of(p) == r.size for p, r in marker.files.items())
            return replace(marker, files={}) if sizes_match else None
        except (UsageError, OSError):
            return None

    def finished_ones(self, shards: Iterable[Shard]) -> Iterator[tuple[Shard, Marker | None]]:
        """Each of these shards with what `finished` says of it."""
        notes = self.notes()
        for group in _groups(shards):
            with self.markers_at_hand(group):
                for shard in group:
                    yield shard, self.finished(shard) if notes.done[shard.index] else None

    def notes(self) -> Notes:
        """What there is of each shard, from one look at the folder of state files."""
        count = len(self.shards())
        notes = Notes(*(np.zeros(count, bool) for _ in fields(Notes)))
        for name in self.state_files():
            if (match := _NOTE.fullmatch(name)) and int(match[1]) < count:
                getattr(notes, match[2])[int(match[1])] = True
        return notes

    def state_files(self) -> Iterator[str]:
        """Names of the files in the folder of state files."""
        with suppress(FileNotFoundError), os.scandir(self.state) as entries:
            for entry in entries:
                yield entry.name

    def remove_leftovers(self) -> None:
        """Removes what a killed build was writing; of a part only its own."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        if self.part:
            return
        for name in ("run.json", *SUMMARY_FILES):
            temporary_name(self.root / name).unlink(missing_ok=True)
        for path in self.state.glob(temporary_name(self.state / "*").name):
            path.unlink()

    @property
    def shared(self) -> bool:
        """Whether other processes write into the same folder."""
        return bool(self.part)

    @property
    def place(self) -> str:
        """What people know it by: its folder or URL."""
        return str(self.root)

    def holds(self, name: str) -> bool:
        """Whether there is a file or folder of this name."""
        return (self.root / name).exists()

    def size_of(self, name: str) -> int:
        """Size of a file in bytes.

        Raises:
            OSError: there is none.
        """
        return os.stat(f"{self.root}/{name}").st_size  # noqa: PTH116 - asked for millions of files

    def set_bad(self, shard: Shard, problems: Sequence[str]) -> None:
        """Marks a shard to be made anew; without problems takes the mark away."""
        if problems:
            write_json(self.bad_file(shard), {"shard": shard.name, "problems": list(problems)})
        else:
            # what is not there need not be removed, which a read-only disk would refuse
            if self.bad_file(shard).exists():
                self.bad_file(shard).unlink()

    def remove(self, path: Path) -> None:
        """Removes a file, if there is one."""
        path.unlink(missing_ok=True)

    def pull(self) -> None:
        """Brings the state here from where the dataset is."""

    def pull_run(self) -> None:
        """Brings run.json here, and nothing else: for one of many processes that another one tells what to make."""

    def look_again(self, shards: Iterable[Shard]) -> None:
        """Sees which of these unfinished shards others have finished by now."""

    def remove_strays(self) -> None:
        """Removes what `withdraw` has left of unfinished shards."""

    def fetch(self, names: Iterable[str]) -> None:
        """Brings files here, as far as they exist."""

    @contextmanager
    def at_hand(self, shard: Shard, files: Sequence[Path] = ()) -> Iterator[None]:
        """The files of a finished shard, or some of them, can be read here inside the block."""
        yield

    @contextmanager
    def markers_at_hand(self, shards: Sequence[Shard]) -> Iterator[None]:
        """The markers of these shards, as far as there are some, can be read here inside the block."""
        yield

    def withdraw(self, shards: Sequence[Shard]) -> None:
        """Takes back what others see of shards that are about to be made anew."""

    @contextmanager
    def outbox(self, stop: StopRequest) -> Iterator[Callable[[Marker], None]]:
        """Gives a function that takes finished shards to where the dataset is; at the end all have arrived."""
        yield lambda marker: None

    def publish(self) -> None:
        """Takes the files that describe the whole to where the dataset is."""

    def discard(self) -> None:
        """Removes what is here only to be brought elsewhere."""


def _groups(shards: Iterable[Shard]) -> Iterator[list[Shard]]:
    left = iter(shards)
    while group := list(islice(left, MARKERS_AT_ONCE)):
        yield group
