"""The page of a denoiser: its scores are those of the pictures, and nothing in its card comes alive."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path

import pytest
from browser_fixtures import browser_page
from checkpoint_page_fixtures import HOSTILE, hostile_card
from denoiser_fixtures import Sizes, random_denoiser, random_picture, write_denoiser
from noise_eval_fixtures import SIGMAS, make_pair, save
from training_fixtures import write_table

from noisegen.datasets.pairs import load_pair
from noisegen.denoising.inference import Denoiser
from noisegen.errors import UsageError
from noisegen.evaluation.denoising_metrics import psnr
from noisegen.models.checkpoint import Checkpoint, write_checkpoint
from noisegen.report.denoiser_page import denoiser_page
from noisegen.report.options import ReportOptions


def test_scores_are_those_of_the_pictures(tmp_path: Path) -> None:
    """By camera and ISO, of the split "val" where the table marks one; the worst and the best are shown."""
    path = write_denoiser(tmp_path / "denoiser.safetensors")
    pairs = [
        make_pair(tmp_path, condition, std, f"p{condition.iso}", "x") for condition, std in SIGMAS.items()
    ]
    marked = {pair.name: (pair.condition.camera, pair.condition.iso, "val") for pair in pairs[:2]}
    table = write_table(tmp_path, marked | {pairs[2].name: ("GP", 400, "train")})
    page = denoiser_page(path, ReportOptions(table, device="cpu"))
    *conditions, whole = page.numbers["pairs"]
    denoiser = Denoiser(random_denoiser())
    for pair, row in zip(pairs[:2], conditions, strict=True):
        noisy, clean = load_pair(pair)
        assert (row["camera"], row["iso"], row["pictures"]) == (pair.condition.camera, pair.condition.iso, 1)
        assert row["noisy"]["psnr"] == pytest.approx(psnr(noisy, clean, 255))
        assert row["denoised"]["psnr"] == pytest.approx(psnr(denoiser.denoise(noisy), clean, 255))
    assert whole["pictures"] == 2
    html = page.html()
    assert "split val" in html and "worst gain" in html and "best gain" in html
    assert page.encoded() == denoiser_page(path, ReportOptions(table, device="cpu")).encoded()


def test_a_pair_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write_denoiser(tmp_path / "denoiser.safetensors")
    make_pair(tmp_path, next(iter(SIGMAS)), 4.0, "good", "x")
    table = write_table(tmp_path, {"good": ("S6", 100), "absent": ("S6", 100)})
    page = denoiser_page(path, ReportOptions(table, device="cpu"))
    assert "absent" in page.numbers["problems"][0] and "Left out: 2" in page.html()


def test_without_pictures_it_says_how_to_get_some(tmp_path: Path) -> None:
    html = denoiser_page(
        write_denoiser(tmp_path / "denoiser.safetensors"), ReportOptions(device="cpu")
    ).html()
    assert "--pairs" in html and "--photo" in html and '<figure class="compare"><div' not in html


def test_refuses_a_photograph_of_another_kind(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", random_picture(40, 50))
    path = write_denoiser(tmp_path / "grey.safetensors", Sizes(channels=1))
    with pytest.raises(UsageError, match=r"--photo .*photo\.png"):
        denoiser_page(path, ReportOptions(photo=photo, device="cpu"))


def test_in_a_browser_with_a_hostile_card(tmp_path: Path) -> None:
    """Markup in the card, the journal and a picture's name stays text; pictures load; the viewer works."""
    path = tmp_path / "denoiser.safetensors"
    weights = random_denoiser().state_dict()
    write_checkpoint(path, Checkpoint("dncnn", asdict(Sizes()), weights, None, hostile_card()))
    work = tmp_path / "denoiser.safetensors.train"
    work.mkdir()
    with (work / "log.csv").open("w", newline="") as file:
        rows = [
            (step, name, 1 / step if step else float("inf"))
            for step in range(9)
            for name in ("loss", HOSTILE, "psnr")
        ]
        csv.writer(file).writerows(rows)
    pair = make_pair(tmp_path, next(iter(SIGMAS)), 4.0, "pair", "x")
    table = write_table(tmp_path, {"pair": ("S6", 100)})
    html = tmp_path / "page.html"
    html.write_bytes(denoiser_page(path, ReportOptions(table, photo=pair.noisy_path, device="cpu")).encoded())
    with browser_page() as (page, complaints):
        page.goto(html.as_uri())
        page.wait_for_selector("figure.compare.live")
        assert page.title() == "Denoiser denoiser"
        assert page.evaluate("[...document.images].filter((i) => !i.complete || !i.naturalWidth).length") == 0
        assert "<script>document.title" in page.inner_text("#trained-on")
        assert page.evaluate("document.querySelectorAll('main script, main img[src=x]').length") == 0
        photograph = page.locator("#on-a-photograph figure.compare")
        photograph.get_by_role("button", name="removed × 4").click()
        assert photograph.locator(".picture:not([hidden]) .label").all_inner_texts() == [
            "noisy",
            "removed × 4",
        ]
        assert page.locator("#on-real-pairs figure.compare").count() == 2
        page.set_viewport_size({"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert not complaints.console and not complaints.requests
