"""What a denoiser trains on is what was named, and its patches depend on the seed and the step alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from denoiser_training_fixtures import write_manifest, write_pairs
from synthesis_fixtures import (
    VOCABULARY,
    invoke,
    make_workplace,
    photograph,
    save_photograph,
    tiny_model,
)

from noisegen.datasets.built import BuiltDataset
from noisegen.denoising.sources import Source, kinds_of, open_source, parse_source
from noisegen.denoising.stream import PatchBatch, PatchStream
from noisegen.errors import UsageError
from noisegen.images import read_image
from noisegen.synthesis.choices import FORMAT_NAMES
from noisegen.training.distributed import Ranks


def opened(text: str, **options: object) -> Source:
    given: dict[str, object] = {"split": None, "noise_model": tiny_model()}
    return open_source(parse_source(text), **(given | options))  # type: ignore[arg-type]


def stream(*sources: Source, seed: int = 0, batch: int = 6, **options: object) -> PatchStream:
    settings: dict[str, object] = {"patch": 16, "balance": True}
    return PatchStream(sources, batch=batch, seed=seed, **(settings | options))  # type: ignore[arg-type]


def same(one: PatchBatch, other: PatchBatch) -> bool:
    return (
        one.step == other.step
        and np.array_equal(one.noisy, other.noisy)
        and np.array_equal(one.clean, other.clean)
        and (one.synthetic, one.conditions) == (other.synthetic, other.conditions)
    )


def test_a_source_is_told_by_what_it_is(tmp_path: Path) -> None:
    pairs, manifest = write_pairs(tmp_path), write_manifest(tmp_path)
    spec = parse_source(f"{pairs}:0.25")
    assert (spec.kind, spec.path, spec.weight, spec.needs_noise) == ("pairs", pairs, 0.25, False)
    assert parse_source(f"clean:{pairs}").needs_noise
    assert parse_source(str(manifest)).kind == "manifest"
    table = pa.Table.from_pylist([{"noisy_path": "a", "clean_path": "b", "camera": "c", "iso": 1}])
    pq.write_table(table, tmp_path / "pairs.parquet")
    assert parse_source(f"{tmp_path / 'pairs.parquet'}:2").kind == "pairs"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{0}/absent.csv", "no such file or folder"),
        ("{0}/pairs.csv:0", "weight must be a positive number"),
        ("{0}/pairs.csv:nan", "weight must be a positive number"),
        ("{0}/pairs.csv:heavy", "no such file or folder"),
        ("clean:{0}/manifest.parquet", "takes the clean pictures of a table of pairs"),
        ("{0}/one_train_clean.png", "no table of pairs"),
        ("{0}", "holds no dataset"),
    ],
)
def test_what_is_no_source_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write_pairs(tmp_path)
    write_manifest(tmp_path)
    with pytest.raises(UsageError, match=message):
        opened(text.format(tmp_path))


def test_pairs_are_those_of_the_training_split(tmp_path: Path) -> None:
    source = opened(str(write_pairs(tmp_path)))
    assert [picture.name for picture in source.pictures] == ["pair one_train_noisy", "pair two_train_noisy"]
    assert source.record["split"] == "train"


@pytest.mark.parametrize("output_format", FORMAT_NAMES)
def test_a_built_dataset_is_read_tile_by_tile(tmp_path: Path, output_format: str) -> None:
    place = make_workplace(tmp_path, photographs=4)
    built = tmp_path / "dataset"
    assert invoke(*place.arguments(built, "--format", output_format)).exit_code == 0
    source = opened(str(built))
    assert len(source.pictures) > 8 and kinds_of([source]) == {(3, 8)}
    first = source.pictures[0]
    noisy, clean = first.load()
    assert noisy is not None and noisy.shape == (64, 64, 3)
    np.testing.assert_array_equal(clean, read_image(tmp_path / "photo0.png")[:64, :64])
    assert 0.5 < np.std(noisy.astype(float) - clean) < 80
    # in any order, and from several threads
    batches = list(stream(source).batches(0, 8, workers=3))
    assert all(batch.synthetic == [] for batch in batches)
    if output_format == "folders":
        whole = BuiltDataset.open(built)
        (built / "lq" / f"{whole.tiles[3][0]}.png").unlink()
        with pytest.raises(UsageError, match="cannot be read"):
            whole.load(whole.tiles[3][0])


def test_a_dataset_with_splits_gives_its_training_split(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=9)
    built = tmp_path / "dataset"
    arguments = place.arguments(built, "--split", "train:0.5,test:0.5")
    assert invoke(*arguments).exit_code == 0
    names = [{picture.name for picture in opened(str(built), split=s).pictures} for s in (None, "test", "")]
    assert names[0] and names[1] and not names[0] & names[1] and names[0] | names[1] == names[2]
    with pytest.raises(UsageError, match="no tiles of split 'val'"):
        opened(str(built), split="val")


def test_a_dataset_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=4)
    built = tmp_path / "dataset"
    assert invoke(*place.arguments(built)).exit_code == 0
    next((built / "state").glob("*.done.json")).unlink()
    with pytest.raises(UsageError, match="is not finished"):
        opened(str(built))


def test_patches_depend_on_seed_and_step_alone(tmp_path: Path) -> None:
    sources = [opened(str(write_pairs(tmp_path))), opened(f"{write_manifest(tmp_path)}:2")]
    one = stream(*sources)
    ahead = list(stream(*sources, cache_bytes=0).batches(2, 9, workers=3))
    assert [batch.step for batch in ahead] == list(range(2, 9))
    assert all(same(batch, one.batch(batch.step)) for batch in reversed(ahead))
    assert not same(one.batch(3), stream(*sources, seed=1).batch(3))


def test_the_parts_of_processes_make_up_the_batch(tmp_path: Path) -> None:
    sources = [opened(str(write_pairs(tmp_path))), opened(str(write_manifest(tmp_path)))]
    whole = stream(*sources).batch(4)
    parts = [stream(*sources, ranks=Ranks(rank, 2)).batch(4) for rank in range(2)]
    np.testing.assert_array_equal(np.concatenate([part.noisy for part in parts]), whole.noisy)
    rows = parts[0].synthetic + [row + 3 for row in parts[1].synthetic]
    assert rows == whole.synthetic and parts[0].conditions + parts[1].conditions == whole.conditions


def test_both_sides_of_a_pair_are_cut_and_turned_alike(tmp_path: Path) -> None:
    patches = stream(opened(str(write_pairs(tmp_path, std=4))), batch=40)
    batch = patches.batch(0)
    noise = batch.noisy.astype(float) - batch.clean
    assert np.abs(noise).mean() < 5 and noise.std() > 2
    # all eight ways of laying a picture, where the same square is drawn again and again
    small = stream(opened(str(write_pairs(tmp_path))), batch=200, patch=40)
    assert len({patch.tobytes() for patch in small.batch(0).clean[:, :8, :8]}) > 8


def test_clean_pictures_of_pairs_give_the_same_patches_as_the_pairs(tmp_path: Path) -> None:
    table = write_pairs(tmp_path)
    real, clean = (stream(opened(text)).batch(5) for text in (str(table), f"clean:{table}"))
    np.testing.assert_array_equal(real.clean, clean.clean)
    np.testing.assert_array_equal(clean.noisy, clean.clean)
    assert clean.synthetic == list(range(6)) and set(clean.conditions) <= set(VOCABULARY.known)


def test_weights_are_shares_of_the_batch_and_open_conditions_are_drawn(tmp_path: Path) -> None:
    pairs, manifest = write_pairs(tmp_path), write_manifest(tmp_path)
    batch = stream(opened(f"{pairs}:3"), opened(f"{manifest}:1"), batch=2000).batch(0)
    assert len(batch.synthetic) == pytest.approx(500, abs=70)
    counts = {c: batch.conditions.count(c) for c in set(batch.conditions)}
    assert set(VOCABULARY.known) < set(counts) and counts.keys() - set(VOCABULARY.known)


def test_half_a_condition_is_completed_from_the_known_ones(tmp_path: Path) -> None:
    write_manifest(tmp_path)
    rows: list[dict[str, object]] = [
        {"path": "photo0.png", "camera": "N6", "iso": None},
        {"path": "photo1.png", "camera": None, "iso": 600},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "manifest.parquet")
    batch = stream(opened(str(tmp_path / "manifest.parquet")), batch=80).batch(0)
    drawn = {(condition.camera, condition.iso) for condition in batch.conditions}
    assert drawn == {("N6", 400), ("N6", 3200), ("N6", 600), ("S6", 600)}


def test_cameras_are_drawn_equally_or_by_area(tmp_path: Path) -> None:
    table = write_pairs(tmp_path)
    save_photograph(tmp_path / "two_train_clean.png", photograph(160, 160))
    save_photograph(tmp_path / "two_train_noisy.png", photograph(160, 160))
    for balance, share in ((True, 0.5), (False, 361 / (361 + 24))):
        patches = stream(opened(str(table)), balance=balance)
        assert patches.probabilities[1] == pytest.approx(share, abs=0.001)


def test_photographs_are_enlarged_and_pairs_are_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs, manifest = write_pairs(tmp_path), write_manifest(tmp_path)
    for number in range(2):
        save_photograph(tmp_path / f"photo{number}.png", rng.integers(0, 256, (48, 64, 3)).astype(np.uint8))

    def step_between_pixels(batch: PatchBatch) -> float:
        return float(np.abs(np.diff(batch.clean.astype(float), axis=1)).mean())

    photographs = opened(str(manifest))
    plain, enlarged = (stream(photographs, magnify=magnify) for magnify in ((1.0, 1.0), (2.0, 4.0)))
    assert enlarged.batch(0).clean.shape == (6, 16, 16, 3)
    assert step_between_pixels(enlarged.batch(0)) < 0.7 * step_between_pixels(plain.batch(0))
    for text in (str(pairs), f"clean:{pairs}"):
        batches = [stream(opened(text), magnify=magnify).batch(0) for magnify in ((1.0, 1.0), (2.0, 4.0))]
        assert same(*batches)


def test_bad_rows_of_a_manifest_are_named_and_others_used(tmp_path: Path) -> None:
    write_manifest(tmp_path)
    rows = [
        {"path": "photo0.png", "camera": "S6", "iso": 100},
        {"path": "absent.png", "camera": "S6", "iso": 100},
        {"path": "photo0.png", "camera": "S6", "iso": 6400},
        {"path": "photo0.png", "camera": "X9", "iso": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "manifest.parquet")
    source = opened(str(tmp_path / "manifest.parquet"))
    assert len(source.pictures) == 1
    assert [problem.split(": ")[0] for problem in source.problems] == [
        f"manifest.parquet, row {i}" for i in (1, 2, 3)
    ]
    with pytest.raises(UsageError, match="3 rows cannot be used"):
        opened(str(tmp_path / "manifest.parquet"), max_failures=2)


def test_a_picture_smaller_than_the_patch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="56x40, smaller than the 48 pixel patch"):
        stream(opened(str(write_pairs(tmp_path))), patch=48)
