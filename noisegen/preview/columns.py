"""The columns of a preview: one photograph, clean, with the noise of several cameras, and as really taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np

from noisegen.conditions import Condition
from noisegen.datasets.pair_checks import check_pair
from noisegen.downscaling import downscale
from noisegen.errors import InputError, UsageError
from noisegen.models.pictures import check_picture
from noisegen.preview.places import Place
from noisegen.synthesis.photograph_noise import PhotographNoise
from noisegen.synthesis.records import noise_std

__all__ = ["Column", "Preview", "make_preview", "noise_levels", "shown_levels"]

# Noise of so many pixels takes the compact model a few seconds on a CPU; of larger photographs only what the crops
# show is made.
WHOLE_PIXELS = 48_000_000
OVERVIEW_SIDE = 2048
CHECKED_SIDE = 4096  # of the part that tells whether two photographs are of one scene
SAMPLE_SIDE = 64
SHOWN_SHARE = 0.001
GAINS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
DOUBTS = {
    "misaligned": "the real noise holds edges, for the photographs do not lie on each other",
    "drifting": "the real noise holds a difference in light between the photographs",
}
GREY = 128
# of the shown noise, in 8-bit levels: the middle column's is easily seen, the strongest not cut off beyond recognition
MIDDLE_STD, STRONGEST_STD = 40, 128


@dataclass(frozen=True)
class Column:
    """One version of the photograph.

    Attributes:
        kind: what it is.
        condition: camera and ISO of synthetic noise.
        rule: how the ISO was handled, see `noisegen.conditions.ConditionMix.rule`.
        std: of the noise, in levels of the picture's own depth; None for the clean one.
        crop_stds: the same of each crop.
        overview: the whole picture reduced to sides of at most 2048 pixels, [h, w, C]; None where it was not made.
        crops: the places' pixels as they are, [h, w, C].
    """

    kind: Literal["clean", "real", "synthetic"]
    condition: Condition | None
    rule: str
    std: float | None
    crop_stds: tuple[float, ...]
    overview: np.ndarray | None
    crops: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Preview:
    """What a sheet shows.

    Attributes:
        columns: the clean one first, then the real one where there is one, then the synthetic ones.
        places: of the crops.
        height, width, channels: of the photograph.
        bit_depth: of the model; levels go from 0 to ``2**bit_depth - 1``.
        shown: the levels that are shown as black and white. 8-bit pictures are shown as they are; of deeper ones all
            but a thousandth of the clean values at either end lies between them.
        gain: the shown noise is the factor times as large as in the shown pictures.
        whole: the noise of the whole picture was made, and ``std`` is its; otherwise that of the crops together.
        seed, strength: of the noise.
        warnings: why the real photograph is no measure, in words.
    """

    columns: tuple[Column, ...]
    places: tuple[Place, ...]
    height: int
    width: int
    channels: int
    bit_depth: int
    shown: tuple[int, int]
    gain: float
    whole: bool
    seed: int
    strength: float
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it that is no picture."""
        return {
            **{name: getattr(self, name) for name in ("height", "width", "channels", "bit_depth", "gain")},
            "shown": list(self.shown),
            "noise_of": "whole picture" if self.whole else "crops",
            "seed": self.seed,
            "strength": self.strength,
            "crops": [
                {"x": p.x, "y": p.y, "width": p.width, "height": p.height, "what": p.what}
                for p in self.places
            ],
            "columns": [
                {
                    "kind": column.kind,
                    "camera": column.condition and column.condition.camera,
                    "iso": column.condition and column.condition.iso,
                    "iso_rule": column.rule,
                    "std": column.std,
                    "crop_stds": list(column.crop_stds),
                }
                for column in self.columns
            ],
            "warnings": list(self.warnings),
        }


def make_preview(
    clean: np.ndarray,
    noise: PhotographNoise,
    conditions: Sequence[Condition],
    places: Sequence[Place],
    *,
    seed: int = 0,
    strength: float = 1.0,
    image_id: str = "",
    real: np.ndarray | None = None,
    gain: float | None = None,
    see: Callable[[Condition, np.ndarray], object] | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Preview:
    """Makes the columns of a preview; the pixels are those that `PhotographNoise.add` makes of the whole photograph.

    Args:
        clean: uint8 or uint16 [H, W, C] of the model's channels and bit depth.
        noise: the model.
        conditions: of the synthetic columns.
        places: of the crops.
        seed, strength, image_id: of the noise, see `PhotographNoise.add`.
        real: a real noisy photograph of the same scene, like ``clean``.
        gain: of the shown noise; None: chosen by how strong it is in the crops.
        see: is given each whole noisy picture, which is then made however large it is.
        advance: called after each synthetic column.

    Raises:
        InputError: the photograph is not one that the model is for, or it does not cover a condition.
        UsageError: the real photograph is not of the clean one's size, channels or depth.
    """
    check_picture(noise.model, clean)
    depth = noise.model.bit_depth
    whole = see is not None or clean.shape[0] * clean.shape[1] * len(conditions) <= WHOLE_PIXELS
    clean_crops = _crops(clean, places)
    columns = [Column("clean", None, "", None, (), _overview(clean), clean_crops)]
    warnings: tuple[str, ...] = ()
    if real is not None:
        warnings = _compare(real, clean, depth)
        pair = (real, clean) if whole else None
        columns.append(_measured("real", pair, _crops(real, places), clean_crops))
    for condition in conditions:
        draw = partial(noise.add, clean, condition, seed=seed, strength=strength, image_id=image_id)
        rule = noise.vocabulary.resolve(condition).rule
        if whole:
            noisy = draw()
            crops = _crops(noisy, places)
            columns.append(_measured("synthetic", (noisy, clean), crops, clean_crops, condition, rule))
            if see is not None:
                see(condition, noisy)
        else:
            # copies, so that no photograph is kept for the sake of its crops
            crops = tuple(draw(window=place.window).copy() for place in places)
            columns.append(_measured("synthetic", None, crops, clean_crops, condition, rule))
        advance()
    shown = shown_levels(clean, depth)
    return Preview(
        columns=tuple(columns),
        places=tuple(places),
        height=clean.shape[0],
        width=clean.shape[1],
        channels=clean.shape[2],
        bit_depth=depth,
        shown=shown,
        gain=gain or _gain(columns, shown),
        whole=whole,
        seed=seed,
        strength=strength,
        warnings=warnings,
    )


def shown_levels(clean: np.ndarray, bit_depth: int) -> tuple[int, int]:
    """The levels of a clean picture that are shown as black and white, see `Preview`."""
    highest = (1 << bit_depth) - 1
    if bit_depth == 8:
        return 0, highest
    sample = clean[:: max(clean.shape[0] // 1024, 1), :: max(clean.shape[1] // 1024, 1)]
    low, high = np.quantile(sample, (SHOWN_SHARE, 1 - SHOWN_SHARE), method="nearest")
    # a picture of one level would be stretched to nothing but noise
    return (int(low), int(high)) if high - low >= highest / 64 else (0, highest)


def noise_levels(
    clean: np.ndarray, noise: PhotographNoise, conditions: Sequence[Condition]
) -> dict[Condition, float]:
    """Standard deviations of the noise that conditions give to a small version of a photograph.

    Those that the model has no noise for (no references, for one) are left out.

    Raises:
        InputError: it has none for any of them, or the photograph is not one that the model is for.
    """
    factor = max(min(clean.shape[:2]) / SAMPLE_SIDE, 1)
    small = downscale(clean, factor)[: 4 * SAMPLE_SIDE, : 4 * SAMPLE_SIDE]
    levels, refused = {}, None
    for condition in conditions:
        try:
            levels[condition] = noise_std(noise.add(small, condition), small)
        except InputError as error:
            refused = error
    if refused is not None and not levels:
        raise refused
    return levels


def _crops(picture: np.ndarray, places: Sequence[Place]) -> tuple[np.ndarray, ...]:
    return tuple(picture[place.window].copy() for place in places)


def _measured(
    kind: Literal["real", "synthetic"],
    whole: tuple[np.ndarray, np.ndarray] | None,
    crops: tuple[np.ndarray, ...],
    clean_crops: tuple[np.ndarray, ...],
    condition: Condition | None = None,
    rule: str = "",
) -> Column:
    """A noisy column, measured on the whole noisy and clean photographs, or where these are None on its crops."""
    stds = tuple(map(noise_std, crops, clean_crops))
    if whole is not None:
        return Column(kind, condition, rule, noise_std(*whole), stds, _overview(whole[0]), crops)
    values, clean_values = (np.concatenate([crop.ravel() for crop in part]) for part in (crops, clean_crops))
    return Column(kind, condition, rule, noise_std(values, clean_values), stds, None, crops)


def _overview(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    factor = OVERVIEW_SIDE / max(height, width)
    if factor >= 1:
        return picture.copy()
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)


def _gain(columns: Sequence[Column], shown: tuple[int, int]) -> float:
    stds = [float(np.sqrt(np.mean(np.square(column.crop_stds)))) for column in columns if column.crop_stds]
    scale = 255 / (shown[1] - shown[0])
    middle, strongest = float(np.median(stds)) * scale, max(stds) * scale
    fitting = (gain for gain in GAINS if gain * middle <= MIDDLE_STD and gain * strongest <= STRONGEST_STD)
    return max(fitting, default=GAINS[0])


def _compare(real: np.ndarray, clean: np.ndarray, bit_depth: int) -> tuple[str, ...]:
    """Why the difference of two photographs is more than noise.

    Raises:
        UsageError: they cannot be compared.
    """
    if real.shape[:2] != clean.shape[:2]:
        (rows, columns), (clean_rows, clean_columns) = real.shape[:2], clean.shape[:2]
        raise UsageError(
            f"the real photograph has {columns} x {rows} pixels, the clean one {clean_columns} x {clean_rows}; both "
            "must show the same scene pixel for pixel: export both in the same way, without cropping or resizing one"
        )
    if real.shape != clean.shape or real.dtype != clean.dtype:
        raise UsageError(
            f"the real photograph is {_kind(real)}, the clean one {_kind(clean)}; export both in the same way"
        )
    top, left = (max(side - CHECKED_SIDE, 0) // 2 for side in clean.shape[:2])
    part = (slice(top, top + CHECKED_SIDE), slice(left, left + CHECKED_SIDE))
    _, problems = check_pair(real[part], clean[part], bit_depth)
    return tuple(
        f"{DOUBTS[problem.reason]}: {problem.message}" for problem in problems if problem.reason in DOUBTS
    )


def _kind(picture: np.ndarray) -> str:
    return f"{8 * picture.dtype.itemsize}-bit {'RGB' if picture.shape[2] == 3 else 'grey'}"
