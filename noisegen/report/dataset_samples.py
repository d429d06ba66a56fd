"""Samples of a dataset: clean, noisy and amplified noise of tiles from all of its cameras, ISO settings and splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from noisegen.evaluation.noise_eval import central_crop
from noisegen.report.dataset_tiles import DrawnTile, TileDraw, in_turns
from noisegen.webpages.markup import Markup, fragment, paragraph
from noisegen.webpages.page import Section
from noisegen.webpages.pictures import GAIN, Picture, amplified_noise
from noisegen.webpages.viewer import comparison, gallery

__all__ = ["Samples"]

# Of a larger tile the middle is shown; and no more samples than fit in so many bytes of page.
SIDE = 256
BUDGET = 10_000_000


class Samples:
    """Chooses tiles and shows them.

    Args:
        run: contents of run.json.
        draw: the tiles to choose from.
        count: how many at most.

    Attributes:
        wanted: the tiles to be shown to `see`, by key, the first choice first.
    """

    def __init__(self, run: Mapping[str, Any], draw: TileDraw, count: int) -> None:
        self._bits = int(run["bit_depth"])
        self._cut = run["config"]["tile_size"] > SIDE
        chosen = in_turns(
            draw.tiles,
            lambda tile: tile.row["camera"],
            lambda tile: tile.row["iso"],
            lambda tile: tile.row["split"],
            lambda tile: tile.row["row"],
        )[:count]
        self.wanted = {str(tile.row["key"]): tile for tile in chosen}
        self._viewers: dict[str, Markup] = {}

    def see(self, tile: DrawnTile, noisy: np.ndarray, clean: np.ndarray) -> None:
        """Takes the pictures of a tile, if it is a wanted one."""
        if (key := str(tile.row["key"])) in self.wanted:
            self._viewers[key] = _viewer(tile, noisy, clean, self._bits)

    def section(self) -> Section:
        """As many of the samples as fit into a page, by camera and ISO."""
        shown: list[tuple[DrawnTile, Markup]] = []
        room = BUDGET
        for key, tile in self.wanted.items():
            viewer = self._viewers.get(key, Markup(""))
            if viewer and len(viewer) <= room:
                room -= len(viewer)
                shown.append((tile, viewer))
        if not shown:
            return Section("Samples", [])
        shown.sort(key=lambda item: item[0].condition)
        deep = " The upper eight of their bits are shown." if self._bits > 8 else ""
        middle = f" Of each the middle {SIDE} × {SIDE} pixels are shown." if self._cut else ""
        return Section(
            "Samples",
            [
                paragraph(
                    "{} tiles, drawn at random from all cameras, ISO settings and splits. Left of the slider is the "
                    "clean tile, right of it the noisy one, or the noise times {} around grey.{}{}",
                    len(shown),
                    GAIN,
                    middle,
                    deep,
                ),
                gallery(
                    ["camera", "ISO"],
                    (([tile.condition.camera, str(tile.condition.iso)], viewer) for tile, viewer in shown),
                    what="samples",
                ),
            ],
        )


def _viewer(tile: DrawnTile, noisy: np.ndarray, clean: np.ndarray, bits: int) -> Markup:
    row = tile.row
    noisy, clean = central_crop(noisy, SIDE), central_crop(clean, SIDE)
    name = f"{row['camera']}, ISO {row['iso']}"
    split = f", split {row['split']}" if row["split"] else ""
    return comparison(
        [
            Picture.of("clean", clean, alt=f"Clean tile, {name}", bits=bits),
            Picture.of("noisy", noisy, alt=f"The same with noise, {name}", bits=bits),
            Picture.of(
                f"noise × {GAIN}",
                amplified_noise(noisy, clean, bits=bits),
                alt=f"Its noise times {GAIN} around grey, std {row['noise_std']:.1f} grey levels",
                bits=bits,
            ),
        ],
        caption=fragment(
            '<strong>{}</strong>, noise std {:}{}<br>{}<br><span class="key">{}</span>',
            name,
            f"{row['noise_std']:.2f}",
            split,
            _short(str(row["id"])),
            row["key"],
        ),
    )


def _short(name: str) -> str:
    """The end of a photograph's name, which tells more than its beginning."""
    return name if len(name) <= 60 else "…" + name[-59:]
