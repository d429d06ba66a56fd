"""One shard of a built dataset, from a folder or a URL, whose tiles are read in any order."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from noisegen.errors import InputError, NoisegenError, UsageError
from noisegen.remote import download, download_all
from noisegen.stores import RemoteError
from noisegen.synthesis.files import FileRecord
from noisegen.synthesis.formats import TileReader, format_named
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import pixel_hash, read_index
from noisegen.synthesis.shards import Shard

__all__ = ["OpenShard", "ShardSource", "Tile"]

COLUMNS = ("key", "split", "camera", "iso", "noisy_pixels_xxh3", "clean_pixels_xxh3")


class Tile(NamedTuple):
    """A pair; a named tuple, so that PyTorch's DataLoader makes batches of it.

    Attributes:
        noisy, clean: uint8 or uint16 [H, W, C].
        camera, iso: the condition of the noise.
        key: its name in the dataset's index.
    """

    noisy: np.ndarray
    clean: np.ndarray
    camera: str
    iso: int
    key: str


@dataclass(frozen=True)
class ShardSource:
    """Where shards are had from.

    Attributes:
        folder: that their files are read in: the dataset's own, or one for copies, with its run.json.
        url: of the dataset; None where `folder` is it.
        format: the dataset's.
        split: whose tiles are wanted; "" for all.
    """

    folder: DatasetFolder
    url: str | None
    format: str
    split: str

    def open(self, shard: Shard, tiles: int) -> OpenShard:
        """Copies a shard here where it is behind a URL, and opens it.

        Args:
            shard: which one.
            tiles: that it is known to have.

        Raises:
            UsageError: it is damaged or missing.
            RemoteError: the URL cannot be read.
            NoisegenError: the disk here is full.
        """
        with self.naming(shard):
            folder = self.folder if self.url is None else self._copy(self.url, shard)
            rows = read_index(folder.index_file(shard), COLUMNS)
            rows = [row for row in rows if not self.split or row["split"] == self.split]
            if len(rows) != tiles:
                raise InputError("damaged", f"its index table lists {len(rows)} tiles instead of {tiles}")
            reader = format_named(self.format).open_tiles(folder, shard)
            return OpenShard(self, shard, rows, reader, None if self.url is None else folder.root)

    @contextmanager
    def naming(self, shard: Shard) -> Iterator[None]:
        """Has errors of reading name the dataset and the shard, and say what to do."""
        place = self.url or str(self.folder.root)
        try:
            yield
        except RemoteError as error:
            if error.reason != "missing":
                raise
            raise _damaged(place, shard, error) from error
        except (InputError, OSError, KeyError, pa.ArrowException) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoisegenError(
                    f"no room to copy shard {shard.name} of {place} to {tempfile.gettempdir()}; point TMPDIR to a "
                    "larger disk"
                ) from error
            raise _damaged(place, shard, error) from error

    def _copy(self, url: str, shard: Shard) -> DatasetFolder:
        """Copies a shard's files, but those of other splits only, into a folder of their own.

        One epoch may end with the shard that the next one begins with: then there are two copies for a while.
        """
        folder = DatasetFolder(Path(tempfile.mkdtemp(prefix=f"{shard.name}-", dir=self.folder.root)))
        shutil.copy(self.folder.run_file, folder.run_file)
        marker_file = folder.marker_file(shard)
        download(f"{url}/{marker_file.relative_to(folder.root).as_posix()}", marker_file)
        marker = folder.read_marker(shard)
        assert marker is not None
        files: dict[str, FileRecord] = {
            name: record
            for name, record in marker.files.items()
            if not self.split or not name.startswith("splits/") or name.startswith(f"splits/{self.split}/")
        }
        download_all(url, folder.root, files)
        for name, record in files.items():
            size = (folder.root / name).stat().st_size
            if size != record.size:
                raise InputError("damaged", f"{name} has {size} bytes instead of {record.size}")
        return folder


@dataclass(frozen=True)
class OpenShard:
    """A shard whose files are here; several threads may read it.

    Attributes:
        source: where it is from.
        shard: which one.
        rows: of the index table, those tiles that are wanted.
        reader: of its tiles.
        copy: folder that is removed when it is closed; None where the files are the dataset's own.
    """

    source: ShardSource
    shard: Shard
    rows: list[dict[str, Any]]
    reader: TileReader
    copy: Path | None

    def tile(self, number: int) -> Tile:
        """Decodes a tile and compares its pixels with their hashes.

        Raises:
            UsageError: it is damaged or missing.
        """
        row = self.rows[number]
        key = str(row["key"])
        with self.source.naming(self.shard):
            noisy, clean = self.reader.read(key)
            for side, pixels in (("noisy", noisy), ("clean", clean)):
                if pixel_hash(pixels) != row[f"{side}_pixels_xxh3"]:
                    raise InputError("damaged", f"the {side} pixels of tile {key} are not those written")
        return Tile(noisy, clean, str(row["camera"]), int(row["iso"]), key)

    def close(self) -> None:
        """Removes what was copied here."""
        self.reader.close()
        if self.copy is not None:
            shutil.rmtree(self.copy, ignore_errors=True)


def _damaged(place: str, shard: Shard, error: Exception) -> UsageError:
    return UsageError(
        f"{place}: shard {shard.name} cannot be read ({error}); run noisegen verify on the dataset, then the command "
        "that built it, which makes the shard anew"
    )
