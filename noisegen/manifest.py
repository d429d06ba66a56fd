"""The Parquet manifest: which photographs to use, under which conditions. Read and written as a stream."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from noisegen.errors import InputError, UsageError
from noisegen.manifest_cells import (
    OWN_COLUMNS,
    check_columns,
    json_value,
    one_line,
    read_cell,
    read_id,
    whole_iso,
)
from noisegen.remote import as_place, is_url
from noisegen.stores import connect
from noisegen.suggestions import did_you_mean_path

__all__ = ["BadRow", "Manifest", "ManifestRow", "write_manifest"]

_BATCH_ROWS = 1024
_ROW_GROUP_ROWS = 8192
_READ_BUFFER = 1 << 16


@dataclass(frozen=True)
class ManifestRow:
    """One photograph.

    Attributes:
        index: position in the manifest, from 0.
        path: absolute, symbolic links resolved, or a URL as text; whether a picture is there shows when it is read.
        id: names the photograph in every output and decides its noise; the path's text where the manifest has no id.
        camera, iso: None where they are to be drawn.
        extra: the other columns, as values that JSON can hold.
    """

    index: int
    path: Path | str
    id: str
    camera: str | None
    iso: int | None
    extra: dict[str, object]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: a short stable `reason` and a `message` saying what was wrong and what to do."""

    index: int
    path: str
    id: str
    reason: str
    message: str


@dataclass(frozen=True)
class Manifest:
    """An opened manifest; its rows stay on disk.

    Attributes:
        path: of the Parquet file.
        num_rows: in the whole file.
        sha256: of the file's bytes, hexadecimal.
        extra_columns: names of the columns that are carried through, in the file's order.
        base: the folder that relative paths start from: absolute, or a URL as text.
        allow_outside: whether photographs may lie elsewhere.
    """

    path: Path
    num_rows: int
    sha256: str
    extra_columns: tuple[str, ...]
    base: Path | str
    allow_outside: bool

    @classmethod
    def open(cls, path: Path, *, root: Path | str | None = None, allow_outside: bool = False) -> Manifest:
        """Checks the file and its columns.

        Args:
            path: of the Parquet file.
            root: folder or URL that relative paths start from and that photographs must lie in; the manifest's folder
                by default.
            allow_outside: accept photographs anywhere.

        Raises:
            UsageError: no Parquet file, no `path` column, a column of a wrong type, or `root` is no folder
                or a URL that cannot be used.
        """
        path = Path(path)
        file = _open_parquet(path)
        with file:
            extra = check_columns(path, file.schema_arrow)
            rows = file.metadata.num_rows
            grouped = sum(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))
        if rows != grouped:
            raise UsageError(f"{path} is damaged: it states {rows} rows and holds {grouped}; write it again")
        base = path.parent if root is None else as_place(root)
        if isinstance(base, Path):
            if not base.is_dir():
                raise UsageError(
                    f"--root {base} is not a folder; give the folder that holds the photographs"
                    f"{did_you_mean_path(base)}"
                )
            base = Path(os.path.realpath(base))
        else:
            connect(base)
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(path, rows, sha256, extra, base, allow_outside)

    def rows(self, start: int, stop: int) -> Iterator[ManifestRow | BadRow]:
        """The rows ``start <= index < stop``, in order. Memory does not depend on how many rows the file has.

        Reasons of bad rows: ``missing_path`` (null or empty), ``bad_path`` (holds a NUL byte), ``outside_root``,
        ``bad_id`` (empty text), ``bad_iso`` (not a positive whole number), ``bad_extra`` (an infinite number) and
        ``bad_value`` (a cell that cannot be read, such as text that is not UTF-8).

        Raises:
            UsageError: the file changed or is damaged.
        """
        return self.reader()(start, stop)

    def reader(self) -> Callable[[int, int], Iterator[ManifestRow | BadRow]]:
        """A function like `rows` that goes on in the file where its last call ended, if it can.

        What one call gives must have been taken before the next.
        """
        batches: Iterator[tuple[int, pa.RecordBatch]] = iter(())
        position, batch = 0, None

        def rows(start: int, stop: int) -> Iterator[ManifestRow | BadRow]:
            nonlocal batches, position, batch
            index = start
            while index < min(stop, self.num_rows):
                if batch is None or not position <= index < position + batch.num_rows:
                    # to go on is faster than to begin again, unless much lies between
                    if batch is None or not position <= index < position + _ROW_GROUP_ROWS:
                        batches = self._batches(index, self.num_rows)
                    position, batch = next(batches)
                    continue
                yield self._row(index, batch, index - position)
                index += 1

        return rows

    def ids(self, stop: int) -> Iterator[str | None]:
        """The ids of the rows before ``stop``, in order, as `rows` gives them; None for a row without one.

        Raises:
            UsageError: the file changed or is damaged.
        """
        for position, batch in self._batches(0, stop, ("path", "id")):
            for offset in range(min(batch.num_rows, stop - position)):
                try:
                    yield read_id(batch, offset) or None
                except InputError:
                    yield None

    def _batches(
        self, start: int, stop: int, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches that hold the rows from ``start`` to ``stop``, each with the index of its first row."""
        with _open_parquet(self.path) as file:
            position = 0
            for group in range(file.num_row_groups):
                length = file.metadata.row_group(group).num_rows
                if position < stop and position + length > start:
                    yield from self._group_batches(file, group, position, start, stop, columns)
                position += length

    def _group_batches(
        self,
        file: pq.ParquetFile,
        group: int,
        position: int,
        start: int,
        stop: int,
        columns: Sequence[str] | None,
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        present = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
        batches = file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=present)
        end = position + file.metadata.row_group(group).num_rows
        while position < min(stop, end):
            try:
                batch = next(batches)
                if position + batch.num_rows > end:
                    raise pa.ArrowInvalid(f"more rows than the {end} that are stated")
            except StopIteration:
                raise UsageError(
                    f"{self.path} is damaged: it has no row {position} of the {end} that it states; write it again"
                ) from None
            except (pa.ArrowException, OSError) as error:
                raise UsageError(
                    f"{self.path}: cannot be read from row {position} on: {one_line(error)}; write it again"
                ) from error
            if position + batch.num_rows > start:
                yield position, batch
            position += batch.num_rows

    def _row(self, index: int, batch: pa.RecordBatch, offset: int) -> ManifestRow | BadRow:
        text = name = ""
        try:
            name = text = str(read_cell(batch, "path", offset) or "")
            own = {
                column: read_cell(batch, column, offset)
                for column in OWN_COLUMNS
                if column in batch.schema.names
            }
            name = read_id(batch, offset)
            if not name and text:
                raise InputError("bad_id", "the id is empty text; give one, or null to use the path")
            path = self._locate(text)
            iso = whole_iso(own.get("iso"))
            camera = own.get("camera")
            extra = {
                column: json_value(column, read_cell(batch, column, offset)) for column in self.extra_columns
            }
        except InputError as error:
            message = f"{self.path.name}, row {index}: {error}"
            return BadRow(index, text, name, error.reason, message)
        return ManifestRow(index, path, name, None if camera is None else str(camera), iso, extra)

    def relative(self, path: Path | str) -> str:
        """A row's path as it is seen from `base`; unchanged where it lies outside."""
        if isinstance(path, Path):
            inside = isinstance(self.base, Path) and path.is_relative_to(self.base)
            return str(path.relative_to(self.base) if inside else path)
        return path.removeprefix(f"{self.base}/")

    def _locate(self, text: str) -> Path | str:
        if not text:
            raise InputError("missing_path", "the path is empty; give one or leave the row out")
        if "\0" in text:
            raise InputError("bad_path", f"the path {text!r} holds a NUL byte; write it again")
        place = as_place(text) if is_url(text) else text
        if isinstance(self.base, str) and isinstance(place, str) and not is_url(place) and place[0] != "/":
            place = f"{self.base}/{place}"
        located: Path | str
        if isinstance(place, str) and is_url(place):
            located = place
            inside = place.startswith(f"{self.base}/") and not _has_dots(place)
        else:
            path = os.path.realpath(os.path.join(self.base, place))  # noqa: PTH118 - pathlib is slow for millions of rows
            located = Path(path)
            inside = path.startswith(os.path.join(self.base, ""))  # noqa: PTH118
        if not (inside or self.allow_outside):
            raise InputError(
                "outside_root",
                f"{text!r} lies outside the photographs' folder; give --root FOLDER that holds all photographs, "
                "or --allow-outside",
            )
        return located


def _has_dots(url: str) -> bool:
    """Whether a part of the URL's path leads elsewhere than its text says, `%2e` included."""
    return any(unquote(part) in (".", "..") for part in url.split("/"))


def write_manifest(rows: Iterable[Mapping[str, object]], out: Path, schema: pa.Schema) -> int:
    """Writes rows as they come; the file appears under its name only when whole.

    Args:
        rows: one mapping for each row, with the names of `schema` as keys; missing keys become null.
        out: the Parquet file, replaced where it exists. Its folder is made.
        schema: columns and types.

    Returns:
        The number of rows.

    Raises:
        UsageError: the file cannot be written.
    """
    count = 0
    temporary = out.with_name(f".{out.name}.{os.getpid()}.partial")
    iterator = iter(rows)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(temporary, schema) as writer:
            while group := list(itertools.islice(iterator, _ROW_GROUP_ROWS)):
                writer.write_table(pa.Table.from_pylist([dict(row) for row in group], schema=schema))
                count += len(group)
        temporary.replace(out)
    except OSError as error:
        raise UsageError(
            f"cannot write {out}: {error.strerror or error}; choose another place with -o"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return count


def _open_parquet(path: Path) -> pq.ParquetFile:
    if path.is_dir():
        raise UsageError(
            f"{path} is a folder; scan it with: noisegen make-manifest {path} -o manifest.parquet"
        )
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise UsageError(f"{path} is not a file; give a manifest in a file")
    try:
        with path.open("rb") as file:
            head = file.read(4)
        if head == b"PAR1":
            # by default a row group, which may be the whole file, is read at once
            return pq.ParquetFile(path, buffer_size=_READ_BUFFER, pre_buffer=False)
    except FileNotFoundError:
        raise UsageError(
            f"{path} does not exist; make it with: noisegen make-manifest FOLDER -o {path}{did_you_mean_path(path)}"
        ) from None
    # the last one stands for a column's name that is not UTF-8
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as Parquet: {one_line(error)}; write it again") from error
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        target = path.with_suffix(".parquet")
        raise UsageError(
            f"{path} is a text table, a manifest is Parquet; convert it with: "
            f'python -c "import pandas; pandas.read_csv({str(path)!r}).to_parquet({str(target)!r})", '
            "or scan the photographs with noisegen make-manifest"
        )
    raise UsageError(
        f"{path} is not a Parquet file; make one with: noisegen make-manifest FOLDER -o {path.stem}.parquet"
    )
