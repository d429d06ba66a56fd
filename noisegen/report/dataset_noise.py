"""What the noise of a dataset is like, by camera and ISO, beside that of real pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from noisegen.conditions import Condition
from noisegen.datasets.pairs import Pair, load_pair
from noisegen.errors import InputError
from noisegen.evaluation.noise_eval import central_crop
from noisegen.report.dataset_tiles import DrawnTile, TileDraw, in_turns
from noisegen.report.measured_noise import MeasuredNoise, NoiseMeter
from noisegen.report.noise_panels import noise_panels
from noisegen.report.options import ReportOptions
from noisegen.webpages.markup import Markup, fragment, paragraph, table
from noisegen.webpages.page import Section
from noisegen.webpages.viewer import gallery

__all__ = ["DatasetNoise"]

# Settings that are measured, and of each so many pixels, but no more pictures than that.
CONDITIONS, PIXELS, PICTURES = 6, 1 << 19, 64
# Real pairs of a setting, and the part of each that is taken.
REAL_PAIRS, REAL_SIDE = 4, 768

Sides = Mapping[str, MeasuredNoise]


class DatasetNoise:
    """Measures the noise of some tiles, and of real pairs of the same camera and ISO.

    Args:
        run: contents of run.json.
        draw: the tiles to choose from.
        options: where real pairs are.
        pairs: these pairs.

    Attributes:
        wanted: the tiles to be shown to `see`, by key.
    """

    def __init__(
        self, run: Mapping[str, Any], draw: TileDraw, options: ReportOptions, pairs: Sequence[Pair]
    ) -> None:
        self._run, self._options = run, options
        self._side = int(run["config"]["tile_size"])
        self._count = min(PICTURES, max(4, PIXELS // self._side**2))
        self._real: dict[Condition, list[Pair]] = {}
        for pair in pairs:
            self._real.setdefault(pair.condition, []).append(pair)
        self._seen = len({tile.condition for tile in draw.tiles})
        self.wanted: dict[str, DrawnTile] = {}
        self._meters: dict[Condition, NoiseMeter] = {}
        for condition, tiles in _conditions(draw.tiles, self._real).items():
            self._meters[condition] = NoiseMeter(int(run["bit_depth"]))
            self.wanted |= {str(tile.row["key"]): tile for tile in tiles[: self._count]}

    def see(self, tile: DrawnTile, noisy: np.ndarray, clean: np.ndarray) -> None:
        """Takes a tile into account, if it is a wanted one."""
        if str(tile.row["key"]) in self.wanted:
            self._meters[tile.condition].add(noisy, clean)

    def measured(self, problems: list[str]) -> dict[Condition, Sides]:
        """The noise of the dataset by camera and ISO, and of real pairs where there are some.

        Args:
            problems: gets what of the pairs cannot be used.
        """
        found: dict[Condition, Sides] = {}
        for condition, meter in self._meters.items():
            of_dataset = meter.result()
            if of_dataset is None:
                continue
            real = NoiseMeter(int(self._run["bit_depth"]))
            for noisy, clean in self._real_pieces(condition, problems):
                real.add(noisy, clean)
            of_real = real.result()
            found[condition] = {"dataset": of_dataset} | ({"real": of_real} if of_real else {})
        return found

    def section(self, measured: Mapping[Condition, Sides]) -> Section:
        """Charts of what was measured."""
        if not measured:
            return Section("Noise", [])
        compared = any("real" in sides for sides in measured.values())
        items = [
            ([condition.camera, str(condition.iso)], _block(condition, sides))
            for condition, sides in measured.items()
        ]
        content = [
            *self._explanation(len(items), compared),
            _overview(measured),
            gallery(["camera", "ISO"], items, what="settings", wide=True),
        ]
        return Section("Noise", content)

    def _real_pieces(
        self, condition: Condition, problems: list[str]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pieces of real pairs of the tiles' size, so that both are measured alike."""
        pairs, side = self._real.get(condition, [])[:REAL_PAIRS], self._side
        for pair in pairs:
            try:
                noisy, clean = (central_crop(picture, REAL_SIDE) for picture in load_pair(pair))
            except InputError as error:
                problems.append(f"real pair {pair.name} is left out: {error}")
                continue
            deep = clean.dtype == np.uint16
            if clean.shape[2] != self._run["channels"] or deep != (self._run["bit_depth"] > 8):
                problems.append(
                    f"real pair {pair.name} is left out: it has other channels or bits than the dataset"
                )
                continue
            height, width = clean.shape[:2]
            places = [
                (y, x)
                for y in range(0, max(height - side, 0) + 1, side)
                for x in range(0, max(width - side, 0) + 1, side)
            ]
            count = min(len(places), -(-self._count // len(pairs)))
            for place in np.linspace(0, len(places) - 1, count).astype(np.int64):
                y, x = places[place]
                yield noisy[y : y + side, x : x + side], clean[y : y + side, x : x + side]

    def _explanation(self, shown: int, compared: bool) -> Iterator[Markup]:
        yield paragraph(
            "Measured on up to {} tiles of each of {} settings, of {} that were seen; all channels together, in grey "
            "levels of 8 bits. The histogram is logarithmic: a normal distribution would be a parabola.",
            self._count,
            shown,
            self._seen,
        )
        if compared:
            yield paragraph(
                "<em>real</em> is the noise of pairs of <code>{}</code>{}, where there are some of that camera and "
                "ISO, in pieces of {} × {} pixels. They are other photographs: where their tones differ, so do "
                "histogram and spectrum. The std against the clean value compares like with like; <code>noisegen "
                "eval-noise</code> compares on the same photographs.",
                str(self._options.pairs),
                f" (split {self._options.split})" if self._options.split else "",
                self._side,
                self._side,
            )
        elif self._options.pairs is not None:
            yield paragraph(
                "<code>{}</code> has no pairs of these settings, so no real noise is drawn beside.",
                str(self._options.pairs),
            )


def _conditions(
    tiles: Sequence[DrawnTile], real: Mapping[Condition, Sequence[Pair]]
) -> dict[Condition, list[DrawnTile]]:
    """The settings to measure, those with real pairs first, and of each its tiles, from many photographs."""
    found: dict[Condition, list[DrawnTile]] = {}
    for tile in tiles:
        found.setdefault(tile.condition, []).append(tile)
    firsts = [group[0] for _, group in sorted(found.items())]
    in_order = in_turns(firsts, lambda tile: tile.condition.camera)
    in_order.sort(key=lambda tile: tile.condition not in real)
    return {
        condition: in_turns(found[condition], lambda tile: tile.row["row"])
        for condition in sorted(tile.condition for tile in in_order[:CONDITIONS])
    }


def _overview(measured: Mapping[Condition, Sides]) -> Markup:
    """The main numbers of all settings in one table."""
    names = [name for name in ("dataset", "real") if any(name in sides for sides in measured.values())]
    measures: list[tuple[str, Callable[[MeasuredNoise], float]]] = [
        ("std", lambda noise: noise.total_std),
        ("correlation with next pixel", lambda noise: noise.neighbour),
        ("pieces", lambda noise: noise.pictures),
    ]
    rows = [
        [
            condition.camera,
            str(condition.iso),
            *(value(sides[name]) if name in sides else None for _, value in measures for name in names),
        ]
        for condition, sides in measured.items()
    ]
    headings = [
        f"{measure}, {name}" if len(names) > 1 else measure for measure, _ in measures for name in names
    ]
    return table(["camera", "ISO", *headings], rows, caption="The settings that were measured")


def _block(condition: Condition, sides: Sides) -> Markup:
    return fragment(
        "<h3>{name}</h3>{panels}",
        name=f"{condition.camera} ISO {condition.iso}",
        panels=noise_panels(sides, f"{condition.camera} ISO {condition.iso}"),
    )
