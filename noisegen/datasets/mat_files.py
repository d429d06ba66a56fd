"""Arrays in MATLAB files, of version 5 (scipy) and 7.3 (h5py): looked at before they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisegen.errors import InputError, UsageError
from noisegen.suggestions import did_you_mean_path

if TYPE_CHECKING:
    import h5py

__all__ = ["MatArray", "mat_variables", "open_mat_array"]

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
HDF5_STARTS = (0, 512)  # MATLAB puts a text header of 512 bytes before it, h5py nothing
V5_HEADER = 128
V5_ENDS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
V5_COMPRESSED = 15


@dataclass
class MatArray:
    """One array of a MATLAB file, in the order of its axes that MATLAB shows.

    A file of version 5 can only be read whole, which happens at the first `block` and is kept. Of version 7.3 a
    block is read alone, unless the file's chunks hold parts of many blocks.

    Attributes:
        path: the file.
        variable: name of the array.
        shape: of the array.
        dtype: name of its type, for example "uint8".
    """

    path: Path
    variable: str
    shape: tuple[int, ...]
    dtype: str
    _whole: np.ndarray | None = field(default=None, repr=False)

    def block(self, index: tuple[int, ...]) -> np.ndarray:
        """The part at these indices of the first axes, contiguous.

        Raises:
            InputError: ``unreadable``, the file is damaged there.
            UsageError: the file is damaged as a whole.
        """
        if self._whole is None and _is_hdf5(self.path):
            with _open_hdf5(self.path) as file:
                stored = file[self.variable]
                if _stands_alone(stored, len(index)):
                    try:
                        # MATLAB counts axes the other way round
                        part = stored[(..., *reversed(index))]
                    except OSError as error:
                        where = ", ".join(map(str, index))
                        raise InputError(
                            "unreadable",
                            f"{self.path}: block [{where}] cannot be read: {error}; copy it again",
                        ) from error
                    return np.ascontiguousarray(part.transpose())
                self._whole = _read_hdf5(self.path, stored)
        if self._whole is None:
            self._whole = _read_v5(self.path, self.variable)
        return np.ascontiguousarray(self._whole[index])


def mat_variables(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of each variable of a MATLAB file, from the headers alone.

    Raises:
        UsageError: no such file, no MATLAB file of version 5 or 7.3, truncated, or 7.3 without h5py.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file{did_you_mean_path(path)}")
    if _is_hdf5(path):
        with _open_hdf5(path) as file:
            return {
                name: (tuple(reversed(item.shape)), str(item.dtype))
                for name, item in file.items()
                if hasattr(item, "shape")  # a group has none
            }
    _check_v5(path)
    from scipy.io import whosmat

    try:
        return {name: (tuple(shape), kind) for name, shape, kind in whosmat(path)}
    except Exception as error:  # a damaged file makes scipy raise nearly any type
        raise _damaged(path, error) from error


def open_mat_array(path: Path, variable: str, shape: tuple[int, ...], dtype: str) -> MatArray:
    """The array of this name, after its shape and type were compared with what they should be.

    Raises:
        UsageError: as `mat_variables`, or the variable is missing or something else.
    """
    variables = mat_variables(path)
    if variable not in variables:
        there = ", ".join(variables) or "none"
        raise UsageError(f"{path}: no variable {variable}; the file's variables: {there}")
    if variables[variable] != (shape, dtype):
        found_shape, found_dtype = variables[variable]
        raise UsageError(
            f"{path}: {variable} is {found_dtype} {list(found_shape)}; expected {dtype} {list(shape)}"
        )
    return MatArray(path, variable, shape, dtype)


def _is_hdf5(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(HDF5_STARTS[-1] + len(HDF5_SIGNATURE))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    return any(head[start:].startswith(HDF5_SIGNATURE) for start in HDF5_STARTS)


def _open_hdf5(path: Path) -> h5py.File:
    try:
        import h5py
    except ImportError as error:
        raise UsageError(
            f"{path} is a MATLAB file of version 7.3, which needs h5py: pip install 'noisegen[hdf5]'"
        ) from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise _damaged(path, error) from error


def _stands_alone(stored: h5py.Dataset, axes: int) -> bool:
    """Whether no chunk holds parts of two blocks; otherwise every block would decode most of the file again."""
    return stored.chunks is not None and set(stored.chunks[len(stored.shape) - axes :]) == {1}


def _read_hdf5(path: Path, stored: h5py.Dataset) -> np.ndarray:
    try:
        whole: np.ndarray = stored[()]
    except OSError as error:
        raise _damaged(path, error) from error
    return whole.transpose()


def _read_v5(path: Path, variable: str) -> np.ndarray:
    from scipy.io import loadmat

    try:
        content: dict[str, Any] = loadmat(path, variable_names=[variable])
        whole: np.ndarray = content[variable]
    except Exception as error:  # as in mat_variables
        raise _damaged(path, error) from error
    return whole


def _check_v5(path: Path) -> None:
    """Walks over the elements of the file by their stated lengths: the last must end where the file does."""
    size = path.stat().st_size
    for end in _v5_ends(path):
        if end > size:
            raise UsageError(f"{path}: truncated: {size} bytes of at least {end} are there; copy it again")


def _v5_ends(path: Path) -> Iterator[int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        order = V5_ENDS.get(file.read(V5_HEADER)[-4:])
        if order is None:
            raise UsageError(f"{path}: not a MATLAB file of version 5 or 7.3")
        end = V5_HEADER
        while end < size:
            file.seek(end)
            kind, length = np.frombuffer(file.read(8).ljust(8, b"\0"), order + "u4").tolist()
            end += 8 + length
            if kind != V5_COMPRESSED:
                end += -end % 8  # plain elements are padded
            yield end


def _damaged(path: Path, error: Exception) -> UsageError:
    text = " ".join(str(error).split()) or type(error).__name__
    return UsageError(f"{path}: damaged, or no MATLAB file: {text}; copy it again")
