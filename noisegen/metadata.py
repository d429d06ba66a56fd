"""What a photograph's file says beside its pixels, and how a PNG made from it carries that on."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image

__all__ = ["COLOUR_CHUNKS", "Metadata", "portable_exif"]

# chunks by which a PNG states its colours instead of a profile
COLOUR_CHUNKS = (b"cICP", b"sRGB", b"gAMA", b"cHRM")

_ORIENTATION = 0x0112
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_PIXEL_X, _PIXEL_Y = 0xA002, 0xA003
# How the old file stored its pixels; places in it; profile, XMP, IPTC and Photoshop blocks, which are no EXIF.
# fmt: off
_OF_THE_OLD_FILE = frozenset([
    *range(254, 260), 262, 266, 273, *range(277, 281), 284, 288, 289, 317, 320, *range(322, 326), 330,
    *range(338, 342), 347, *range(512, 533), 700, 33723, 34377, 34675, _EXIF_IFD, _GPS_IFD,
])
# fmt: on
# Maker notes hold offsets that are true in the old file alone; the other is the place of a further table.
_OF_THE_OLD_EXIF = frozenset([0x927C, 0xA005])
_PROFILE_SPACES = {1: b"GRAY", 3: b"RGB "}


@dataclass(frozen=True)
class Metadata:
    """EXIF and the meaning of colours.

    Attributes:
        exif: a TIFF block for a file with upright pixels, empty where there is nothing to say.
        icc_profile: empty where there is none.
        colour: of a PNG, by chunk name: what it says in place of a profile.
    """

    exif: bytes = b""
    icc_profile: bytes = b""
    colour: Mapping[bytes, bytes] = field(default_factory=dict)

    def png_chunks(self, channels: int) -> list[tuple[bytes, bytes]]:
        """Names and contents for `noisegen.png.encode_png`; a profile of another kind of picture is left out."""
        chunks = [(name, self.colour[name]) for name in COLOUR_CHUNKS if name in self.colour]
        if self.icc_profile[16:20] == _PROFILE_SPACES[channels]:
            chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(self.icc_profile)))
        if self.exif:
            chunks.append((b"eXIf", self.exif))
        return chunks


def portable_exif(exif: Image.Exif, width: int, height: int) -> bytes:
    """The tags as a TIFF block for a picture that is upright and has this size.

    Left out are the thumbnail, which shows the old picture, maker notes, and of a TIFF the tags that describe its file.

    Args:
        exif: of a file that is still open.
        width, height: in pixels, upright.

    Returns:
        The block, empty without tags or where they cannot be written.
    """
    try:
        details = {
            tag: value for tag, value in exif.get_ifd(_EXIF_IFD).items() if tag not in _OF_THE_OLD_EXIF
        }
        for tag, side in ((_PIXEL_X, width), (_PIXEL_Y, height)):
            if tag in details:
                details[tag] = side
        kept = Image.Exif()
        for tag, value in exif.items():
            if tag not in _OF_THE_OLD_FILE:
                kept[tag] = value
        for tag, table in ((_EXIF_IFD, details), (_GPS_IFD, dict(exif.get_ifd(_GPS_IFD)))):
            if table:
                kept[tag] = table
        if not list(kept):
            return b""
        kept[_ORIENTATION] = 1
        return kept.tobytes().removeprefix(b"Exif\0\0")
    except Exception:  # damaged tags raise nearly anything, and are not worth the photograph
        return b""
