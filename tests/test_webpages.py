"""Pieces of pages: what comes from outside stays text, the same page gives the same bytes, pictures are lossless."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from noisegen.evaluation.plot_style import new_figure
from noisegen.webpages.markup import fragment, number, table, text
from noisegen.webpages.page import Page, Section
from noisegen.webpages.pictures import amplified_noise, chart, picture_url
from noisegen.webpages.viewer import gallery


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", "\"><img src=x onerror='a()'>", "a&lt;b", "</title><p>"]
)
def test_what_comes_from_outside_stays_text(hostile: str) -> None:
    pieces = [
        table([hostile], [[hostile]], caption=hostile),
        gallery([hostile], [([hostile], fragment("<p>{}</p>", hostile))], what=hostile),
        chart(new_figure(1, 1, 1, 1)[0], hostile, caption=hostile),
    ]
    page = Page(hostile, hostile, [Section(hostile, pieces)]).html()
    body = re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)
    assert hostile not in body
    assert "<img src=x" not in body
    assert str(text(hostile)) in body


def test_characters_that_deceive_are_made_visible() -> None:
    assert text("photo\u202egpj.exe\x00\ud800") == "photo\ufffdgpj.exe\ufffd\ufffd"
    assert Page("\udc80", "", []).encoded()


def test_numbers_are_written_for_people() -> None:
    assert [number(value) for value in (1234567, 0.12345, 12.0, 4321.9, float("nan"))] == [
        "1\u202f234\u202f567",
        "0.123",
        "12.0",
        "4\u202f322",
        "–",
    ]


def test_the_policy_names_the_pages_own_scripts_and_style_and_nothing_of_the_network() -> None:
    page = Page("a", "b", []).html()
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src &#39;none&#39;" in policy
    assert "unsafe" not in policy
    assert policy.count("sha256-") == 1 + page.count("<script>")
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)


@pytest.mark.parametrize(("channels", "bits"), [(3, 8), (1, 8), (3, 12), (1, 16)])
def test_embedded_pictures_are_lossless_to_eight_bits(channels: int, bits: int) -> None:
    pixels = (
        np.random.default_rng(0)
        .integers(0, 1 << bits, (19, 33, channels))
        .astype(np.uint8 if bits == 8 else np.uint16)
    )
    data = base64.b64decode(picture_url(pixels, bits=bits).partition(",")[2])
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert (shown == np.broadcast_to(pixels >> (bits - 8), (19, 33, 3))).all()


def test_amplified_noise_is_grey_without_noise_and_does_not_wrap_around() -> None:
    clean = np.array([[[100], [100], [100], [0]]], np.uint8)
    noisy = np.array([[[100], [103], [200], [0]]], np.uint8)
    assert amplified_noise(noisy, clean).ravel().tolist() == [128, 140, 255, 128]
    assert amplified_noise(clean, noisy).ravel().tolist() == [128, 116, 0, 128]


def test_the_same_chart_gives_the_same_bytes() -> None:
    def draw() -> str:
        figure, [[ax]] = new_figure(1, 1, 2, 2)
        ax.plot([1, 3, 2])
        return str(chart(figure, "three values"))

    assert draw() == draw()
