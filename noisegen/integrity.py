"""Whether a picture file is whole: checks of its structure that decoders skip or answer with grey pixels."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from typing import BinaryIO

import numpy as np

from noisegen.errors import InputError

try:
    from isal.isal_zlib import crc32
except ImportError:  # not built for every kind of processor
    from zlib import crc32

__all__ = ["PNG_SIGNATURE", "check_jpeg", "check_riff", "check_tiff", "crc32", "read_png_chunks"]

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


def read_png_chunks(
    file: BinaryIO, wanted: Collection[bytes] = (), *, check: bool = False
) -> dict[bytes, bytes]:
    """Walks the chunks of a PNG to its end.

    Args:
        file: open at any position; left at an unspecified one.
        wanted: chunk names whose first content is returned.
        check: verify every chunk's CRC, which reads the whole file; without it contents are skipped.

    Raises:
        InputError: ``unreadable`` (no PNG, wrong CRC) or ``truncated`` (the file stops before the end chunk).
    """
    size = _size(file)
    file.seek(0)
    if file.read(8) != PNG_SIGNATURE:
        raise InputError("unreadable", "not a PNG file")
    found: dict[bytes, bytes] = {}
    position = 8
    while position + 12 <= size:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        position += 12 + length
        if position > size:
            break
        if check or name in wanted:
            content = file.read(length)
            found.setdefault(name, content if name in wanted else b"")
            if check and crc32(content, crc32(name)) != struct.unpack(">I", file.read(4))[0]:
                raise InputError("unreadable", f"damaged: wrong CRC in chunk {name.decode('latin-1')!r}")
        if name == b"IEND":
            return {key: found[key] for key in wanted if key in found}
    raise InputError("truncated", f"truncated: the file stops after {size} bytes, before its end chunk")


def check_jpeg(file: BinaryIO) -> None:
    """Looks for the end marker behind the picture data: a zero-filled tail decodes to grey without complaint.

    JPEG has no checksum, so bytes changed in the middle cannot be found.

    Raises:
        InputError: ``truncated``.
    """
    file.seek(0)
    data = file.read()
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
