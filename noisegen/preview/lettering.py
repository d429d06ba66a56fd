"""Text for drawn pictures: one typeface, measured, cut and wrapped by its width."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import ImageFont

__all__ = ["LARGE", "LINE", "SMALL", "TEXT", "cut", "font", "wrapped"]

SMALL, TEXT, LARGE = 12, 13, 18  # sizes in pixels
LINE = 17  # from line to line of the smaller ones


@cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the letters of most alphabets."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def cut(text: str, width: float, face: ImageFont.FreeTypeFont) -> str:
    """One line that is no wider than so many pixels, with an ellipsis where something is left out."""
    # a font has no glyphs for line ends and the like, and a very long name need not be measured whole
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:300])
    while len(line) > 1 and face.getlength(line) > width:
        line = line[:-2] + "…"
    return line


def wrapped(text: str, width: float, face: ImageFont.FreeTypeFont) -> list[str]:
    """Lines of whole words that are no wider than so many pixels; a longer word is cut."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(cut(word, width, face))
    return lines
