"""Writing small state files so that they are either whole or absent, and hashing large ones."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from noisegen.errors import UsageError

__all__ = [
    "FileRecord",
    "json_bytes",
    "make_folder",
    "put_in_place",
    "read_json",
    "read_sealed_json",
    "record_file",
    "sealed_json",
    "sync",
    "temporary_name",
    "write_atomically",
    "write_json",
    "write_sealed_json",
]

SEAL = "xxh3"
SEAL_BEGINS = f',\n "{SEAL}": "'.encode()


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and xxh3_128 (hex) of a file."""

    size: int
    xxh3: str

    @classmethod
    def of(cls, data: bytes) -> FileRecord:
        """The record of a file with this content."""
        return cls(len(data), xxhash.xxh3_128_hexdigest(data))


def record_file(path: Path) -> FileRecord:
    """Reads a file and describes it."""
    hasher = xxhash.xxh3_128()
    size = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
            size += len(block)
    return FileRecord(size, hasher.hexdigest())


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes | Iterable[bytes], *, lasting: bool = True) -> None:
    """Replaces a file: whoever reads it, or finds it after a crash, sees the old content or the new one.

    Args:
        path: of the file.
        data: its content, in one piece or several.
        lasting: wait until it is on the disk; otherwise a machine that loses power may lose it.
    """
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
        if lasting:
            sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if lasting:
        sync(path.parent)


def make_folder(path: Path) -> None:
    """Makes a folder, and those that it lies in, lastingly."""
    for folder in reversed([path, *path.parents]):
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            sync(folder.parent)


def put_in_place(temporary: Path, final: Path) -> None:
    """Gives a file or folder that is on the disk already its final name, lastingly."""
    make_folder(final.parent)
    temporary.replace(final)
    sync(final.parent)


def temporary_name(path: Path) -> Path:
    """The name under which `write_atomically` writes."""
    return path.with_name(f".{path.name}.tmp")


def json_bytes(value: object, *, indent: int | None = None) -> bytes:
    """Canonical JSON: sorted keys, UTF-8, one newline at the end."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, indent=indent, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")


def write_json(path: Path, value: object) -> None:
    """Writes canonical JSON, indented, atomically."""
    write_atomically(path, json_bytes(value, indent=1))


def read_json(path: Path, *, advice: str = "remove it to have that shard built again") -> dict[str, Any]:
    """Reads a state file.

    Raises:
        UsageError: it holds something else than a JSON object; the message ends with ``advice``.
    """
    return _json_object(path, path.read_bytes(), advice)


def _json_object(path: Path, content: bytes, advice: str) -> dict[str, Any]:
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is damaged ({error}); {advice}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} is damaged (no JSON object); {advice}")
    return value


def write_sealed_json(path: Path, value: Mapping[str, object]) -> None:
    """Writes canonical JSON with a hash of itself at the end, so that every changed byte shows."""
    write_atomically(path, sealed_json(value))


def read_sealed_json(path: Path) -> dict[str, Any]:
    """Reads what `write_sealed_json` wrote, without the seal.

    Raises:
        UsageError: some byte has changed.
    """
    advice = "remove it to have that shard built again"
    content = path.read_bytes()
    value = _json_object(path, content, advice)
    value.pop(SEAL, None)
    # the text before the seal is hashed, not made again, which would take longer than all else
    if _with_seal(content[: content.rfind(SEAL_BEGINS)]) != content:
        raise UsageError(f"{path} is damaged (it does not fit its own hash); {advice}")
    return value


def sealed_json(value: Mapping[str, object]) -> bytes:
    """What `write_sealed_json` writes: ``value`` must not be empty."""
    return _with_seal(json_bytes(value, indent=1).removesuffix(b"\n}\n"))


def _with_seal(text: bytes) -> bytes:
    return text + SEAL_BEGINS + xxhash.xxh3_128_hexdigest(text).encode() + b'"\n}\n'
