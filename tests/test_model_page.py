"""The page of a noise model: every type has one, its numbers are right, and nothing in it comes alive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browser_fixtures import browser_page
from checkpoint_page_fixtures import HOSTILE, hostile_card, untrained, white
from markupsafe import Markup
from model_fixtures import KNOWN, table_of_pairs
from noise_eval_fixtures import make_pair
from training_fixtures import write_table

from noisegen.conditions import Condition
from noisegen.errors import UsageError
from noisegen.models.registry import model_types
from noisegen.png import encode_png
from noisegen.report import drawn_noise, drawn_pieces, real_noise
from noisegen.report.choosing import few_of_each, spread_conditions
from noisegen.report.model_page import model_page
from noisegen.report.options import ReportOptions
from noisegen.report.rendered_chart import CHART_SIDE, rendered_chart

STRONG = {Condition("A", 100): 3.0, Condition("B", 800): 6.0}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures to measure on, and no charts, which take longer than everything else."""
    monkeypatch.setattr(drawn_noise, "RAMP_HEIGHT", 96)
    monkeypatch.setattr(drawn_noise, "RAMP_WIDTH", 128)
    monkeypatch.setattr(drawn_noise, "FLAT_SIDE", 48)
    for module in (drawn_pieces, real_noise):
        monkeypatch.setattr(module, "chart", lambda figure, alt, tables: Markup("").join(tables))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", model_types())
def test_every_type_of_model_has_a_page(tmp_path: Path, name: str) -> None:
    """Also one that has learned nothing, and one that draws nothing without references."""
    path = untrained(tmp_path, name)
    page = model_page(path, ReportOptions(samples=1, device="cpu"))
    html = page.html()
    assert page.numbers["known"] == [[c.camera, c.iso] for c in KNOWN]
    assert "Cameras and ISO" in html and "SHA-256" in html
    if name == "naflow":
        assert "--noisy-pool" in html and "noise" not in page.numbers
        pool = table_of_pairs(tmp_path)
        page = model_page(path, ReportOptions(samples=1, noisy_pool=pool, device="cpu"))
    assert [(row["camera"], row["iso"]) for row in page.numbers["noise"]] == [
        (c.camera, c.iso) for c in KNOWN
    ]
    assert page.html().count('<figure class="compare"><div') == 1


@pytest.mark.usefixtures("quick")
def test_measures_the_noise_that_a_model_has(tmp_path: Path) -> None:
    """White noise of known strength comes out as strong, and without correlation."""
    page = model_page(white(tmp_path, STRONG), ReportOptions(samples=0, device="cpu"))
    for row in page.numbers["noise"]:
        truth = STRONG[Condition(row["camera"], row["iso"])]
        # rounding to whole levels adds 1/12 to the variance; 1152 values in a bin are known to 2 %
        assert row["std"]["middle"] == pytest.approx((truth**2 + 1 / 12) ** 0.5, rel=0.08)
        assert row["std"]["dark"] == pytest.approx(row["std"]["bright"], rel=0.15)
        assert abs(row["next_pixel"]) < 0.06
        assert np.abs(row["between_channels"]).max() < 0.1


@pytest.mark.usefixtures("quick")
def test_real_noise_beside_it(tmp_path: Path) -> None:
    """A model as strong as the real noise scores near the floor, one of twice its strength does not; a condition
    that the model does not cover is named."""
    pairs = [make_pair(tmp_path, c, std, f"{c.camera}{c.iso}", "x") for c, std in STRONG.items()]
    rows = {pair.name: (pair.condition.camera, pair.condition.iso) for pair in pairs}
    make_pair(tmp_path, Condition("C", 100), 5.0, "unknown", "x")
    table = write_table(tmp_path, rows | {"unknown": ("C", 100)})
    doubled = STRONG | {Condition("B", 800): 12.0}
    page = model_page(white(tmp_path, doubled), ReportOptions(table, samples=2, device="cpu"))
    same, twice = page.numbers["real"]
    assert same["std_real"] == pytest.approx(3.0, rel=0.05)
    assert same["scores"]["std_error"] < 0.05 < 0.9 < twice["scores"]["std_error"] < 1.1
    assert same["scores"]["kld_nm"] < 10 * same["floor"]["kld_nm"] < twice["scores"]["kld_nm"]
    [problem] = page.numbers["problems"]
    assert "C ISO 100" in problem and "C ISO 100" in page.html()


def test_the_same_checkpoint_gives_the_same_page(tmp_path: Path) -> None:
    """And a photograph stands in for the chart."""
    path = white(tmp_path, {Condition("A", 100): 4.0})
    photo = tmp_path / "photo.png"
    photo.write_bytes(encode_png(rendered_chart()[:64, :96]))
    options = ReportOptions(photo=photo, device="cpu")
    first = model_page(path, options).encoded()
    assert first == model_page(path, options).encoded()
    assert (
        b'width="96" height="64"' in first
        and first != model_page(path, ReportOptions(device="cpu")).encoded()
    )


def test_refuses_a_photograph_of_another_kind(tmp_path: Path) -> None:
    photo = tmp_path / "grey.png"
    photo.write_bytes(encode_png(rendered_chart(1)))
    with pytest.raises(UsageError, match=r"--photo .*grey\.png"):
        model_page(white(tmp_path, STRONG), ReportOptions(photo=photo))


def test_in_a_browser_with_a_hostile_card(tmp_path: Path) -> None:
    """Markup in camera and card stays text, all pictures load, and slider, buttons and selects work."""
    path = white(tmp_path, {Condition(HOSTILE, 100): 4.0, Condition(HOSTILE, 800): 8.0}, hostile_card())
    make_pair(tmp_path, Condition(HOSTILE, 100), 4.0, "pair", "x")
    table = write_table(tmp_path, {"pair": (HOSTILE.replace("\x1b", "").strip(), 100)})
    html = tmp_path / "page.html"
    html.write_bytes(model_page(path, ReportOptions(table, device="cpu")).encoded())
    with browser_page() as (page, complaints):
        page.goto(html.as_uri())
        page.wait_for_selector("figure.compare.live")
        assert page.title() == "Noise model white"
        assert page.evaluate("[...document.images].filter((i) => !i.complete || !i.naturalWidth).length") == 0
        assert page.inner_text("#what-it-is").count("<script>document.title") == 1
        assert page.evaluate("document.querySelectorAll('main script, main img[src=x]').length") == 0
        first = page.locator("#samples figure.compare").first
        first.locator("input[type=range]").fill("20")
        assert "20 %" in str(first.locator("input[type=range]").get_attribute("aria-valuetext"))
        first.get_by_role("button", name="noise × 4").click()
        assert first.locator(".picture:not([hidden]) .label").all_inner_texts() == ["clean", "noise × 4"]
        page.locator("#samples select").nth(1).select_option("800")
        assert page.locator("#samples figure.compare:visible").count() == 1
        page.set_viewport_size({"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert not complaints.console and not complaints.requests


@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (3, 8), (3, 12)])
def test_rendered_chart_uses_the_whole_range(channels: int, bits: int) -> None:
    chart = rendered_chart(channels, bits)
    assert chart.shape == (CHART_SIDE, CHART_SIDE, channels)
    assert chart.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert (chart.min(), chart.max()) == (0, 2**bits - 1)


def test_choices_are_spread() -> None:
    known = [Condition(camera, iso) for camera in "AB" for iso in (100, 200, 400, 800)]
    assert spread_conditions(known, 4) == [Condition(camera, iso) for iso in (100, 800) for camera in "AB"]
    assert sorted(spread_conditions(known, 99)) == known and spread_conditions([], 3) == []
    assert few_of_each(list(range(20)), lambda number: number % 2, 2) == [4, 5, 14, 15]
