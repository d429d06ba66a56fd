"""The page of a dataset in a real browser: by mouse and keyboard, for screen readers, narrow, without scripts."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from browser_fixtures import browser_page
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from report_fixtures import HOSTILE, Reported, build_reported

from noisegen.datasets.built import BuiltDataset
from noisegen.webpages.pictures import amplified_noise


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    return build_reported(tmp_path_factory.mktemp("reported"))


@pytest.fixture(scope="module")
def page(reported: Reported) -> Iterator[Page]:
    """One browser for all tests; whatever they do, the page must not complain."""
    with browser_page() as (page, complaints):
        yield page
        assert complaints.console == []
        assert complaints.requests == []


@pytest.fixture(autouse=True)
def _loaded(page: Page, reported: Reported) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(reported.page.as_uri())
    first_viewer(page).locator("img").first.evaluate("image => image.decode()")


def first_viewer(page: Page) -> Locator:
    return page.locator("figure.compare").first


def pixels_of(viewer: Locator) -> np.ndarray:
    """What is seen on the stage, without labels and the slider's edge."""
    stage = viewer.locator(".pictures")
    stage.evaluate("s => s.querySelectorAll('.label, .edge').forEach(e => (e.style.visibility = 'hidden'))")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    clip = {name: round(value) for name, value in box.items()}
    shown = Image.open(io.BytesIO(viewer.page.screenshot(clip=clip))).convert("RGB")
    # the stage has round corners
    return np.asarray(shown)[8:-8, 8:-8]


def tile_of(reported: Reported, viewer: Locator) -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean tile of a viewer, by the key in its caption."""
    return BuiltDataset.open(reported.dataset).load(viewer.locator(".key").inner_text())


def enlarged(picture: np.ndarray, factor: int) -> np.ndarray:
    """Every pixel as a square."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def test_the_slider_shows_each_picture_pixel_by_pixel(page: Page, reported: Reported) -> None:
    viewer = first_viewer(page)
    noisy, clean = tile_of(reported, viewer)
    slider = viewer.get_by_role("slider")
    assert viewer.locator("output").inner_text() == "4:1"
    slider.press("End")
    assert (pixels_of(viewer) == enlarged(clean, 4)[8:-8, 8:-8]).all()
    slider.press("Home")
    assert (pixels_of(viewer) == enlarged(noisy, 4)[8:-8, 8:-8]).all()
    viewer.get_by_role("button", name="noise × 4").click()
    assert (pixels_of(viewer) == enlarged(amplified_noise(noisy, clean), 4)[8:-8, 8:-8]).all()


def test_the_slider_moves_by_keys_and_by_the_mouse(page: Page, reported: Reported) -> None:
    viewer = first_viewer(page)
    noisy, clean = (enlarged(tile, 4) for tile in tile_of(reported, viewer))
    slider = viewer.get_by_role("slider")
    for _ in range(5):
        slider.press("ArrowRight")
    assert slider.input_value() == "55"
    assert slider.get_attribute("aria-valuetext") == "55 % clean, the rest noisy"
    box = viewer.locator(".pictures").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 64, box["y"] + 60, steps=3)
    page.mouse.up()
    assert float(slider.input_value()) == 25
    shown = pixels_of(viewer)
    assert (shown[:, : 64 - 8] == clean[8:-8, 8:64]).all()
    assert (shown[:, 64 - 8 :] == noisy[8:-8, 64:-8]).all()


def test_zoom_keeps_pixels_square_and_can_be_moved(page: Page, reported: Reported) -> None:
    viewer = first_viewer(page)
    _, clean = tile_of(reported, viewer)
    large = enlarged(clean, 8)
    viewer.get_by_role("slider").press("End")
    stage = viewer.locator(".pictures")
    stage.press("+")
    assert viewer.locator("output").inner_text() == "8:1"
    assert viewer.get_by_role("button", name="Zoom in").is_disabled()
    assert (pixels_of(viewer) == large[128 + 8 : 384 - 8, 128 + 8 : 384 - 8]).all()
    stage.press("ArrowRight")
    assert (pixels_of(viewer) == large[128 + 8 : 384 - 8, 160 + 8 : 416 - 8]).all()
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + 110, steps=2)
    page.mouse.up()
    assert (pixels_of(viewer) == large[118 + 8 : 374 - 8, 180 + 8 : 436 - 8]).all()
    page.mouse.wheel(0, 100)
    expect(viewer.locator("output")).to_have_text("4:1")
    assert (pixels_of(viewer) == enlarged(clean, 4)[8:-8, 8:-8]).all()
    viewer.get_by_role("button", name="Zoom out").click()
    assert viewer.locator("output").inner_text() == "2:1"


def test_the_page_scrolls_under_a_viewer_that_is_not_in_use(page: Page) -> None:
    first_viewer(page).locator(".pictures").hover()
    page.mouse.wheel(0, 2000)
    expect(first_viewer(page)).not_to_be_in_viewport()


def test_samples_can_be_chosen_by_camera_and_iso(page: Page) -> None:
    section = page.locator("#samples")
    viewers = section.locator("figure.compare:visible")
    every = viewers.count()
    section.get_by_label("camera").select_option("N6")
    captions = viewers.locator("strong").all_inner_texts()
    assert 0 < len(captions) < every
    assert all(caption.startswith("N6, ISO ") for caption in captions)
    assert section.locator(".chooser output").inner_text() == f"{len(captions)} of {every} samples"
    assert section.get_by_label("ISO").locator("option", has_text=re.compile("^100$")).is_disabled()
    section.get_by_label("camera").select_option("all")
    assert viewers.count() == every


def test_hostile_names_are_text(page: Page) -> None:
    text = page.locator("#failures").inner_text()
    assert "absent <script>alert('x')<" in text
    assert page.locator("script").count() == 2
    assert HOSTILE in "".join(page.locator("#samples figcaption").all_inner_texts())


def test_the_accessibility_tree_has_headings_in_order_and_a_name_for_everything(page: Page) -> None:
    levels = [int(tag[1]) for tag in page.locator("h1,h2,h3,h4").evaluate_all("e => e.map(x => x.tagName)")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    named = {"button", "slider", "combobox", "image", "img", "link", "region", "table", "navigation", "group"}
    roles = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    assert {"button", "slider", "combobox", "image", "link", "navigation"} <= {role for role, _ in roles}
    assert [role for role, name in roles if role in named - {"group"} and not name.strip()] == []
    alternatives = [name for role, name in roles if role in ("image", "img")]
    assert all(len(name) > 10 for name in alternatives)
    assert any(
        re.search(r"Histogram of the noise, S6 ISO 100: dataset std \d", name) for name in alternatives
    )


def test_the_tab_key_goes_through_the_page_from_top_to_bottom(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    tops = []
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.matches(':focus-visible')")
        tops.append(page.evaluate("document.activeElement.getBoundingClientRect().top + scrollY"))
    first = page.locator("figure.compare .pictures").first
    assert tops[0] < tops[-1]
    assert first.get_attribute("tabindex") == "0"
    first.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "range"
    # the buttons are one stop: arrow keys go through them, Tab leaves them
    page.keyboard.press("Tab")
    for name in ("noisy", "noise × 4", "Zoom out", "Zoom in", "noisy"):
        expect(first.locator("xpath=..").get_by_role("button", name=name, exact=True)).to_be_focused()
        page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    for _ in range(2):
        page.keyboard.press("Enter")
    expect(first.locator("xpath=..").get_by_role("button", name="Zoom in")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("figure.compare .pictures").nth(1)).to_be_focused()


def test_a_narrow_window_does_not_scroll_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.evaluate("document.querySelectorAll('details').forEach(d => (d.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    box = first_viewer(page).bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360


def test_without_scripts_everything_is_shown(page: Page, reported: Reported) -> None:
    assert page.context.browser is not None
    context = page.context.browser.new_context(java_script_enabled=False)
    try:
        bare = context.new_page()
        bare.goto(reported.page.as_uri())
        viewer = bare.locator("figure.compare").first
        pictures = viewer.locator("img")
        assert pictures.count() == 3
        boxes = [pictures.nth(place).bounding_box() for place in range(3)]
        assert all(box is not None and box["width"] >= 64 for box in boxes)
        assert viewer.locator(".label").all_inner_texts() == ["clean", "noisy", "noise × 4"]
        assert bare.locator("#noise img").count() == bare.locator("#noise img:visible").count() > 0
        assert bare.locator("select").count() == 0
    finally:
        context.close()


def test_the_page_asks_for_nothing(reported: Reported) -> None:
    assert not re.search(
        r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", Path(reported.page).read_text("utf-8")
    )
