"""Columns and cells of a manifest: which types they may have, and their values."""

from __future__ import annotations

import datetime
import decimal
import math
from pathlib import Path

import pyarrow as pa

from noisegen.errors import InputError, UsageError
from noisegen.suggestions import did_you_mean

__all__ = ["OWN_COLUMNS", "check_columns", "json_value", "one_line", "read_cell", "read_id", "whole_iso"]

OWN_COLUMNS = ("path", "camera", "iso", "id")


def check_columns(path: Path, schema: pa.Schema) -> tuple[str, ...]:
    """The columns that are carried through, in the file's order.

    Raises:
        UsageError: there is no `path` column, a column occurs twice, or one has a type that cannot be used.
    """
    names = schema.names
    if "path" not in names:
        raise UsageError(
            f"{path} has no column 'path' (its columns: {', '.join(names) or 'none'}); rename the column that holds "
            f"the photographs' paths, or scan them with noisegen make-manifest{did_you_mean('path', names)}"
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(f"{path} has the column {repeated[0]!r} more than once; rename or drop one")
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if field.name in ("path", "camera"):
            fits, wanted = _is_text(kind) or (field.name == "camera" and pa.types.is_null(kind)), "text"
        elif field.name == "iso":
            fits = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)
            wanted = "whole numbers"
        elif field.name == "id":
            fits = _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)
            wanted = "text or whole numbers"
        else:
            fits, wanted = _is_carried(field.type), "numbers, text, dates, or lists and structs of them"
        if not fits:
            raise UsageError(
                f"{path}: column {field.name!r} is of type {field.type}, but must hold {wanted}; convert or drop it"
            )
    return tuple(name for name in names if name not in OWN_COLUMNS)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_carried(kind: pa.DataType) -> bool:
    """Whether values of this type have a place in a JSON record."""
    types = pa.types
    if types.is_dictionary(kind):
        return _is_carried(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_carried(kind.value_type)
    if types.is_struct(kind):
        return all(_is_carried(kind.field(i).type) for i in range(kind.num_fields))
    checks = (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    dates = (types.is_date, types.is_time, types.is_timestamp)
    return _is_text(kind) or any(check(kind) for check in (*checks, *dates))


def read_cell(batch: pa.RecordBatch, column: str, offset: int) -> object:
    """One value as Python has it.

    Raises:
        InputError: ``bad_value``.
    """
    try:
        return batch.column(column)[offset].as_py()
    # text that is not UTF-8, a date Python cannot hold, a place beyond its dictionary
    except (ValueError, OverflowError, IndexError) as error:
        raise InputError("bad_value", f"column {column!r} cannot be read: {one_line(error)}") from error


def read_id(batch: pa.RecordBatch, offset: int) -> str:
    """A row's id, the path's text where it has none; empty where both are missing.

    Raises:
        InputError: ``bad_value``.
    """
    given = read_cell(batch, "id", offset) if "id" in batch.schema.names else None
    return str(read_cell(batch, "path", offset) or "") if given is None else str(given)


def whole_iso(value: object) -> int | None:
    """An ISO as a whole number, None where the cell is empty.

    Raises:
        InputError: ``bad_iso``.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int | float) and math.isfinite(value) and value == int(value) and value > 0:
        return int(value)
    raise InputError(
        "bad_iso", f"ISO {value} is not a positive whole number; correct it, or leave it empty to draw one"
    )


def json_value(column: str, value: object) -> object:
    """A value of a carried column as JSON can hold it: dates as ISO 8601 text, decimals as text, NaN as null.

    Raises:
        InputError: ``bad_extra``.
    """
    if isinstance(value, float):
        if math.isinf(value):
            raise InputError("bad_extra", f"column {column!r} holds {value}, which JSON cannot; correct it")
        return None if math.isnan(value) else value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, list):
        return [json_value(column, item) for item in value]
    if isinstance(value, dict):
        return {key: json_value(column, item) for key, item in value.items()}
    return value


def one_line(error: Exception) -> str:
    """The message of a library's error without its line ends."""
    return " ".join(str(error).split())
