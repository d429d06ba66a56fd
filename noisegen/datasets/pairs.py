"""Tables of real noisy/clean pairs: read, checked as a whole before any work starts, loaded one by one."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisegen.conditions import Condition
from noisegen.errors import InputError, UsageError
from noisegen.images import ImageInfo, probe, read_image
from noisegen.suggestions import did_you_mean, did_you_mean_path

__all__ = [
    "Pair",
    "PairRow",
    "RowProblem",
    "file_sha256",
    "keep_cameras",
    "load_pair",
    "read_pairs",
    "read_rows",
    "relative_paths",
    "splits_of",
    "write_rows",
]

REQUIRED = ("noisy_path", "clean_path", "camera", "iso")
OPTIONAL = ("split", "scene", "dataset", "name", "width", "height")
LISTED_PROBLEMS = 20


@dataclass(frozen=True)
class Pair:
    """A noisy photograph and a clean one of the same scene, pixel by pixel.

    Attributes:
        noisy_path, clean_path: absolute paths.
        condition: camera and ISO of the noisy one.
        split: name of the part of the table it belongs to, if the table says so.
        name: unique within its table (see `read_pairs`).
        dataset: source of the pair, if the table says so; scores are grouped by it.
    """

    noisy_path: Path
    clean_path: Path
    condition: Condition
    split: str | None
    name: str
    dataset: str | None = None


@dataclass(frozen=True)
class RowProblem:
    """Why a row is no pair: reason ``bad_row``, ``unreadable``, ``size_mismatch`` or ``format_mismatch``."""

    reason: str
    message: str


@dataclass(frozen=True)
class PairRow:
    """A row of a table of pairs, good or bad.

    Attributes:
        number: counted from 1 after the header.
        fields: the row's text by column.
        name: see `read_pairs`.
        pair: None where there are problems.
        problems: empty for a good row.
    """

    number: int
    fields: Mapping[str, str]
    name: str
    pair: Pair | None
    problems: tuple[RowProblem, ...]


def read_pairs(table: Path, *, split: str | None = None) -> list[Pair]:
    """Reads a CSV or Parquet table of pairs and checks every selected row, headers of both pictures included.

    Columns: ``noisy_path``, ``clean_path``, ``camera``, ``iso``; optional ``split``, ``scene``, ``dataset``,
    ``name``, ``width``, ``height`` (the last two are for people; sizes are taken from the pictures). Relative
    paths start at the table's folder. A pair's name is its ``name``, ``scene``, file stem of ``noisy_path``
    or ``noisy_path`` itself: the first of these that is different in all rows of the table.

    Args:
        table: a ``.csv`` or ``.parquet`` file.
        split: keep (and check) only the rows of this split.

    Raises:
        UsageError: the table cannot be read, a column is unknown or absent, the split does not occur, or rows
            are bad; then the first 20 problems are listed with row numbers, counted from 1 after the header.
    """
    rows = read_rows(table, split=split)
    problems = [f"row {row.number}: {problem.message}" for row in rows for problem in row.problems]
    if problems:
        listed = "\n  ".join(problems[:LISTED_PROBLEMS])
        rest = len(problems) - LISTED_PROBLEMS
        more = f"\n  and {rest} more" if rest > 0 else ""
        raise UsageError(
            f"{table}: {len(problems)} problem(s); correct or remove these rows:\n  {listed}{more}"
        )
    return [row.pair for row in rows if row.pair]


def read_rows(table: Path, *, split: str | None = None) -> list[PairRow]:
    """As `read_pairs`, but a bad row comes back with its problems beside the good ones.

    Raises:
        UsageError: the table as a whole cannot be used.
    """
    columns, rows = _read_table(table)
    _check_columns(table, columns)
    if not rows:
        raise UsageError(f"{table}: the table has no rows")
    names = _names(rows)
    return [
        _pair_row(index + 1, rows[index], names[index], table.parent)
        for index in _select(table, columns, rows, split)
    ]


def write_rows(output: Path, rows: Iterable[Mapping[str, str]], *, base: Path) -> None:
    """Writes a CSV table of pairs; the columns are those of the first row.

    Args:
        output: the table; its folder is made where needed.
        rows: text by column.
        base: folder at which their relative paths start; they are rewritten to start at the folder of
            ``output``.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    # resolved, for ".." does not lead back out of a linked folder
    folder, base = output.parent.resolve(), base.resolve()
    with output.open("w", newline="", encoding="utf-8") as file:
        writer: csv.DictWriter[str] | None = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                writer.writeheader()
            moved = {
                key: os.path.relpath(_absolute(base, row[key]), folder)
                for key in ("noisy_path", "clean_path")
                if row[key] and not Path(row[key]).is_absolute()
            }
            writer.writerow({**row, **moved})


def load_pair(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Decodes both pictures of a pair.

    Returns:
        (noisy, clean), each [H, W, C] uint8 or uint16, RGB or grey.

    Raises:
        InputError: a picture cannot be decoded, or they differ in size, channels or bit depth
            (``pair_mismatch``).
    """
    noisy, clean = read_image(pair.noisy_path), read_image(pair.clean_path)
    if noisy.shape != clean.shape or noisy.dtype != clean.dtype:
        raise InputError(
            "pair_mismatch",
            f"{pair.noisy_path} is {noisy.shape} {noisy.dtype} but "
            f"{pair.clean_path} is {clean.shape} {clean.dtype}; both must be alike",
        )
    return noisy, clean


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal: what identifies a table in cards and records."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def splits_of(table: Path) -> tuple[str, ...]:
    """The names of the splits that occur in a table, sorted; none where it has no such column.

    Raises:
        UsageError: the table cannot be read.
    """
    return tuple(sorted({row["split"] for row in _read_table(table)[1] if row.get("split")}))


def relative_paths(table: Path) -> list[str]:
    """The pictures that a table names by relative paths, each once, in its order.

    Raises:
        UsageError: the table cannot be read, or has not the columns of one.
    """
    columns, rows = _read_table(table)
    _check_columns(table, columns)
    named = [row[key] for row in rows for key in ("noisy_path", "clean_path")]
    return list(dict.fromkeys(path for path in named if path and not Path(path).is_absolute()))


def keep_cameras(pairs: Sequence[Pair], cameras: Sequence[str], table: Path) -> list[Pair]:
    """The pairs of these cameras; all where none is named.

    Raises:
        UsageError: a camera does not occur among the pairs of `table`; those that do are listed.
    """
    known = sorted({pair.condition.camera for pair in pairs})
    for camera in cameras:
        if camera not in known:
            hint = did_you_mean(camera, known) or ";"
            raise UsageError(f"{table}: no pair of camera {camera!r}{hint} there are: {', '.join(known)}")
    return [pair for pair in pairs if not cameras or pair.condition.camera in cameras]


def _read_table(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    if not table.is_file():
        raise UsageError(
            f"{table}: no such file; give a CSV or Parquet table of pairs{did_you_mean_path(table)}"
        )
    try:
        if table.suffix.lower() == ".csv":
            return _read_csv(table)
        if table.suffix.lower() in (".parquet", ".pq"):
            content = pq.read_table(table)
            return content.column_names, [
                {key: "" if value is None else str(value).strip() for key, value in row.items()}
                for row in content.to_pylist()
            ]
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise UsageError(f"{table}: cannot be read as a table of pairs: {error}") from error
    raise UsageError(f"{table}: a table of pairs ends in .csv or .parquet")


def _read_csv(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file, strict=True) if line]
    if not lines:
        raise UsageError(f"{table}: the file is empty; the first line must name the columns")
    columns = [name.strip() for name in lines[0]]
    for number, line in enumerate(lines[1:], start=1):
        if len(line) != len(columns):
            raise UsageError(
                f"{table}: row {number} has {len(line)} fields where the header has {len(columns)}"
            )
    return columns, [dict(zip(columns, (field.strip() for field in line), strict=True)) for line in lines[1:]]


def _check_columns(table: Path, columns: list[str]) -> None:
    if len(set(columns)) != len(columns):
        raise UsageError(f"{table}: a column name occurs twice: {', '.join(columns)}")
    allowed = f"required: {', '.join(REQUIRED)}; optional: {', '.join(OPTIONAL)}"
    unknown = [name for name in columns if name not in REQUIRED + OPTIONAL]
    if unknown:
        hint = did_you_mean(unknown[0], REQUIRED + OPTIONAL) or ";"
        raise UsageError(f"{table}: unknown column {', '.join(map(repr, unknown))}{hint} {allowed}")
    absent = [name for name in REQUIRED if name not in columns]
    if absent:
        raise UsageError(f"{table}: column {', '.join(map(repr, absent))} is missing; {allowed}")


def _select(table: Path, columns: list[str], rows: list[dict[str, str]], split: str | None) -> list[int]:
    if split is None:
        return list(range(len(rows)))
    if "split" not in columns:
        raise UsageError(f"{table}: split {split!r} was asked for, but the table has no 'split' column")
    selected = [index for index, row in enumerate(rows) if row["split"] == split]
    if not selected:
        there = sorted({row["split"] for row in rows if row["split"]})
        hint = did_you_mean(split, there) or ";"
        raise UsageError(
            f"{table}: split {split!r} does not occur{hint} there are: {', '.join(there) or 'none'}"
        )
    return selected


def _names(rows: list[dict[str, str]]) -> list[str]:
    candidates = (
        [row.get("name", "") for row in rows],
        [row.get("scene", "") for row in rows],
        [Path(row["noisy_path"]).stem for row in rows],
    )
    for names in candidates:
        if all(names) and len(set(names)) == len(names):
            return names
    return [row["noisy_path"] for row in rows]


def _pair_row(number: int, row: Mapping[str, str], name: str, folder: Path) -> PairRow:
    problems = tuple(_problems(row, folder))
    if problems:
        return PairRow(number, row, name, None, problems)
    condition = Condition(row["camera"], _iso(row["iso"]))
    noisy, clean = (_absolute(folder, row[key]) for key in ("noisy_path", "clean_path"))
    pair = Pair(noisy, clean, condition, row.get("split") or None, name, row.get("dataset") or None)
    return PairRow(number, row, name, pair, ())


def _problems(row: Mapping[str, str], folder: Path) -> Iterator[RowProblem]:
    if not row["camera"]:
        yield RowProblem("bad_row", "camera is empty")
    if _iso(row["iso"]) <= 0:
        yield RowProblem("bad_row", f"iso {row['iso']!r} is not a positive whole number")
    infos: list[ImageInfo] = []
    for key in ("noisy_path", "clean_path"):
        if not row[key]:
            yield RowProblem("bad_row", f"{key} is empty")
            continue
        try:
            infos.append(probe(_absolute(folder, row[key])))
        except InputError as error:
            yield RowProblem("unreadable", f"{key}: {error}")
    if len(infos) == 2:
        noisy, clean = infos
        if (noisy.width, noisy.height) != (clean.width, clean.height):
            yield RowProblem(
                "size_mismatch",
                f"{row['noisy_path']} is {noisy.width}x{noisy.height} but {row['clean_path']} is "
                f"{clean.width}x{clean.height}; both must have the same size",
            )
        if (noisy.channels, noisy.bits) != (clean.channels, clean.bits):
            yield RowProblem(
                "format_mismatch",
                f"{row['noisy_path']} has {noisy.channels} channel(s) of {noisy.bits} bits but "
                f"{row['clean_path']} has {clean.channels} of {clean.bits}; both must be alike",
            )


def _iso(text: str) -> int:
    """The ISO as a number, 0 where it is not a whole one ("3200.0", as spreadsheets write it, is)."""
    try:
        value = float(text)
    except ValueError:
        return 0
    return int(value) if value.is_integer() else 0


def _absolute(folder: Path, path: str) -> Path:
    return (folder / path).absolute()
