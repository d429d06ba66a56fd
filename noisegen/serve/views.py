"""What is made of a photograph: the noisy one whole, or a part of it to look at."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from noisegen.images import EncodedPicture, read_image, read_metadata
from noisegen.png import encode_png
from noisegen.serve.choices import Choices, Window
from noisegen.synthesis.photograph_noise import PhotographNoise
from noisegen.webpages.pictures import amplified_noise

__all__ = ["View", "make_noisy", "make_view"]

OVERVIEW_SIDE = 320
# of the amplified noise, in grey levels of 256
VISIBLE_STD = 24.0
MAX_GAIN = 32


@dataclass(frozen=True)
class View:
    """A part of a photograph to look at; the pictures are PNG files of 8 bits.

    Attributes:
        numbers: ``width`` and ``height`` of the photograph, ``window`` (x, y, width and height of the part),
            ``noise_std`` in it, in grey levels, ``gain`` of the amplified noise, and ``rule``, how the ISO was handled
            (see `noisegen.conditions.ConditionMix`).
        clean, noisy: the part.
        noise: what was added, amplified, around grey.
        overview: the photograph, scaled down; None where the part is all of it.
    """

    numbers: dict[str, object]
    clean: bytes
    noisy: bytes
    noise: bytes
    overview: bytes | None


def make_noisy(noise: PhotographNoise, upload: EncodedPicture, choices: Choices, max_pixels: int) -> bytes:
    """The photograph with noise, as a PNG of its own size and bits with its EXIF tags and colour profile.

    Raises:
        InputError: it is no picture that can be read, is too large, or not one that the model is for.
    """
    clean = read_image(upload, max_pixels=max_pixels)
    noisy = noise.add(clean, choices.condition, seed=choices.seed, strength=choices.strength)
    return encode_png(noisy, read_metadata(upload).png_chunks(clean.shape[2]))


def make_view(
    noise: PhotographNoise, upload: EncodedPicture, choices: Choices, window: Window, max_pixels: int
) -> View:
    """A part of the photograph, with the noise that it has in the whole.

    Raises:
        InputError: as `make_noisy`.
    """
    picture = read_image(upload, max_pixels=max_pixels)
    height, width = picture.shape[:2]
    rows, columns = place = window.place(height, width)
    noisy = noise.add(picture, choices.condition, seed=choices.seed, strength=choices.strength, window=place)
    clean = picture[place]
    bits = noise.model.bit_depth
    std = float(np.std(noisy.astype(np.float32) - clean))
    gain = _gain(std * 256 / (1 << bits))
    return View(
        {
            "width": width,
            "height": height,
            "window": [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start],
            "noise_std": std,
            "gain": gain,
            "rule": noise.vocabulary.resolve(choices.condition).rule,
        },
        _shown(clean, bits),
        _shown(noisy, bits),
        _shown(amplified_noise(noisy, clean, bits=bits, gain=gain), bits),
        None if clean.shape == picture.shape else _shown(_scaled_down(picture), bits),
    )


def _gain(std: float) -> int:
    """A power of two that makes noise of this std (in levels of 256) visible."""
    gain = 1
    while gain < MAX_GAIN and gain * std < VISIBLE_STD:
        gain *= 2
    return gain


def _scaled_down(picture: np.ndarray) -> np.ndarray:
    height, width, channels = picture.shape
    scale = min(1.0, OVERVIEW_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], channels)


def _shown(picture: np.ndarray, bits: int) -> bytes:
    """A PNG that any browser shows: of 16 bits the upper eight that are in use."""
    if picture.dtype == np.uint16:
        picture = (picture >> (bits - 8)).astype(np.uint8)
    return encode_png(np.ascontiguousarray(picture))
