"""Lossless PNG at the speed of synthesis: one fixed filter, and no search for what noise does not repeat."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from importlib import metadata

import cv2
import numpy as np

from noisegen.errors import InputError
from noisegen.integrity import PNG_SIGNATURE, check_png, crc32
from noisegen.native import library
from noisegen.native.png import png_data

try:
    from isal import isal_zlib
except ImportError:  # not built for every kind of processor
    isal_zlib = None  # type: ignore[assignment]

__all__ = ["decode_png", "encode_png", "png_encoder"]

_LEVELS = ("stored", "fast", "small")
_NO_FILTER, _UP_FILTER, _AVERAGE_FILTER = 0, 2, 3
_HEADER_END = 33
_OPENCV_PARAMETERS = {
    "fast": [],
    "small": [
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_STRATEGY_RLE,
        cv2.IMWRITE_PNG_FILTER,
        cv2.IMWRITE_PNG_FILTER_AVG,
    ],
}


def png_encoder() -> str:
    """Names and versions of what deflates: `encode_png` gives the same bytes where they are the same."""
    general = f"opencv {cv2.__version__}" if isal_zlib is None else f"isal {metadata.version('isal')}"
    return general if library() is None else f"noisegen, {general}"


def encode_png(
    image: np.ndarray, chunks: Sequence[tuple[bytes, bytes]] = (), *, level: str = "fast"
) -> bytes:
    """Encodes a picture without loss, several times faster than general encoders.

    Noise leaves little to gain from choosing a filter per row or searching for long matches. ``fast`` predicts
    from the pixels above and to the left and gives frequent differences short codes; ``small`` also tries to refer
    to what was there before; ``stored`` does not compress. Without `noisegen.native` isal deflates for ``fast``, too,
    and predicts from the row above; where isal is not there either, OpenCV does all of it. The bytes are a pure
    function of the picture (for one `png_encoder` on one kind of processor).

    Args:
        image: [H, W, C] uint8 or uint16 with C = 1 (grey) or 3 (RGB).
        chunks: names and contents of further chunks, put before the pixels.
        level: ``stored``, ``fast`` or ``small``.

    Raises:
        ValueError: another shape, type or level.
    """
    if level not in _LEVELS:
        raise ValueError(f"level must be one of {', '.join(_LEVELS)}, not {level!r}")
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"a picture must be [H, W, 1] or [H, W, 3] and not empty, not {list(image.shape)}")
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"a picture must be uint8 or uint16, not {image.dtype}")
    further = b"".join(_chunk(name, content) for name, content in chunks)
    found: list[bytes | memoryview] = []
    if level == "stored":
        found.append(zlib.compress(_filtered(image, _NO_FILTER).data, 0))
    elif library() is not None:
        found.append(png_data(_rows(image), image.shape[2] * image.dtype.itemsize).data)
    elif isal_zlib is None:
        whole = _encode_with_opencv(image, level)
        return whole[:_HEADER_END] + further + whole[_HEADER_END:]
    elif level == "fast":
        found.append(isal_zlib.compress(_filtered(image, _UP_FILTER), 1))
    if level == "small" and isal_zlib is not None:
        found.append(isal_zlib.compress(_filtered(image, _AVERAGE_FILTER), 3))
    height, width, channels = image.shape
    colour_type = 0 if channels == 1 else 2
    header = struct.pack(">IIBBBBB", width, height, 8 * image.dtype.itemsize, colour_type, 0, 0, 0)
    before, after = PNG_SIGNATURE + _chunk(b"IHDR", header) + further, _chunk(b"IEND", b"")
    return b"".join([before, *_chunk_parts(b"IDAT", min(found, key=len)), after])


def decode_png(data: bytes) -> np.ndarray:
    """Decodes a grey or RGB PNG of 8 or 16 bits.

    Returns:
        [H, W, C] uint8 or uint16, C = 1 (grey) or 3 (RGB).

    Raises:
        InputError: ``unreadable`` (no PNG, damaged), ``truncated`` or ``unsupported_mode`` (alpha, palette).
    """
    check_png(data)
    # depth and colour type stand behind the first chunk's name and the two sides
    if data[8:16] != b"\0\0\0\rIHDR" or data[24] not in (8, 16) or data[25] not in (0, 2):
        raise InputError("unsupported_mode", "only grey and RGB PNG of 8 or 16 bits can be decoded here")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError("unreadable", "damaged: the picture data of this PNG cannot be decoded")
    if pixels.ndim == 2:
        return pixels[..., None]
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def _rows(image: np.ndarray) -> np.ndarray:
    """The bytes of the samples, [H, N], 16-bit ones with the higher byte first."""
    samples = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder(">")).view(np.uint8)
    return samples.reshape(image.shape[0], -1)


def _filtered(image: np.ndarray, filter_type: int) -> np.ndarray:
    """The rows as PNG deflates them: a byte for the filter, then the samples' bytes less what it predicts."""
    rows = _rows(image)
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = filter_type
    if filter_type == _NO_FILTER:
        filtered[:, 1:] = rows
    elif filter_type == _UP_FILTER:
        filtered[0, 1:] = rows[0]
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    else:
        step = image.shape[2] * image.dtype.itemsize
        above, left = np.zeros_like(rows), np.zeros_like(rows)
        above[1:], left[:, step:] = rows[:-1], rows[:, :-step]
        # the mean, rounded down, without leaving 8 bits
        np.subtract(rows, (above & left) + ((above ^ left) >> 1), out=filtered[:, 1:])
    return filtered


def _encode_with_opencv(image: np.ndarray, level: str) -> bytes:
    bgr = np.ascontiguousarray(image[..., ::-1])
    done, data = cv2.imencode(".png", bgr, _OPENCV_PARAMETERS[level])
    if not done:
        raise ValueError("OpenCV cannot encode this picture")
    return data.tobytes()


def _chunk(name: bytes, content: bytes) -> bytes:
    return b"".join(_chunk_parts(name, content))


def _chunk_parts(name: bytes, content: bytes | memoryview) -> tuple[bytes, bytes, bytes | memoryview, bytes]:
    crc = crc32(content, crc32(name))
    return struct.pack(">I", len(content)), name, content, struct.pack(">I", crc)
