"""`noisegen report DATASET`: its numbers are those of the dataset, and it is written whatever state that is in."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_fixtures import HOSTILE, Reported, build_reported
from synthesis_fixtures import invoke, make_workplace

from noisegen.conditions import Condition
from noisegen.datasets.built import BuiltDataset
from noisegen.report import dataset_noise, dataset_samples
from noisegen.report.dataset_page import dataset_page
from noisegen.report.dataset_tiles import DrawnTile, draw_tiles, in_turns
from noisegen.report.measured_noise import NoiseMeter
from noisegen.report.options import ReportOptions
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.shards import Shard


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    return build_reported(tmp_path_factory.mktemp("reported"))


def test_its_numbers_are_those_of_the_dataset(reported: Reported) -> None:
    numbers = json.loads(reported.numbers)
    described = json.loads((reported.dataset / "dataset.json").read_bytes())
    assert numbers["totals"] == described
    assert numbers["complete"]
    assert sum(numbers["splits"].values()) == described["tiles"]
    built = BuiltDataset.open(reported.dataset)
    [measured] = [line for line in numbers["noise"] if (line["camera"], line["iso"]) == ("S6", 100)]
    keys = [key for key, condition in built.tiles if condition == Condition("S6", 100)]
    assert measured["dataset"]["pictures"] == len(keys) <= 64
    noise = np.stack([np.subtract(*built.load(key), dtype=np.int64) for key in keys])
    assert measured["dataset"]["std"] == pytest.approx(noise.std(), abs=1e-3)
    assert measured["real"]["std"] == pytest.approx(6, abs=0.1)
    assert abs(measured["real"]["correlation_with_next_pixel"]) < 0.02


def test_every_reason_of_failure_is_shown_and_what_is_hostile_is_text(reported: Reported) -> None:
    page = reported.page.read_text("utf-8")
    described = json.loads((reported.dataset / "dataset.json").read_bytes())
    for reason, count in described["failures"].items():
        assert f"<caption>{reason}: {count}</caption>" in page
    assert HOSTILE not in page
    assert "absent &lt;script&gt;" in page


def test_the_same_dataset_gives_the_same_bytes(reported: Reported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_noise, "CONDITIONS", 1)  # drawing all takes seconds
    first, second = (dataset_page(reported.dataset, ReportOptions(samples=3)).encoded() for _ in range(2))
    assert first == second


def test_another_seed_draws_other_tiles(reported: Reported) -> None:
    folder = DatasetFolder(reported.dataset)
    shards = folder.shards()

    def keys(seed: int) -> list[str]:
        return [
            str(tile.row["key"]) for tile in draw_tiles(folder, shards, np.arange(len(shards)), seed).tiles
        ]

    assert keys(0) == keys(0)
    assert keys(0)[:5] != keys(1)[:5]
    assert sorted(keys(0)) == sorted(keys(1))


def test_unfinished_and_damaged_datasets_have_a_page_that_says_so(reported: Reported, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(reported.dataset, copy)
    (copy / "dataset.json").unlink()
    (copy / "state" / "000001.done.json").unlink()
    for path in copy.rglob("shards/000002.tar"):
        path.write_bytes(b"\0" * path.stat().st_size)
    (copy / "state" / "000003.done.json").write_bytes(b"{")
    (copy / "state" / "host.json").write_bytes(b"{")
    page = dataset_page(copy, ReportOptions(samples=4))
    text = page.html()
    assert not page.numbers["complete"]
    assert "Not complete." in text
    assert "The same build-dataset command continues it" in text
    assert "shard 000002: a tile cannot be read" in text
    assert '<div class="pictures">' in text
    whole = json.loads((reported.dataset / "dataset.json").read_bytes())
    assert 0 < page.numbers["totals"]["tiles"] < whole["tiles"]


def test_a_damaged_description_is_counted_anew(reported: Reported, tmp_path: Path) -> None:
    shutil.copytree(reported.dataset, tmp_path / "copy")
    whole = json.loads((reported.dataset / "dataset.json").read_bytes())
    (tmp_path / "copy" / "dataset.json").write_text('{"shards": 3}')
    page = dataset_page(tmp_path / "copy", ReportOptions(samples=0))
    assert page.numbers["totals"] == whole
    assert not page.numbers["complete"]


@pytest.mark.parametrize("command", ["report", "status"])
def test_a_run_that_was_changed_is_refused_with_what_to_do(
    reported: Reported, tmp_path: Path, command: str
) -> None:
    shutil.copytree(reported.dataset, tmp_path / "copy")
    run = json.loads((tmp_path / "copy" / "run.json").read_bytes())
    run["config"].pop("tile_size")
    (tmp_path / "copy" / "run.json").write_text(json.dumps(run))
    result = invoke(command, str(tmp_path / "copy"))
    assert result.exit_code == 2
    assert "run.json is damaged or was changed" in result.stderr
    assert "the same build-dataset command writes it anew" in result.stderr


def test_a_build_that_gave_up_shows_why(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=2, bad_rows=True)
    assert invoke(*place.arguments(tmp_path / "out", "--max-failures", "2")).exit_code == 1
    text = dataset_page(tmp_path / "out", ReportOptions()).html()
    assert "Not complete." in text
    assert re.search(r"<caption>(unreadable|empty_file|truncated|missing)[^<]*</caption>", text)


def test_what_was_left_out_and_the_profile_are_shown(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=4)
    result = invoke(*place.arguments(tmp_path / "out", "--min-sharpness", "1", "--profile"))
    assert result.exit_code == 0, result.output
    described = json.loads((tmp_path / "out" / "dataset.json").read_bytes())
    assert described["left_out"]
    assert described["tiles"]
    text = dataset_page(tmp_path / "out", ReportOptions()).html()
    assert "Tiles that the selection left out" in text
    assert "The last build with --profile" in text


@pytest.mark.parametrize("layout", ["parquet", "folders", "hdf5", "lmdb"])
def test_all_formats_have_samples_and_their_own_words_on_reading(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"hdf5": "h5py", "lmdb": "lmdb"}.get(layout, "pyarrow"))
    monkeypatch.setattr(dataset_noise, "CONDITIONS", 0)
    place = make_workplace(tmp_path, photographs=1)
    assert invoke(*place.arguments(tmp_path / "out", "--format", layout)).exit_code == 0
    text = dataset_page(tmp_path / "out", ReportOptions(samples=1)).html()
    assert text.count('<div class="pictures">') == 1
    assert {"parquet": "load_dataset", "folders": "Image.open", "hdf5": "h5py.File", "lmdb": "lmdb.open"}[
        layout
    ] in text


def test_a_copy_says_what_it_goes_back_to(
    reported: Reported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_noise, "CONDITIONS", 0)
    copy = str(tmp_path / "copy")
    assert invoke("export", str(reported.dataset), "-o", copy, "--format", "folders").exit_code == 0
    page = dataset_page(tmp_path / "copy", ReportOptions(samples=0))
    assert page.numbers["complete"]
    assert "Made by <code>noisegen export</code> from what this gave:" in page.html()
    run = json.loads((reported.dataset / "run.json").read_bytes())
    assert run["checkpoint_sha256"] in page.html()


def test_samples_that_do_not_fit_are_left_out(reported: Reported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_noise, "CONDITIONS", 0)
    monkeypatch.setattr(dataset_samples, "BUDGET", 200_000)
    text = dataset_page(reported.dataset, ReportOptions()).html()
    assert 1 <= text.count('<div class="pictures">') < 24
    assert len(text) < 300_000


def test_the_first_tiles_differ_in_camera_then_iso() -> None:
    tiles = [
        DrawnTile(Shard(0, 0, 1), {"camera": camera, "iso": iso, "key": n})
        for camera, isos in [("A", [100] * 9 + [200]), ("B", [400])]
        for n, iso in enumerate(isos)
    ]
    order = [
        (tile.row["camera"], tile.row["iso"])
        for tile in in_turns(tiles, lambda tile: tile.row["camera"], lambda tile: tile.row["iso"])
    ]
    assert order[:3] == [("A", 100), ("B", 400), ("A", 200)]
    assert len(order) == len(tiles)


def test_deep_and_grey_noise_is_measured_in_grey_levels_of_eight_bits() -> None:
    generator = np.random.default_rng(0)
    clean = np.full((64, 64, 1), 2000, np.uint16)
    noisy = (clean + np.rint(generator.normal(0, 48, clean.shape))).astype(np.uint16)
    meter = NoiseMeter(12)
    meter.add(noisy, clean)
    measured = meter.result()
    assert measured is not None
    assert measured.total_std == pytest.approx(3, rel=0.05)
    assert np.nanmax(measured.std) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent", "does not exist"),
        ("photo.png", "noisegen preview"),
        ("pairs.csv", "--pairs"),
        ("weights.pth", "import-checkpoint"),
        ("notes.txt", "nothing that noisegen can report on"),
        ("other.safetensors", "no safetensors file"),
        ("photographs", "make-manifest"),
        ("around", "a folder around a dataset; give"),
        ("around/data/index.parquet", "is a file of a dataset; give its folder"),
        ("lost", "its run.json is gone"),
        ("empty", "holds no dataset"),
        ("models", "a folder of checkpoints; give one of them"),
    ],
)
def test_a_near_miss_is_told_what_it_is(tmp_path: Path, name: str, said: str) -> None:
    for folder in ("photographs", "around/data", "lost", "empty", "models"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("pairs.csv", "weights.pth", "notes.txt", "other.safetensors", "models/a.safetensors"):
        (tmp_path / file).write_text("nothing")
    for file in ("around/data/run.json", "lost/dataset.json", "around/data/index.parquet"):
        (tmp_path / file).write_text("{}")
    for file in ("photo.png", "photographs/a.JPG"):
        Image.new("RGB", (8, 8)).save(tmp_path / file, "png")
    result = invoke("report", str(tmp_path / name), "-o", str(tmp_path / "page.html"))
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "page.html").exists()
