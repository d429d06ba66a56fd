"""Lossless PNG at the speed of synthesis: one fixed filter and a fast deflate."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import cv2
import numpy as np
from isal import isal_zlib

from noisegen.errors import InputError
from noisegen.integrity import PNG_SIGNATURE, read_png_chunks

__all__ = ["decode_png", "encode_png"]

_UP_FILTER = 2


def encode_png(image: np.ndarray, chunks: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Encodes a picture without loss, several times faster than general encoders.

    Noise leaves little to gain from choosing a filter per row or searching for long matches, so every row is
    stored as its difference to the row above and deflated at the fastest level. The bytes are a pure function
    of the picture (for one version of the deflate library on one kind of processor).

    Args:
        image: [H, W, C] uint8 or uint16 with C = 1 (grey) or 3 (RGB).
        chunks: names and contents of further chunks, put before the pixels.

    Raises:
        ValueError: another shape or type.
    """
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"a picture must be [H, W, 1] or [H, W, 3] and not empty, not {list(image.shape)}")
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"a picture must be uint8 or uint16, not {image.dtype}")
    height, width, channels = image.shape
    samples = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder(">")).view(np.uint8)
    rows = samples.reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP_FILTER
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    colour_type = 0 if channels == 1 else 2
    header = struct.pack(">IIBBBBB", width, height, 8 * image.dtype.itemsize, colour_type, 0, 0, 0)
    data = isal_zlib.compress(filtered, 1)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"".join([PNG_SIGNATURE, *(piece for part in parts for piece in _chunk(*part))])


def decode_png(data: bytes) -> np.ndarray:
    """Decodes a grey or RGB PNG of 8 or 16 bits.

    Returns:
        [H, W, C] uint8 or uint16, C = 1 (grey) or 3 (RGB).

    Raises:
        InputError: ``unreadable`` (no PNG, damaged), ``truncated`` or ``unsupported_mode`` (alpha, palette).
    """
    header = read_png_chunks(io.BytesIO(data), (b"IHDR",), check=True).get(b"IHDR", b"")
    if len(header) != 13 or header[9] not in (0, 2) or header[8] not in (8, 16):
        raise InputError("unsupported_mode", "only grey and RGB PNG of 8 or 16 bits can be decoded here")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError("unreadable", "damaged: the picture data of this PNG cannot be decoded")
    if pixels.ndim == 2:
        return pixels[..., None]
    return np.ascontiguousarray(pixels[..., 2::-1])


def _chunk(name: bytes, content: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    crc = isal_zlib.crc32(content, isal_zlib.crc32(name))
    return struct.pack(">I", len(content)), name, content, struct.pack(">I", crc)
