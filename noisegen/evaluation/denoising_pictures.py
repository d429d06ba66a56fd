"""A picture of what denoisers do, for people: the worst and best cases and some between, with what is left."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from noisegen.denoising.inference import Denoiser
from noisegen.evaluation.denoising_eval import NOISY, CaseScore, DenoisingScores, Score
from noisegen.png import encode_png

__all__ = ["Choice", "choose_cases", "crops_png"]

CHOSEN = 6
CELL = 256
# Denoised around the part that is shown, so that its border is that of the whole picture: the paper's DnCNN sees 18.
HALO = 32
MARGIN, TITLE, LINE, GAP = 8, 22, 18, 14
GAINS = (32, 16, 8, 4, 2, 1)
STEP = 64  # between places where the part to show is looked for


@dataclass(frozen=True)
class Choice:
    """A case to show.

    Attributes:
        label: why it was chosen.
        scored: the case.
        gain: PSNR of the first denoiser minus that of the noisy picture, dB.
    """

    label: str
    scored: CaseScore
    gain: float


def choose_cases(scores: DenoisingScores, count: int = CHOSEN) -> list[Choice]:
    """Cases evenly spaced in the order of the first denoiser's gain, the worst first and the best last.

    Cases with an infinite PSNR have no gain and are passed over.
    """
    method = scores.methods[1]
    gains = [
        (scored.scores[method].psnr - scored.scores[NOISY].psnr, scored)
        for scored in scores.cases
        if math.isfinite(scored.scores[method].psnr) and math.isfinite(scored.scores[NOISY].psnr)
    ]
    gains.sort(key=lambda pair: pair[0])
    last = len(gains) - 1
    places = sorted({round(place) for place in np.linspace(0, last, min(count, last + 1))})
    labels = {place: f"rank {place + 1} of {last + 1}" for place in places}
    labels |= {0: "worst gain", last: "best gain"} if last else {0: "gain"}
    return [Choice(labels[place], gains[place][1], gains[place][0]) for place in places]


def crops_png(choices: Sequence[Choice], denoisers: Mapping[str, Denoiser]) -> bytes:
    """Draws each case in two rows: clean, noisy and denoised pictures, and below them their errors around grey.

    Of large pictures the 256 x 256 pixels with the most detail are shown, pixel for pixel; titles give the PSNR of
    the whole. Errors of one case are on one scale.

    Args:
        choices: what to show; the pictures are read and denoised again.
        denoisers: as they were scored.

    Returns:
        A PNG.

    Raises:
        InputError: a picture can no longer be read.
    """
    width = MARGIN + (2 + len(denoisers)) * (CELL + MARGIN)
    explanation = textwrap.wrap(
        f"By gain: PSNR of {next(iter(denoisers))} minus that of the noisy picture, worst first. Below each "
        "picture its error, picture - clean, times the number that stands there; grey is none. rms: of the error "
        "in what is shown, 8-bit grey levels.",
        width // 7,
    )
    head = MARGIN + LINE * len(explanation) + GAP
    height = head + len(choices) * (2 * (TITLE + CELL) + GAP)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.multiline_text((MARGIN, MARGIN), "\n".join(explanation), fill="black", font=_font())
    for row, choice in enumerate(choices):
        top = head + row * (2 * (TITLE + CELL) + GAP)
        _draw_case(sheet, draw, top, choice, denoisers)
    return encode_png(np.asarray(sheet))


def _draw_case(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    top: int,
    choice: Choice,
    denoisers: Mapping[str, Denoiser],
) -> None:
    noisy, clean = choice.scored.case.read()
    assert clean is not None  # it was scored
    y, x = _most_detailed(clean)
    inner, outer = _window(clean, y, x, 0), _window(clean, y, x, HALO)
    # where the shown part lies in the part that is denoised
    shown = tuple(
        slice(part.start - around.start, part.stop - around.start)
        for part, around in zip(inner, outer, strict=True)
    )
    pictures = {NOISY: noisy[inner]}
    for name, denoiser in denoisers.items():
        pictures[name] = denoiser.denoise(np.ascontiguousarray(noisy[outer]))[shown]
    scale = 2.0 ** (next(iter(denoisers.values())).bit_depth - 8)
    reference = clean[inner] / scale
    errors = {name: picture / scale - reference for name, picture in pictures.items()}
    spread = _rms(errors[next(iter(denoisers))])
    gain = next((gain for gain in GAINS if 3 * gain * spread <= 128), GAINS[-1])

    below = top + TITLE + CELL
    _cell(sheet, draw, MARGIN, top, "clean", reference)
    _text(draw, MARGIN, below + TITLE, _description(choice, clean.shape[:2], (y, x)))
    for column, (name, picture) in enumerate(pictures.items(), start=1):
        left = MARGIN + column * (CELL + MARGIN)
        _cell(sheet, draw, left, top, _title(name, choice.scored.scores[name]), picture / scale)
        error = f"error x {gain}, rms {_rms(errors[name]):.2f}"
        _cell(sheet, draw, left, below, error, 128 + gain * errors[name])


def _description(choice: Choice, size: tuple[int, int], place: tuple[int, int]) -> str:
    case = choice.scored.case
    condition = [f"{case.condition.camera} ISO {case.condition.iso}"] if case.condition else []
    large = max(size) > CELL
    lines = [
        f"{choice.label}: {choice.gain:+.2f} dB",
        case.group,
        case.name,
        *condition,
        *(
            [f"shown: {CELL} x {CELL} at y {place[0]}, x {place[1]}", "PSNR: of the whole picture"]
            if large
            else []
        ),
    ]
    return "\n".join(part for line in lines for part in textwrap.wrap(line, 36))


def _title(name: str, score: Score) -> str:
    return f"{name}  {score.psnr:.2f} dB"


def _most_detailed(clean: np.ndarray) -> tuple[int, int]:
    """Top left corner of the cell with the strongest gradients, 0 along a side that is no longer than it."""
    grey = clean.mean(axis=2)
    detail = np.abs(cv2.Sobel(grey, -1, 1, 0)) + np.abs(cv2.Sobel(grey, -1, 0, 1))
    sums = cv2.integral(detail)
    height, width = grey.shape
    places = [
        (y, x)
        for y in range(0, max(height - CELL, 0) + 1, STEP)
        for x in range(0, max(width - CELL, 0) + 1, STEP)
    ]

    def amount(place: tuple[int, int]) -> float:
        (y, x), (bottom, right) = place, (min(place[0] + CELL, height), min(place[1] + CELL, width))
        return float(sums[bottom, right] - sums[y, right] - sums[bottom, x] + sums[y, x])

    return max(places, key=amount)


def _window(picture: np.ndarray, y: int, x: int, halo: int) -> tuple[slice, slice]:
    height, width = picture.shape[:2]
    return (
        slice(max(y - halo, 0), min(y + CELL + halo, height)),
        slice(max(x - halo, 0), min(x + CELL + halo, width)),
    )


def _cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, left: int, top: int, title: str, picture: np.ndarray
) -> None:
    """A picture with values in 0 .. 255 under its title; small ones are enlarged by a whole number."""
    _text(draw, left, top + 3, title)
    pixels = np.clip(np.round(picture), 0, 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))
    factor = max(1, CELL // max(image.size))
    sheet.paste(
        image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST),
        (left, top + TITLE),
    )


def _rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(error))))


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=14)


def _text(draw: ImageDraw.ImageDraw, left: int, top: int, text: str) -> None:
    """Black text, its lines cut to the width of a cell."""
    font = _font()
    lines = []
    for line in text.split("\n"):
        while font.getlength(line) > CELL:
            line = line[:-2] + "…"
        lines.append(line)
    draw.multiline_text((left, top), "\n".join(lines), fill="black", font=font)
