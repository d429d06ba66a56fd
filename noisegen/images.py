"""Reading photographs: 8 and 16 bits, RGB and grey, upright, and never half of one."""

from __future__ import annotations

import io
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from noisegen.errors import InputError
from noisegen.integrity import PNG_SIGNATURE, check_jpeg, check_png, check_riff, check_tiff, read_png_chunks
from noisegen.metadata import COLOUR_CHUNKS, Metadata, portable_exif

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "EncodedPicture",
    "ImageInfo",
    "probe",
    "read_exif",
    "read_image",
    "read_metadata",
]

DEFAULT_MAX_PIXELS = 250_000_000
BAND_ROWS = 64

_GREY_MODES = frozenset({"1", "L", "LA"})
_COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"})
_ORIENTATION_TAG = 0x0112
_EXIF_HEADER = b"Exif\0\0"

# Not Image.open: it tries any format Pillow knows, and its limit on pixels is a global of the user's process.
# An MPO (several JPEGs in one file, as phones write) counts as its first picture, which is the photograph.
_OPENERS: dict[str, Callable[[BinaryIO], ImageFile.ImageFile]] = {
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}


@dataclass(frozen=True)
class ImageInfo:
    """What a picture's header says.

    Attributes:
        width, height: in pixels, once upright.
        channels: 1 (grey) or 3 (RGB).
        bits: per channel, 8 or 16.
        format: name of the file format, for example ``"JPEG"``.
    """

    width: int
    height: int
    channels: int
    bits: int
    format: str


@dataclass(frozen=True)
class EncodedPicture:
    """The content of a picture file that is no local one; ``name`` stands for the path in messages."""

    name: str
    data: bytes

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class _Header:
    image: ImageFile.ImageFile
    info: ImageInfo
    orientation: int  # still to be applied, 1 to 8
    chunks: dict[bytes, bytes]  # of a PNG


def probe(source: Path | EncodedPicture, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> ImageInfo:
    """Reads a picture's header, without its pixels.

    Raises:
        InputError: as `read_image`, as far as the header tells: not transparency, nor damage to the pixels.
    """
    with _open(source) as file:
        return _read_header(file, max_pixels).info


def read_image(source: Path | EncodedPicture, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """Decodes a PNG, JPEG, TIFF, BMP, WebP or GIF file, or the bytes of one.

    The EXIF orientation is applied. Palettes become RGB, 1-bit pictures grey; an opaque alpha channel is
    dropped. Nothing is repaired or guessed.

    Returns:
        [H, W, C] uint8 or uint16, C = 3 (RGB) or 1 for a picture with one channel.

    Raises:
        InputError: ``missing``, ``empty_file``, ``unreadable`` (no picture, or damaged), ``truncated``,
            ``cmyk``, ``animated`` (more than one frame or page), ``alpha`` (a pixel is transparent),
            ``too_large`` (more than `max_pixels`, found before decoding), ``unsupported_mode`` or ``memory``
            (which is no fault of the file).
    """
    with _open(source) as file:
        header = _read_header(file, max_pixels)
        if header.info.format in ("PNG", "JPEG") or header.info.bits == 16:
            pixels = _decode_with_opencv(file, header)
        else:
            pixels = _decode_with_pillow(header.image)
        return np.ascontiguousarray(_upright(pixels, header.orientation))


def read_exif(source: Path | EncodedPicture) -> Image.Exif:
    """The EXIF tags of a picture, empty where it has none or they cannot be read.

    Raises:
        InputError: as `probe`, without a limit on pixels.
    """
    with _open(source) as file:
        header = _read_header(file, None)
        return _exif(header.image, header.chunks)


def read_metadata(source: Path | EncodedPicture) -> Metadata:
    """EXIF and colour profile of a picture, for another file that holds what `read_image` gives.

    Raises:
        InputError: as `probe`, without a limit on pixels.
    """
    with _open(source) as file:
        header = _read_header(file, None)
        exif = _exif(header.image, header.chunks)
        return Metadata(
            portable_exif(exif, header.info.width, header.info.height),
            header.image.info.get("icc_profile") or b"",
            {name: header.chunks[name] for name in COLOUR_CHUNKS if name in header.chunks},
        )


@contextmanager
def _open(source: Path | EncodedPicture) -> Iterator[BinaryIO]:
    """Opens a regular file; whatever goes wrong inside becomes an InputError that names the file."""
    try:
        with io.BytesIO(source.data) if isinstance(source, EncodedPicture) else _open_file(source) as file:
            if file.seek(0, io.SEEK_END) == 0:
                raise InputError("empty_file", "the file has 0 bytes; copy it again")
            file.seek(0)
            yield file
    except InputError as error:
        raise InputError(error.reason, f"{source}: {error}") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            "missing", f"{source}: no such file; check the path and the manifest's folder"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError("too_large", f"{source}: {error}; cut it into smaller pictures") from error
    except Exception as error:  # decoders answer a damaged file with nearly any type of exception
        text = " ".join(str(error).split()) or type(error).__name__
        if "truncated" in text.lower():
            raise InputError("truncated", f"{source}: {text}; copy the file again") from error
        if isinstance(error, MemoryError) or "Insufficient memory" in text:  # OpenCV's words
            raise InputError(
                "memory",
                f"{source}: not enough memory to read it; use fewer --workers or a machine with more",
            ) from error
        if "pixel mode" in text:
            raise InputError(
                "unsupported_mode", f"{source}: {text}; save it as 8 or 16-bit RGB or grey"
            ) from error
        raise InputError("unreadable", f"{source}: cannot be read: {text}") from error


def _open_file(path: Path) -> BinaryIO:
    # a pipe or device in a manifest must not block the run
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError("unreadable", "not a file; give the path of a picture")
    return path.open("rb")


def _read_header(file: BinaryIO, max_pixels: int | None) -> _Header:
    kind = _identify(file)
    chunks: dict[bytes, bytes] = {}
    if kind == "PNG":
        chunks = read_png_chunks(file, (b"IHDR", b"eXIf", b"tRNS", *COLOUR_CHUNKS))
    elif kind == "TIFF":
        check_tiff(file)
    elif kind == "WEBP":
        check_riff(file)
    file.seek(0)
    image = _OPENERS[kind](file)
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        raise InputError(
            "too_large",
            f"{width}x{height} = {width * height} pixels, more than the limit of {max_pixels}; "
            "cut it into smaller pictures",
        )
    if getattr(image, "is_animated", False):
        raise InputError(
            "animated", f"{kind} with more than one frame or page; save the one you want by itself"
        )
    bits = _bits(image, kind, chunks)
    # Pillow turns TIFFs itself and reports their upright size; for 16 bits OpenCV does
    orientation = 1 if kind == "TIFF" else int(_exif(image, chunks).get(_ORIENTATION_TAG, 1))
    if orientation >= 5:
        width, height = height, width
    grey = image.mode in _GREY_MODES or (bits == 16 and image.mode.startswith("I;16"))
    if kind == "PNG" and bits == 16:
        grey = chunks[b"IHDR"][9] in (0, 4)
    return _Header(image, ImageInfo(width, height, 1 if grey else 3, bits, kind), orientation, chunks)


def _identify(file: BinaryIO) -> str:
    head = file.read(16)
    if head[:8] == PNG_SIGNATURE:
        return "PNG"
    if head[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0"):
        return "TIFF"
    if head[:4] == b"MM\0+":  # Pillow takes its header for another
        raise InputError("unsupported_mode", "big-endian BigTIFF is not read; save it as a plain TIFF or PNG")
    if head[:2] == b"BM":
        return "BMP"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    raise InputError("unreadable", "not a PNG, JPEG, TIFF, BMP, WebP or GIF picture")


def _bits(image: ImageFile.ImageFile, kind: str, chunks: dict[bytes, bytes]) -> int:
    if image.mode == "CMYK":
        raise InputError(
            "cmyk", "CMYK has no defined RGB values; convert the picture to RGB with its colour profile"
        )
    if kind == "PNG" and chunks[b"IHDR"][8] == 16:
        return 16
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        bits = set(tags.get(258, (1,)))
        unsigned = set(tags.get(339, (1,))) == {1}
        # OpenCV reads separate planes and inverted grey of 16 bits as something else without a word
        plain = tags.get(262) in (1, 2) and tags.get(284, 1) == 1
        if bits == {16} and unsigned and plain:
            return 16
        if max(bits) > 8 or not unsigned:
            depth = "/".join(map(str, sorted(bits)))
            found = (
                ("signed or floating-point values", not unsigned),
                ("white stored as 0", tags.get(262) == 0),
                ("separate planes", tags.get(284, 1) != 1),
            )
            oddities = [text for text, there in found if there]
            layout = f" with {' and '.join(oddities)}" if oddities else ""
            raise InputError(
                "unsupported_mode",
                f"TIFF of {depth} bits{layout}, which is not read; save it as 8 or 16-bit RGB or grey",
            )
    if image.mode not in _GREY_MODES | _COLOUR_MODES:
        raise InputError("unsupported_mode", f"pixel mode {image.mode}; save it as 8 or 16-bit RGB or grey")
    return 8


def _exif(image: ImageFile.ImageFile, chunks: dict[bytes, bytes]) -> Image.Exif:
    exif = Image.Exif()
    try:
        if isinstance(image, PngImagePlugin.PngImageFile):
            # its getexif() decodes the pixels to look for a late chunk
            if b"eXIf" in chunks:
                exif.load(_EXIF_HEADER + chunks[b"eXIf"])
        else:
            exif = image.getexif()
        if exif.get(_ORIENTATION_TAG, 1) not in range(1, 9):
            exif[_ORIENTATION_TAG] = 1
    except (
        Exception
    ):  # tags that cannot be parsed say nothing about the pixels; any type may come out of them
        return Image.Exif()
    return exif


def _decode_with_pillow(image: ImageFile.ImageFile) -> np.ndarray:
    mode = image.mode
    image.load()
    plain: Image.Image = image
    if mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        plain = image.convert("LA" if mode in _GREY_MODES else "RGBA")
        lowest = plain.getchannel("A").getextrema()[0]
        if not isinstance(lowest, int) or lowest < 255:
            raise InputError("alpha", "has transparent pixels; flatten it onto a background")
    target = "L" if mode in _GREY_MODES else "RGB"
    if plain.mode != target:
        plain = plain.convert(target)
    pixels = np.empty((plain.height, plain.width, len(target)), np.uint8)
    # of a whole picture Pillow would make two copies on the way
    for top in range(0, plain.height, BAND_ROWS):
        band = plain.crop((0, top, plain.width, min(top + BAND_ROWS, plain.height)))
        pixels[top : top + BAND_ROWS] = np.asarray(band).reshape(band.height, band.width, len(target))
    return pixels


def _decode_with_opencv(file: BinaryIO, header: _Header) -> np.ndarray:
    """For PNG, where Pillow leaves missing rows black, 16 bits, which it reduces to 8, and JPEG, in less memory."""
    file.seek(0)
    data = file.read()
    if header.info.format == "PNG":
        check_png(data)
    elif header.info.format == "JPEG":
        check_jpeg(data)
    # "unchanged" leaves turning and channels as they are stored
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype.itemsize * 8 != header.info.bits:
        raise InputError("unreadable", "damaged: its pixels cannot be decoded")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[:2] != (header.image.height, header.image.width):
        raise InputError("unreadable", "damaged: header and pixels differ in size")
    if header.info.channels == 1:
        colour = pixels[..., :1]
    elif pixels.shape[2] == 3:
        colour = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    else:
        colour = pixels[..., 2::-1]
    opaque = 2**header.info.bits - 1
    # grey with alpha comes back as four channels
    if _has_colour_key(colour, header.chunks) or (
        pixels.shape[2] == 4 and int(pixels[..., 3].min()) < opaque
    ):
        raise InputError("alpha", "has transparent pixels; flatten it onto a background")
    return colour


def _has_colour_key(pixels: np.ndarray, chunks: dict[bytes, bytes]) -> bool:
    """Whether a PNG names one colour as transparent and uses it; OpenCV looks at that for RGB only."""
    if b"tRNS" not in chunks or chunks[b"IHDR"][9] not in (0, 2):
        return False
    depth = chunks[b"IHDR"][8]
    key = np.frombuffer(chunks[b"tRNS"], ">u2").astype(np.int64)
    if depth < 8:
        key *= 255 // (2**depth - 1)
    return bool((pixels == key).all(axis=2).any())


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    # after the transposition: which sides are still mirrored
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
