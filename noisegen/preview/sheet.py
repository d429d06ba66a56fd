"""A preview drawn as one picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from noisegen.errors import UsageError
from noisegen.preview.columns import GREY, Column, Preview
from noisegen.preview.lettering import LARGE, LINE, SMALL, TEXT, cut, font, wrapped
from noisegen.preview.places import Place

__all__ = ["draw_sheet"]

MARGIN, GAP, SPACE = 20, 8, 20
GUTTER = 132  # left of the pictures, for the names of the rows
NARROWEST = 150  # a column, in pixels, for its head
TALLEST = 240  # the whole picture, in pixels
WIDEST = 3  # its width by its height; a wider one is a mere strip in a column
MOST_PIXELS = 100_000_000
INK, PALE, ALERT, PAPER, MARK = "#1b1b1b", "#606060", "#a11414", "#ffffff", "#ffd60a"


@dataclass(frozen=True)
class _Block:
    """A part of the sheet's height, and what draws it below a given line."""

    height: int
    paint: Callable[[Image.Image, int], None]


def draw_sheet(preview: Preview, title: str, notes: Sequence[str] = (), *, zoom: int = 1) -> np.ndarray:
    """Draws a preview: a column for each version, rows for the whole picture, the crops and their amplified noise.

    Args:
        preview: what to draw.
        title: name of the photograph.
        notes: sentences that stand below the pictures, before those that explain them.
        zoom: side of the square that each pixel of a crop becomes; 1 shows the pixels as they are.

    Returns:
        uint8 [H, W, 3].

    Raises:
        UsageError: the crops are too large for one sheet.
    """
    cell = max(NARROWEST, *(place.width * zoom for place in preview.places))
    count = len(preview.columns)
    inner = GUTTER + count * cell + (count - 1) * GAP
    if 2 * inner * zoom * sum(place.height for place in preview.places) > MOST_PIXELS:
        raise UsageError(
            f"these crops make a sheet of more than {MOST_PIXELS // 1_000_000} megapixels; give a smaller SIDE to "
            "--crop, a smaller --zoom or fewer cameras and ISO settings"
        )
    blocks = [
        _title(preview, title, inner),
        *_sentences([f"Warning: {warning}" for warning in preview.warnings], inner, TEXT, ALERT),
        _gap(GAP),
        _heads(preview, cell),
        *_rows(preview, cell, zoom),
        _gap(SPACE - GAP),
        *_sentences([*notes, *_explanations(preview)], inner, SMALL, PALE),
    ]
    sheet = Image.new("RGB", (inner + 2 * MARGIN, sum(block.height for block in blocks) + 2 * MARGIN), PAPER)
    top = MARGIN
    for block in blocks:
        block.paint(sheet, top)
        top += block.height
    return np.asarray(sheet)


def _gap(height: int) -> _Block:
    return _Block(height, lambda sheet, top: None)


def _title(preview: Preview, title: str, width: int) -> _Block:
    size = f"{preview.width} × {preview.height} pixels, {preview.bit_depth} bits"
    bold, small = font(LARGE, bold=True), font(SMALL)
    name = cut(title, width - small.getlength(size) - GAP, bold)

    def paint(sheet: Image.Image, top: int) -> None:
        draw = ImageDraw.Draw(sheet)
        draw.text((MARGIN, top + LARGE), name, INK, bold, anchor="ls")
        draw.text((MARGIN + bold.getlength(name) + GAP, top + LARGE), size, PALE, small, anchor="ls")

    return _Block(LARGE + GAP, paint)


def _sentences(sentences: Sequence[str], width: int, size: int, colour: str) -> Iterator[_Block]:
    for line in (line for sentence in sentences for line in wrapped(sentence, width, font(size))):

        def paint(sheet: Image.Image, top: int, line: str = line) -> None:
            ImageDraw.Draw(sheet).text((MARGIN, top), line, colour, font(size))

        yield _Block(LINE, paint)


def _heads(preview: Preview, cell: int) -> _Block:
    heads = [_head(column) for column in preview.columns]
    bold, small = font(TEXT + 2, bold=True), font(TEXT)

    def paint(sheet: Image.Image, top: int) -> None:
        draw = ImageDraw.Draw(sheet)
        for number, (name, *lines) in enumerate(heads):
            draw.text((_left(number, cell), top), cut(name, cell, bold), INK, bold)
            for row, line in enumerate(lines, start=1):
                draw.text((_left(number, cell), top + row * LINE + 3), cut(line, cell, small), PALE, small)

    return _Block(3 + LINE * max(map(len, heads)) + GAP, paint)


def _head(column: Column) -> tuple[str, ...]:
    if column.std is None:
        return "clean", "your photograph"
    std = f"noise std {_number(column.std)}"
    if column.condition is None:
        return "real", "as it was taken", std
    camera, iso = column.condition.camera, f"ISO {column.condition.iso}"
    between = "" if column.rule == "exact" else f" ({column.rule.removeprefix('log-iso ').split(' ')[0]})"
    return camera, iso + between.replace("..", "–"), std


def _rows(preview: Preview, cell: int, zoom: int) -> Iterator[_Block]:
    places = preview.places
    small = (preview.height, preview.width) == (places[0].height, places[0].width)
    if not small:
        yield _overviews(preview, cell)
    for number, place in enumerate(places, start=1):
        name = f"{number}  {place.what or 'crop'}" if len(places) > 1 else place.what or "crop"
        pixels = "1:1" if zoom == 1 else f"enlarged {zoom} times"
        where = (f"{place.width} × {place.height} pixels", f"at x {place.x}, y {place.y}")
        crops = [column.crops[number - 1] for column in preview.columns]
        pictures = [_enlarged(_shown(crop, preview.shown), zoom) for crop in crops]
        yield _gap(SPACE)
        yield _pictures(name, (pixels, *where), pictures, cell)
        noise = [_enlarged(_amplified(crop, crops[0], preview), zoom) for crop in crops]
        stds = [f"std {_number(column.crop_stds[number - 1])}" for column in preview.columns[1:]]
        about = ("around grey",) if len(places) == 1 else (f"of crop {number},", "around grey")
        yield _gap(GAP)
        yield _pictures(f"noise × {preview.gain:g}", about, noise, cell, ["no noise: grey", *stds])


def _overviews(preview: Preview, cell: int) -> _Block:
    """The whole picture of each column, or where that would be little to see, the clean one across all of them."""
    once = not preview.whole or preview.width > WIDEST * preview.height
    columns = preview.columns[:1] if once else preview.columns
    room = len(preview.columns) * (cell + GAP) - GAP if once else cell
    factor = min(room / preview.width, TALLEST / preview.height, 1)
    size = (max(round(preview.width * factor), 1), max(round(preview.height * factor), 1))
    pictures = []
    for column in columns:
        assert column.overview is not None
        whole = _shown(column.overview, preview.shown)
        pictures.append(Image.fromarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA)))
    for number, place in enumerate(preview.places, start=1):
        _mark(pictures[0], place, factor, str(number) if len(preview.places) > 1 else "")
    about = (["clean"] if once else []) + ["1:1" if factor == 1 else f"reduced {1 / factor:.1f} times"]
    return _pictures("whole picture", about, pictures, cell)


def _mark(picture: Image.Image, place: Place, factor: float, name: str) -> None:
    draw = ImageDraw.Draw(picture)
    left, top = round(place.x * factor), round(place.y * factor)
    right, bottom = round((place.x + place.width) * factor) - 1, round((place.y + place.height) * factor) - 1
    box = (left, top, max(right, left + 3), max(bottom, top + 3))
    draw.rectangle((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), outline="black")
    draw.rectangle(box, outline=MARK)
    if name:
        # beside the corner, but within the picture
        x, y = min(max(left, 0), picture.width - 13), min(max(top, 0), picture.height - 15)
        draw.rectangle((x, y, x + 12, y + 14), fill=MARK)
        draw.text((x + 6.5, y + 7.5), name, INK, font(SMALL - 1, bold=True), anchor="mm")


def _pictures(
    name: str,
    about: Sequence[str],
    pictures: Sequence[Image.Image],
    cell: int,
    captions: Sequence[str] = (),
) -> _Block:
    """A row: its name in the gutter, the pictures, and a caption below each."""
    tall = max(picture.height for picture in pictures)
    lines = [line for part in about for line in wrapped(part, GUTTER - GAP, font(SMALL))]

    def paint(sheet: Image.Image, top: int) -> None:
        draw = ImageDraw.Draw(sheet)
        draw.text((MARGIN, top - 2), name, INK, font(TEXT, bold=True))
        for row, line in enumerate(lines, start=1):
            draw.text((MARGIN, top + row * LINE), line, PALE, font(SMALL))
        for number, picture in enumerate(pictures):
            sheet.paste(picture, (_left(number, cell), top))
        for number, caption in enumerate(captions):
            draw.text((_left(number, cell), top + tall + 2), caption, PALE, font(SMALL))

    return _Block(max(tall + (LINE if captions else 0), LINE * (1 + len(lines))), paint)


def _left(number: int, cell: int) -> int:
    return MARGIN + GUTTER + number * (cell + GAP)


def _explanations(preview: Preview) -> Iterator[str]:
    highest = (1 << preview.bit_depth) - 1
    where = "of the whole picture" if preview.whole else "of the crops together"
    yield (
        f"Noise: noisy − clean, times {preview.gain:g} in all columns, around grey. std: standard deviation of "
        f"the noise in levels of 0 to {highest}, {where} at the top, of each crop below it."
    )
    if not preview.whole:
        yield "The photograph is large: noise was made around the crops alone, where it is that of the whole picture."
    if preview.bit_depth > 8:
        low, high = preview.shown
        yield (
            f"Levels {low} to {high} are shown from black to white: all of the clean picture but a thousandth at "
            "either end. Noise is stretched as much before it is amplified."
        )


def _shown(picture: np.ndarray, shown: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3] of a picture."""
    if picture.dtype == np.uint16:
        low, high = shown
        scaled = (picture.astype(np.float32) - low) * np.float32(255 / (high - low))
        picture = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))


def _amplified(crop: np.ndarray, clean: np.ndarray, preview: Preview) -> np.ndarray:
    """uint8 [H, W, 3] of the noise around grey."""
    low, high = preview.shown
    noise = (crop.astype(np.float32) - clean) * np.float32(preview.gain * 255 / (high - low))
    grey = np.clip(np.rint(GREY + noise), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(grey, (*grey.shape[:2], 3)))


def _enlarged(picture: np.ndarray, zoom: int) -> Image.Image:
    return Image.fromarray(picture.repeat(zoom, axis=0).repeat(zoom, axis=1))


def _number(std: float) -> str:
    return f"{std:.0f}" if std >= 100 else f"{std:.2f}"
