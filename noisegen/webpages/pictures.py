"""Pictures and charts as parts of a page: lossless, embedded as data URLs, with words for those who cannot see."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from PIL import Image

from noisegen.webpages.markup import Markup, details, fragment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GAIN", "Picture", "amplified_noise", "chart", "picture_url"]

# of the noise in pictures of it
GAIN = 4


@dataclass(frozen=True)
class Picture:
    """A picture in a page.

    Attributes:
        label: one or two words, for example ``"noisy"``; shown on the picture.
        url: where it is; a data URL in pages that stand alone.
        width, height: in pixels.
        alt: what it shows, for those who cannot see it.
    """

    label: str
    url: str
    width: int
    height: int
    alt: str

    @classmethod
    def of(cls, label: str, pixels: np.ndarray, *, alt: str = "", bits: int = 8) -> Self:
        """Embeds pixels, see `picture_url`; without ``alt`` the label stands for it."""
        height, width = pixels.shape[:2]
        return cls(label, picture_url(pixels, bits=bits), width, height, alt or label)


def picture_url(pixels: np.ndarray, *, bits: int = 8) -> str:
    """A data URL of the picture without loss: WebP, or PNG where that is smaller or a side exceeds WebP's 16383.

    Args:
        pixels: uint8 or uint16 [H, W, C], C = 1 (grey) or 3 (RGB).
        bits: significant bits of a uint16 picture; the upper eight are shown.
    """
    from noisegen.png import encode_png

    if pixels.dtype == np.uint16:
        pixels = (pixels >> (bits - 8)).astype(np.uint8)
    encoded = [("png", encode_png(np.ascontiguousarray(pixels), level="small"))]
    if max(pixels.shape) <= 16383:
        data = io.BytesIO()
        colour = np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
        Image.fromarray(colour).save(data, "webp", lossless=True, quality=50, method=2)
        encoded.append(("webp", data.getvalue()))
    kind, content = min(encoded, key=lambda item: len(item[1]))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def amplified_noise(noisy: np.ndarray, clean: np.ndarray, *, bits: int = 8, gain: int = GAIN) -> np.ndarray:
    """The noise times ``gain`` around middle grey, of the pictures' shape and type."""
    levels = 1 << bits
    noise = gain * (noisy.astype(np.int64) - clean) + levels // 2
    return np.clip(noise, 0, levels - 1).astype(clean.dtype)


def chart(figure: Figure, alt: str, tables: Iterable[Markup] = (), *, caption: object = "") -> Markup:
    """A chart with the numbers it was drawn from.

    Args:
        figure: a matplotlib figure, made without pyplot.
        alt: what it shows, with the main numbers.
        tables: the numbers, see `noisegen.webpages.markup.table`; shown on request.
        caption: what to see in it.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    data = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "noisegen"}):
        # not savefig, which draws everything twice
        FigureCanvasSVG(figure).print_svg(data, metadata={"Date": None, "Creator": None})
    numbers = list(tables)
    return fragment(
        '<figure class="chart"><img src="data:image/svg+xml;base64,{}" alt="{}" width="{}" height="{}">{}{}</figure>',
        base64.b64encode(data.getvalue()).decode("ascii"),
        alt,
        Markup(round(figure.get_figwidth() * 96)),
        Markup(round(figure.get_figheight() * 96)),
        fragment("<figcaption>{}</figcaption>", caption) if caption else Markup(""),
        details("The numbers", numbers) if numbers else Markup(""),
    )
