"""A picture of the dataset for people: clean, noisy and amplified noise of a few tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from noisegen.errors import InputError, NoisegenError
from noisegen.png import encode_png
from noisegen.synthesis.formats import Format
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.records import read_index

__all__ = ["contact_sheet"]

ROWS = 8
GAIN = 4
CELL = 256
MARGIN, LABEL = 8, 22
TITLES = ("clean", "noisy", f"noise x {GAIN}, around grey")


def contact_sheet(folder: DatasetFolder, output_format: Format, tiles: np.ndarray) -> bytes | None:
    """Draws up to eight tiles, evenly chosen from all of the dataset's.

    Args:
        folder: the dataset.
        output_format: its format.
        tiles: int64, their number in each shard, all of which are finished.

    Returns:
        A PNG, a pure function of the shards; None where there are no tiles.

    Raises:
        NoisegenError: a tile that it shows is damaged.
    """
    ends = np.cumsum(tiles)
    total = int(tiles.sum())
    if total == 0:
        return None
    count = min(ROWS, total)
    places = [(2 * i + 1) * total // (2 * count) for i in range(count)]
    bits = int(folder.read_run()["bit_depth"])
    width = len(TITLES) * (CELL + MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, LABEL + count * (CELL + LABEL + MARGIN)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=14)
    for column, title in enumerate(TITLES):
        draw.text((MARGIN + column * (CELL + MARGIN), 3), title, fill="black", font=font)
    for i, (record, noisy, clean) in enumerate(_tiles(folder, output_format, ends, places)):
        top = LABEL + i * (CELL + LABEL + MARGIN)
        label = (
            f"{record['camera']}  ISO {record['iso']}  noise std {record['noise_std']:.2f}"
            f"  at ({record['y']}, {record['x']}) of "
        )
        # a font has no glyphs for line ends and the like, and a very long id need not be measured whole
        name = "".join(
            c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(record["id"])[-300:]
        )
        while len(name) > 1 and font.getlength(label + name) > width - 2 * MARGIN:
            name = "…" + name[2:]
        draw.text((MARGIN, top), label + name, fill="black", font=font)
        for column, picture in enumerate((clean, noisy, _amplified(noisy, clean, bits))):
            sheet.paste(_cell(picture, bits), (MARGIN + column * (CELL + MARGIN), top + LABEL))
    return encode_png(np.asarray(sheet))


def _tiles(
    folder: DatasetFolder,
    output_format: Format,
    ends: np.ndarray,
    places: Sequence[int],
) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """Index row, noisy and clean picture of the tiles at these places, which rise; each shard is opened once."""
    shards = folder.shards()
    for at, group in groupby(places, lambda place: int(np.searchsorted(ends, place, side="right"))):
        shard = shards[at]
        try:
            with folder.at_hand(shard), closing(output_format.open_tiles(folder, shard)) as tiles:
                records = read_index(folder.index_file(shard))
                for place in group:
                    record = records[place - int(ends[at - 1] if at else 0)]
                    noisy, clean = tiles.read(str(record["key"]))
                    yield record, noisy, clean
        except (InputError, KeyError, OSError) as error:
            raise NoisegenError(
                f"{folder.place}: shard {shard.name} is damaged ({error}); run noisegen verify, then the same command "
                "again"
            ) from error


def _amplified(noisy: np.ndarray, clean: np.ndarray, bits: int) -> np.ndarray:
    levels = 1 << bits
    noise = GAIN * (noisy.astype(np.int64) - clean) + levels // 2
    return np.clip(noise, 0, levels - 1).astype(clean.dtype)


def _cell(picture: np.ndarray, bits: int) -> Image.Image:
    """The picture's central part, or the whole of a small one enlarged without smoothing, as 8-bit RGB."""
    if picture.dtype == np.uint16:
        picture = (picture >> (bits - 8)).astype(np.uint8)
    top, left = ((side - CELL) // 2 if side > CELL else 0 for side in picture.shape[:2])
    part = np.broadcast_to(picture, (*picture.shape[:2], 3))[top : top + CELL, left : left + CELL]
    cell = Image.fromarray(np.ascontiguousarray(part))
    return cell if cell.size == (CELL, CELL) else cell.resize((CELL, CELL), Image.Resampling.NEAREST)
