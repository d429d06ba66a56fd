"""What `noisegen plan` says of a build against what the build does."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthesis_fixtures import (
    Workplace,
    invoke,
    make_workplace,
    photograph,
    save_photograph,
    save_tiny_model,
)

from noisegen.cli import main
from noisegen.errors import UsageError
from noisegen.synthesis import trial
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.estimate import plan_build


@pytest.fixture(autouse=True)
def short_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "TIMED_SECONDS", 0.5)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=7, bad_rows=True)


SETTINGS: dict[str, object] = {"tile_size": 64, "rows_per_shard": 3}


def test_shards_tiles_and_failures_of_a_small_manifest_are_those_of_the_build(
    place: Workplace, tmp_path: Path
) -> None:
    plan = plan_build(place.manifest, quiet=True, model=place.model, variants=2, **SETTINGS)
    summary = build_dataset(
        place.manifest,
        tmp_path / "out",
        model=place.model,
        variants=2,
        quiet=True,
        **SETTINGS,  # type: ignore[arg-type]
    )
    assert (plan.rows, plan.rows_probed, plan.shards) == (16, 16, summary.shards)
    assert plan.tiles.low == plan.tiles.expected == plan.tiles.high == summary.tiles
    assert plan.megapixels.expected == pytest.approx(summary.megapixels)
    assert plan.failing == summary.failures


def test_the_size_is_that_of_the_dataset_within_a_tenth(place: Workplace, tmp_path: Path) -> None:
    plan = plan_build(place.manifest, quiet=True, model=place.model, tile_size=64)
    for name, size in plan.bytes_by_format.items():
        output = tmp_path / name
        build_dataset(place.manifest, output, model=place.model, format=name, tile_size=64, quiet=True)
        in_folders = [path for path in output.glob("*/**/*") if path.is_file()]
        assert size == pytest.approx(sum(path.stat().st_size for path in in_folders), rel=0.1), name
    assert plan.bytes.low <= plan.bytes.expected <= plan.bytes.high <= plan.peak_disk_bytes * 1.2


def test_nothing_is_written_to_the_datasets_folder_and_the_time_follows_from_the_rate(
    place: Workplace, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    options = [*place.arguments(output)[1:], "--json", "-q"]
    result = invoke("plan", *options)
    assert result.exit_code == 0, result.output
    assert not output.exists()
    plan = json.loads(result.stdout)
    rate = plan["trial"]["megapixels_per_second"]
    assert 0 < rate["low"] <= rate["expected"] <= rate["high"]
    assert plan["seconds"]["expected"] == pytest.approx(plan["megapixels"]["expected"] / rate["expected"])
    assert plan["device_hours"]["high"] == pytest.approx(plan["seconds"]["high"] / 3600)
    assert plan["free_disk_bytes"] > 0 and plan["trial"]["tiles"] > 0


def test_what_is_done_costs_no_more_time_and_other_settings_are_refused(
    place: Workplace, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    build_dataset(place.manifest, output, model=place.model, quiet=True, **SETTINGS)  # type: ignore[arg-type]
    plan = plan_build(place.manifest, output, quiet=True, model=place.model, **SETTINGS)
    assert plan.shards_done == plan.shards and plan.seconds is not None and plan.seconds.high == 0
    with pytest.raises(UsageError, match=r"config\.seed: 0 -> 1"):
        plan_build(place.manifest, output, quiet=True, model=place.model, seed=1, **SETTINGS)


def test_a_long_manifest_is_sampled_the_same_way_each_time_and_the_truth_lies_in_the_range(
    tmp_path: Path,
) -> None:
    """Rows come in runs of large and small photographs, as folders do, and some are missing."""
    for name, side in (("small", 64), ("large", 256)):
        save_photograph(tmp_path / f"{name}.png", photograph(side, side))
    model = save_tiny_model(tmp_path / "model.safetensors")
    kinds = ["small"] * 2000 + ["large"] * 1500 + ["absent"] * 500 + ["small", "large"] * 500
    table = pa.table(
        {"path": [f"{kind}.png" for kind in kinds], "id": [f"{i}" for i in range(len(kinds))]},
    )
    pq.write_table(table, tmp_path / "manifest.parquet")
    sampled, again, whole = (
        plan_build(tmp_path / "manifest.parquet", quiet=True, model=model, tile_size=64, all_rows=every)
        for every in (False, False, True)
    )
    truth = kinds.count("small") + 16 * kinds.count("large")
    assert (whole.rows_probed, whole.tiles.expected, whole.failing) == (5000, truth, {"missing": 500})
    assert sampled.rows_probed == 1024
    assert sampled.tiles == again.tiles and sampled.usable == again.usable
    assert sampled.tiles.low <= truth <= sampled.tiles.high < 1.2 * truth
    assert sampled.usable.low <= 4500 <= sampled.usable.high
    assert "headers of 1024 photographs spread over the manifest" in sampled.text()


def test_a_manifest_without_a_usable_photograph_has_a_plan(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model.safetensors")
    pq.write_table(pa.table({"path": ["absent.png"]}), tmp_path / "manifest.parquet")
    plan = plan_build(tmp_path / "manifest.parquet", quiet=True, model=model)
    assert (plan.tiles.high, plan.failing, plan.seconds) == (0, {"missing": 1}, None)
    assert "unknown" in plan.text()


def test_an_argument_that_a_build_does_not_have_is_refused(place: Workplace) -> None:
    with pytest.raises(TypeError, match="colour"):
        plan_build(place.manifest, colour="red")


def test_plan_takes_every_option_of_build_dataset() -> None:
    options = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name in ("plan", "build-dataset")
        if (command := main.get_command(None, name)) is not None  # type: ignore[attr-defined]
    }
    assert options["build-dataset"] <= options["plan"]
