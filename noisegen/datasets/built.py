"""Reads what `noisegen build-dataset` wrote, any of its formats, tile by tile in any order."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from noisegen.conditions import Condition
from noisegen.errors import InputError, UsageError
from noisegen.images import ImageInfo
from noisegen.remote import fetch
from noisegen.stores import RemoteError
from noisegen.suggestions import did_you_mean
from noisegen.synthesis.formats import TileReader, format_named
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import read_index
from noisegen.synthesis.shards import Shard

__all__ = ["BuiltDataset", "run_of_built", "splits_of_built"]

COLUMNS = ("key", "split", "camera", "iso", "noisy_pixels_xxh3", "clean_pixels_xxh3")


@dataclass
class BuiltDataset:
    """A finished dataset; it can be sent to other processes.

    Attributes:
        root: its folder.
        bit_depth: of the pixels, 8 to 16.
        tiles: key and condition of each, in the order of the manifest.
        fingerprint: a hash of all tiles' content.
    """

    root: Path
    bit_depth: int
    tiles: tuple[tuple[str, Condition], ...]
    fingerprint: str
    _format: str
    _shards: dict[str, Shard]
    _open: dict[int, TileReader] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, root: Path, split: str | None = None) -> BuiltDataset:
        """Reads the index of a dataset.

        Args:
            root: its folder.
            split: that is wanted; None or "" for all tiles.

        Raises:
            UsageError: the folder holds none, it is not finished, or it has no such tiles.
        """
        folder = DatasetFolder(root)
        run = folder.read_run()
        tiles: list[tuple[str, Condition]] = []
        shards: dict[str, Shard] = {}
        content = xxhash.xxh3_128()
        for shard in folder.shards():
            if folder.finished(shard) is None:
                raise UsageError(
                    f"{root}: shard {shard.name} is not finished; build the dataset to its end first"
                )
            for row in read_index(folder.index_file(shard), COLUMNS):
                if split and row["split"] != split:
                    continue
                key = str(row["key"])
                tiles.append((key, Condition(str(row["camera"]), int(row["iso"]))))
                shards[key] = shard
                content.update(f"{key} {row['noisy_pixels_xxh3']} {row['clean_pixels_xxh3']}\n".encode())
        if not tiles:
            there = sorted(run["config"].get("split") or ())
            named = f" of split {split!r}{did_you_mean(split, there)}" if split else ""
            raise UsageError(f"{root}: the dataset has no tiles{named}")
        return cls(
            root,
            int(run["bit_depth"]),
            tuple(tiles),
            content.hexdigest(),
            str(run["config"]["format"]),
            shards,
        )

    @cached_property
    def info(self) -> ImageInfo:
        """Of every tile, as the first one is."""
        _, clean = self.load(self.tiles[0][0])
        height, width, channels = clean.shape
        return ImageInfo(width, height, channels, 8 * clean.dtype.itemsize, "PNG")

    def load(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Decodes (noisy, clean) of a tile, each [H, W, C] uint8 or uint16.

        Raises:
            UsageError: it cannot be read.
        """
        try:
            noisy, clean = self._reader(self._shards[key]).read(key)
        except (InputError, OSError, KeyError) as error:
            raise UsageError(
                f"{self.root}: tile {key} cannot be read ({error}); run noisegen verify, then build again"
            ) from error
        return noisy, clean

    def __getstate__(self) -> dict[str, Any]:
        # another process opens shards of its own
        return {name: value for name, value in vars(self).items() if name not in ("_open", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _open={}, _lock=threading.Lock())

    def _reader(self, shard: Shard) -> TileReader:
        with self._lock:
            if shard.index not in self._open:
                reading = format_named(self._format)
                self._open[shard.index] = reading.open_tiles(DatasetFolder(self.root), shard)
            return self._open[shard.index]


def run_of_built(place: Path | str) -> dict[str, Any]:
    """The contents of run.json of the dataset in a folder or at a URL.

    Raises:
        UsageError: there is no dataset.
        RemoteError: the URL cannot be read.
    """
    if isinstance(place, Path):
        return DatasetFolder(place).read_run()
    try:
        run: dict[str, Any] = json.loads(fetch(f"{place}/run.json"))
    except RemoteError as error:
        if error.reason != "missing":
            raise
        raise UsageError(
            f"{place} holds no dataset of noisegen (no run.json); give the URL of one"
        ) from error
    except ValueError as error:
        raise UsageError(
            f"{place}/run.json is damaged; the same build-dataset command writes it anew"
        ) from error
    return run


def splits_of_built(place: Path | str) -> set[str]:
    """Names of the splits of a dataset; empty where it has none.

    Raises:
        UsageError: there is no dataset.
        RemoteError: the URL cannot be read.
    """
    return set(run_of_built(place)["config"]["split"] or ())
