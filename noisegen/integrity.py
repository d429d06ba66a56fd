"""Whether a picture file is whole: checks of its structure that decoders skip or answer with grey pixels."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO

import numpy as np

from noisegen.errors import InputError

try:
    from isal.isal_zlib import crc32
except ImportError:  # not built for every kind of processor
    from zlib import crc32

__all__ = ["PNG_SIGNATURE", "check_jpeg", "check_png", "check_riff", "check_tiff", "crc32", "read_png_chunks"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_TIFF_TYPE_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_TIFF_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}


def read_png_chunks(file: BinaryIO, wanted: Collection[bytes]) -> dict[bytes, bytes]:
    """Walks the chunks of a PNG to its end, over the pixels without reading them.

    Args:
        file: open at any position; left at an unspecified one.
        wanted: chunk names whose first content is returned.

    Raises:
        InputError: ``unreadable`` (no PNG) or ``truncated`` (the file stops before the end chunk).
    """
    found: dict[bytes, bytes] = {}
    read = _reader(file)
    for name, start, length in _png_chunks(read, _size(file)):
        if name in wanted:
            found.setdefault(name, read(start, length))
    return {name: found[name] for name in wanted if name in found}


def check_png(data: bytes) -> None:
    """Verifies the CRC of every chunk of a PNG.

    Raises:
        InputError: as `read_png_chunks`, and ``unreadable`` for a wrong CRC.
    """
    view = memoryview(data)
    for name, start, length in _png_chunks(lambda offset, count: view[offset : offset + count], len(data)):
        stored = int.from_bytes(view[start + length : start + length + 4], "big")
        # over the name, too
        if crc32(view[start - 4 : start + length]) != stored:
            raise InputError("unreadable", f"damaged: wrong CRC in chunk {name.decode('latin-1')!r}")


def _png_chunks(
    read: Callable[[int, int], bytes | memoryview], size: int
) -> Iterator[tuple[bytes, int, int]]:
    """Name, place of the content and its length, of every chunk."""
    if read(0, 8) != PNG_SIGNATURE:
        raise InputError("unreadable", "not a PNG file")
    position = 8
    while position + 12 <= size:
        length, name = struct.unpack(">I4s", read(position, 8))
        start = position + 8
        position = start + length + 4
        if position > size:
            break
        yield name, start, length
        if name == b"IEND":
            return
    raise InputError("truncated", f"truncated: the file stops after {size} bytes, before its end chunk")


def _reader(file: BinaryIO) -> Callable[[int, int], bytes]:
    """Gives so many bytes at a place; of a file on disk no more are read than asked for."""
    try:
        descriptor = file.fileno()
    except io.UnsupportedOperation:

        def read(offset: int, count: int) -> bytes:
            file.seek(offset)
            return file.read(count)

        return read
    return lambda offset, count: os.pread(descriptor, count, offset)


def check_jpeg(data: bytes) -> None:
    """Looks for the end marker behind the picture data: a zero-filled tail decodes to grey without complaint.

    JPEG has no checksum, so bytes changed in the middle cannot be found.

    Raises:
        InputError: ``truncated``.
    """
    position = 2
    while data[position : position + 1] == b"\xff" and position + 4 <= len(data):
        marker = data[position + 1]
        if marker == 0xDA:  # start of scan; a thumbnail's own end marker lies before it
            break
        # fill bytes and markers without a length
        position += 1 if marker == 0xFF else 2
        if not (marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8):
            position += struct.unpack(">H", data[position : position + 2])[0]
    if data.find(b"\xff\xd9", position) < 0:
        raise InputError("truncated", f"truncated: no end marker in the {len(data)} bytes of this JPEG")


def check_riff(file: BinaryIO) -> None:
    """Compares a WebP's stated length with the file's.

    Raises:
        InputError: ``truncated``.
    """
    size = _size(file)
    file.seek(4)
    stated = int.from_bytes(file.read(4), "little") + 8
    if stated > size:
        raise InputError("truncated", f"truncated: {size} bytes of {stated} are there")


def check_tiff(file: BinaryIO) -> None:
    """Checks that a TIFF's first directory, its values and its strips or tiles lie inside the file.

    Raises:
        InputError: ``truncated``.
    """
    size = _size(file)

    def take(offset: int, length: int) -> bytes:
        if offset + length > size:
            raise InputError(
                "truncated", f"truncated: the file has {size} bytes and names data at {offset + length}"
            )
        file.seek(offset)
        return file.read(length)

    head = take(0, 8)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    word, width = ("Q", 8) if big else ("I", 4)
    start = struct.unpack(order + word, take(8, 8) if big else head[4:8])[0]
    counter = "Q" if big else "H"
    entry_size = 4 + 2 * width
    (entries,) = struct.unpack(order + counter, take(start, struct.calcsize(counter)))
    # the link to the next directory, behind the entries, has to be there too
    table = take(start + struct.calcsize(counter), entries * entry_size + width)[:-width]
    arrays: dict[int, np.ndarray] = {}
    for tag, kind, count, value in struct.iter_unpack(f"{order}HH{word}{width}s", table):
        length = _TIFF_TYPE_SIZES.get(kind, 0) * count
        if length > width:
            value = take(struct.unpack(order + word, value)[0], length)
        if tag in (273, 279, 324, 325) and kind in _TIFF_INTEGERS:
            arrays[tag] = np.frombuffer(value[:length], order + _TIFF_INTEGERS[kind]).astype(np.int64)
    for offsets, lengths in ((273, 279), (324, 325)):
        if offsets in arrays and lengths in arrays and len(arrays[offsets]) == len(arrays[lengths]) > 0:
            take(int((arrays[offsets] + arrays[lengths]).max()), 0)


def _size(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)
