"""HDF5 files as the trainer of NM-FlowGAN's authors reads them: one for each noisy version of a photograph.

Groups `clean` and `noisy` hold the tiles 0, 1, ... as [C, H, W] uint8 or uint16, the attributes of the group `config`
are whole numbers that the trainer hands to the model. The dataset `keys` says which tile is which.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from noisegen.errors import InputError, UsageError
from noisegen.synthesis.files import FileRecord, put_in_place, record_file, sync
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import FinishedTile, TileRecord
from noisegen.synthesis.shards import Shard

if TYPE_CHECKING:
    import h5py

__all__ = ["encode", "open_shard", "open_tiles", "remove_shards"]

# the authors' codes; other cameras get UNKNOWN
CAMERA_CODES = {"IP": 0, "GP": 1, "S6": 2, "N6": 3, "G4": 4}
UNKNOWN = -1


def encode(picture: np.ndarray, png_level: str | None) -> bytes:
    """See `noisegen.synthesis.formats`: the pixels, channels first, 16-bit values little-endian."""
    planes = np.moveaxis(picture, 2, 0)
    return np.ascontiguousarray(planes, dtype=picture.dtype.newbyteorder("<")).tobytes()


class _Hdf5Shard:
    def __init__(self, folder: DatasetFolder, shard: Shard) -> None:
        self._folder = folder
        self._temporary = folder.temporary / shard.name
        self._dtype = np.dtype("u1" if int(folder.read_run()["bit_depth"]) == 8 else "<u2")
        self._names: list[str] = []  # of the files, the last one is open
        # Made in memory: where a disk is full, HDF5 may crash in closing a file that it cannot write.
        self._content = io.BytesIO()
        self._file: h5py.File | None = None
        self._keys: list[str] = []  # of the open file's tiles

    def add(self, tile: FinishedTile) -> None:
        record = tile.record
        place = self._folder.split_folder(record.split) / "hdf5" / _file_name(record.key)
        name = place.relative_to(self._folder.root).as_posix()
        if self._file is None or name != self._names[-1]:
            self._close()
            self._create(name, record)
        for side, data in (("clean", tile.clean), ("noisy", tile.noisy)):
            pixels = np.frombuffer(data, self._dtype).reshape(-1, record.tile_size, record.tile_size)
            assert self._file is not None
            self._file.create_dataset(f"{side}/{len(self._keys)}", data=pixels)
        self._keys.append(record.key)

    def finish(self) -> dict[str, FileRecord]:
        self._close()
        records: dict[str, FileRecord] = {}
        for name in self._names:
            sync(self._temporary / name)
            records[name] = record_file(self._temporary / name)
            put_in_place(self._temporary / name, self._folder.root / name)
        shutil.rmtree(self._temporary, ignore_errors=True)
        return records

    def abort(self) -> None:
        if self._file is not None:
            self._file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _create(self, name: str, record: TileRecord) -> None:
        self._names.append(name)
        self._content = io.BytesIO()
        self._file = _h5py().File(self._content, "w")
        self._file.attrs["id"] = record.id
        self._file.attrs["camera"] = record.camera
        config = self._file.create_group("config")
        for attribute, value in {
            "scene-instance-number": record.row,
            "scene-number": record.row,
            "smartphone-code": CAMERA_CODES.get(record.camera, UNKNOWN),
            "ISO-level": record.iso,
            "shutter-speed": UNKNOWN,
            "illuminant-temperature": UNKNOWN,
            "illuminant-brightness-code": UNKNOWN,
        }.items():
            config.attrs[attribute] = value

    def _close(self) -> None:
        if self._file is not None:
            self._file.create_dataset("keys", data=np.array(self._keys, "S"))
            self._file.close()
            self._file, self._keys = None, []
            path = self._temporary / self._names[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._content.getbuffer())


def open_shard(folder: DatasetFolder, shard: Shard) -> _Hdf5Shard:
    """See `noisegen.synthesis.formats`."""
    return _Hdf5Shard(folder, shard)


class _Hdf5Tiles:
    def __init__(self, folder: DatasetFolder) -> None:
        self._places = [place / "hdf5" for place in folder.split_folders().values()]

    def read(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        path = next((p for place in self._places if (p := place / _file_name(key)).exists()), None)
        if path is None:
            raise KeyError(key)
        try:
            with _h5py().File(path, "r") as file:
                (numbers,) = np.nonzero(file["keys"][...] == key.encode())
                if not len(numbers):
                    raise KeyError(key)
                noisy, clean = (file[f"{side}/{numbers[0]}"][...] for side in ("noisy", "clean"))
        except (KeyError, UsageError):
            raise
        except Exception as error:  # a damaged file makes HDF5 raise nearly any type
            raise InputError("unreadable", f"{path}: damaged: {' '.join(str(error).split())}") from error
        return _upright(noisy), _upright(clean)

    def close(self) -> None:
        pass


def open_tiles(folder: DatasetFolder, shard: Shard) -> _Hdf5Tiles:
    """See `noisegen.synthesis.formats`."""
    return _Hdf5Tiles(folder)


def remove_shards(folder: DatasetFolder, shards: Sequence[Shard]) -> None:
    """See `noisegen.synthesis.formats`. Finds what a killed build had put in place before its marker, too."""
    rows = {row for shard in shards for row in range(shard.start, shard.stop)}
    for place in folder.split_folders().values():
        for path in (place / "hdf5").glob("*.hdf5"):
            row = path.name.split("-", 1)[0]
            if row.isdecimal() and int(row) in rows:
                path.unlink()


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError as error:
        raise UsageError("format hdf5 needs h5py: pip install 'noisegen[hdf5]'") from error
    return h5py


def _file_name(key: str) -> str:
    """ROW-VARIANT.hdf5 of the tile ROW-VARIANT-Y-X."""
    return f"{key.rsplit('-', 2)[0]}.hdf5"


def _upright(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(planes, 0, 2))
