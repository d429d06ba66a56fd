"""Models that take references have them from a pool of noisy pictures: which one, by which commands, and kept where."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from denoiser_training_fixtures import tiny_recipe, write_manifest, write_pairs
from noise_eval_fixtures import awgn, make_pair
from noisy_pool_fixtures import LEVELS, Imitator, give_everybody, write_pool
from remote_fixtures import S3Server, running_server
from synthesis_fixtures import VOCABULARY, Workplace, contents, invoke, make_workplace

from noisegen.conditions import Condition
from noisegen.denoising.run import train_denoiser
from noisegen.denoising.sources import open_source, parse_source
from noisegen.errors import InputError, UsageError
from noisegen.evaluation.noise_eval import evaluate_methods
from noisegen.evaluation.noise_score import FLOOR
from noisegen.models.checkpoint import read_checkpoint
from noisegen.models.picture_randomness import picture_uniforms
from noisegen.models.references import (
    REFERENCE_SIDE,
    ReferencePool,
    WithPool,
    describe_picture,
    reference_crop,
)
from noisegen.noisy_pool import read_pool
from noisegen.synthesis import build as builds
from noisegen.synthesis import trial
from noisegen.synthesis.build import begin, build_dataset
from noisegen.synthesis.engine import synthesize
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.locks import locked
from noisegen.synthesis.randomness import batch_randomness
from noisegen.synthesis.retry import retry_failed
from noisegen.synthesis.shard_maker import Failed, Made, Opened, ShardMaker
from noisegen.synthesis.verify import verify_dataset

PAIR_SIDES = (1, 3, 80, 96)


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Imitator:
    return give_everybody(monkeypatch, Imitator())


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    folder = tmp_path / "place"
    folder.mkdir()
    write_pool(folder / "pool")
    return make_workplace(folder, photographs=6)


def build(place: Workplace, output: Path | str, **options: object) -> Path:
    given: dict[str, object] = {"model": place.model, "noisy_pool": place.root / "pool" / "pairs.csv"}
    small: dict[str, object] = {"tile_size": 64, "rows_per_shard": 2, "variants": 3, "quiet": True}
    build_dataset(place.manifest, output, **(given | small | options))  # type: ignore[arg-type]
    return Path(output)


def index_of(output: Path) -> list[dict[str, object]]:
    return [row for path in sorted(output.glob("index/*")) for row in pq.read_table(path).to_pylist()]


def test_all_tiles_of_a_noisy_photograph_have_one_reference_of_its_condition(
    place: Workplace, model: Imitator, tmp_path: Path
) -> None:
    """Between two ISO settings that the model knows, those of the nearest that the pool has."""
    levels = defaultdict(set)
    used = defaultdict(set)
    for row in index_of(build(place, tmp_path / "out")):
        stds = LEVELS["S6" if row["camera"] == "S6" else "N6", 100 if row["camera"] == "S6" else 3200]
        nearest = min(stds, key=lambda std: abs(std - row["noise_std"]))
        assert abs(row["noise_std"] / nearest - 1) < 0.2
        levels[row["row"], row["variant"]].add(nearest)
        used[row["camera"], row["iso"]].add(nearest)
    assert {len(found) for found in levels.values()} == {1}
    assert used["S6", 100] == set(LEVELS["S6", 100]) and ("S6", 400) in used


def test_bytes_do_not_depend_on_batches_threads_ranks_or_their_order(
    place: Workplace, model: Imitator, tmp_path: Path
) -> None:
    once = build(place, tmp_path / "once", workers=1)
    many = build(place, tmp_path / "many", workers=3, batch_size=5)
    for rank in (2, 0, 1):
        build(place, tmp_path / "ranks", rank=rank, world_size=3)
    assert contents(once) == contents(many)
    ranks = {n: data for n, data in contents(tmp_path / "ranks").items() if not n.startswith("state/ranks")}
    assert ranks == contents(once)


def test_another_pool_is_refused_with_the_difference(
    place: Workplace, model: Imitator, tmp_path: Path
) -> None:
    output = build(place, tmp_path / "out")
    before = contents(output)
    other = write_pool(tmp_path / "other", {("S6", 100): (8.0,)})
    with pytest.raises(UsageError, match=r"noisy_pool\.pictures: 3 -> 1; noisy_pool\.pictures_xxh3: "):
        build(place, output, noisy_pool=other)
    assert contents(output) == before
    model.needs_reference = False
    with pytest.raises(UsageError, match=r"noisy_pool: \{.*\} -> null"):
        build(place, output, noisy_pool=None, conditions=None)


def test_other_pictures_under_the_same_table_are_another_pool(
    place: Workplace, model: Imitator, tmp_path: Path
) -> None:
    table = place.root / "pool" / "pairs.csv"
    before = read_pool(table, model, "")
    shutil.copy(table.parent / "N6-3200-0_noisy.png", table.parent / "S6-100-0_noisy.png")
    after = read_pool(table, model, "")
    assert before.table_sha256 == after.table_sha256 and before.pictures_xxh3 != after.pictures_xxh3


def test_a_dataset_keeps_what_the_pictures_showed_and_needs_them_no_more(
    place: Workplace, model: Imitator, tmp_path: Path
) -> None:
    """To continue, to check the noise and to retry."""
    output = build(place, tmp_path / "out")
    whole = contents(output)
    seen = len(model.described)
    for picture in (place.root / "pool").glob("*.png"):
        picture.unlink()
    noise = verify_dataset(output).noise
    assert noise is not None and noise.exact and noise.conditions
    assert all(c.equal == c.sampled for c in noise.conditions)
    for path in output.glob("state/000001.*"):
        path.unlink()
    assert contents(build(place, output)) == whole
    (output / "shards" / "000000.tar").write_bytes(b"")
    moved = shutil.move(place.root / "pool" / "pairs.csv", tmp_path / "moved.csv")
    retry_failed(output, noisy_pool=moved, quiet=True)
    assert contents(build(place, output, noisy_pool=moved)) == whole
    assert len(model.described) == seen


def test_without_what_it_keeps_the_noise_is_not_compared_and_the_build_writes_it_again(
    place: Workplace, model: Imitator, tmp_path: Path
) -> None:
    output = build(place, tmp_path / "out")
    whole = contents(output)
    file = DatasetFolder(output).noisy_pool_file
    for damage in (lambda: file.unlink(), lambda: file.write_text(file.read_text().replace("S6", "S7", 1))):
        damage()
        noise = verify_dataset(output).noise
        assert noise is not None and noise.skipped and "build-dataset command writes it anew" in noise.skipped
        assert contents(build(place, output)) == whole


def test_a_condition_without_reference_fails_as_a_row_that_says_what_to_add(
    place: Workplace, model: Imitator, tmp_path: Path
) -> None:
    table = write_pool(tmp_path / "small", {("S6", 100): (5.0,)})
    output = build(place, tmp_path / "out", noisy_pool=table)
    failures = [json.loads(line) for line in (output / "failures.jsonl").read_text().splitlines()]
    assert [f["reason"] for f in failures] == ["no_reference"]
    assert "none of camera N6" in failures[0]["message"] and "add a pair" in failures[0]["message"]
    assert {(row["camera"], row["iso"]) for row in index_of(output)} == {("S6", 100), ("S6", 400)}
    report = retry_failed(output, dry_run=True)
    assert report.hopeless == {"no_reference": 1}
    with pytest.raises(UsageError, match="none of camera N6 at ISO 400"):
        build(place, tmp_path / "fixed", noisy_pool=table, camera="N6", iso=400)


@pytest.mark.parametrize("command", ["build-dataset", "plan"])
def test_a_pool_is_refused_or_asked_for_before_anything_is_written(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    arguments = [command, str(place.manifest), "-o", str(tmp_path / "out"), "--model", str(place.model), "-q"]
    pool = ["--noisy-pool", str(place.root / "pool" / "pairs.csv")]
    plain = invoke(*arguments, *pool)
    assert plain.exit_code == 2 and "takes no references" in plain.output
    give_everybody(monkeypatch, Imitator())
    needy = invoke(*arguments)
    assert needy.exit_code == 2 and "as --noisy-pool" in needy.output
    table = write_pool(tmp_path / "foreign", {("X9", 100): (5.0,)})
    foreign = invoke(*arguments, "--noisy-pool", str(table))
    assert foreign.exit_code == 2 and "none of these 1 pairs; its cameras: N6, S6" in foreign.output
    assert not (tmp_path / "out").exists()
    if command == "plan":
        monkeypatch.setattr(trial, "TIMED_SECONDS", 0.1)
        assert invoke(*arguments, *pool, "--tile-size", "64", "--limit", "2").exit_code == 0


def test_pools_and_datasets_at_urls(
    place: Workplace, model: Imitator, tmp_path: Path, store: S3Server
) -> None:
    bucket = store.bucket()
    store.put(place.root / "pool", bucket, "pool")
    url = f"s3://{bucket}/pool/pairs.csv"
    build(place, f"s3://{bucket}/out", noisy_pool=url)
    expected = contents(build(place, tmp_path / "out"))
    assert store.contents(bucket, "out") == expected
    seen = len(model.described)
    build(place, f"s3://{bucket}/out", noisy_pool=url)
    noise = verify_dataset(f"s3://{bucket}/out").noise
    assert noise is not None and noise.exact and len(model.described) == seen
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "pairs.csv").write_text("noisy_path,clean_path,camera,iso\n../a.png,b.png,S6,100\n")
    store.put(tmp_path / "up", bucket, "up")
    with pytest.raises(UsageError, match=r"\.\./a\.png leads out of the table's folder"):
        read_pool(f"s3://{bucket}/up/pairs.csv", model, "")


def test_processes_of_a_cluster_that_come_later_take_what_the_dataset_keeps(
    place: Workplace, model: Imitator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray's do: the first one describes the pool, and what it would build goes to the driver and back."""
    requests: list[dict[str, object]] = []
    monkeypatch.setattr(builds, "run_build", lambda request: requests.append(dict(request)))
    build(place, tmp_path / "ray")
    monkeypatch.undo()
    give_everybody(monkeypatch, model)
    request = requests[0]
    first = ShardMaker(request)
    opened = first.open()
    assert isinstance(opened, Opened)
    sent = pickle.loads(pickle.dumps(opened.description))
    folder = DatasetFolder(tmp_path / "ray")
    with locked(folder):
        begin(folder, lambda: sent)
    seen = len(model.described)
    second = ShardMaker(request)
    later = second.open()
    assert isinstance(later, Opened) and later.description == opened.description
    for number, shard in enumerate(folder.shards()):
        made = (first, second)[number % 2].make([shard])
        assert isinstance(made, Made), made.message if isinstance(made, Failed) else ""
    assert len(model.described) == seen
    first.close()
    second.close()
    assert contents(build(place, folder.root)) == contents(build(place, tmp_path / "alone"))


def test_only_rows_marked_for_training_that_the_model_covers_are_described(
    tmp_path: Path, model: Imitator
) -> None:
    table = write_pool(tmp_path / "train", {("S6", 100): (4.0,), ("X9", 50): (9.0,)}, split="train")
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1].replace("100,train", "800,val")]) + "\n")
    assert read_pool(table, model, "").conditions == (Condition("S6", 100),)
    assert read_pool(table, model, "", split="val").conditions == (Condition("S6", 800),)
    assert read_pool(table, model, "", split="").conditions == (Condition("S6", 100), Condition("S6", 800))
    assert set(model.described) == {PAIR_SIDES}


def test_a_picture_of_another_kind_or_damaged_is_named(place: Workplace, model: Imitator) -> None:
    table = place.root / "pool" / "pairs.csv"
    model.bit_depth = 12
    with pytest.raises(UsageError, match=r"pair S6-100-0_noisy cannot be a reference: .*8 bits"):
        read_pool(table, model, "")
    model.bit_depth = 8
    picture = table.parent / "S6-100-1_noisy.png"
    picture.write_bytes(picture.read_bytes()[:3000])
    with pytest.raises(UsageError, match=r"S6-100-1_noisy.png: truncated"):
        read_pool(table, model, "")


def test_the_described_part_is_the_centre_on_the_mosaic_of_the_picture() -> None:
    picture = np.arange(700)[:, None, None] * 1000 + np.arange(523)[None, :, None]
    crop = reference_crop(picture, 4)
    assert crop.shape == (REFERENCE_SIDE, REFERENCE_SIDE, 1)
    assert divmod(int(crop[0, 0, 0]), 1000) == (92, 4)
    assert reference_crop(picture[:100, :90], 4).shape == (100, 90, 1)


def test_references_are_of_the_nearest_iso_within_what_the_model_blends() -> None:
    def pool(*isos: int) -> ReferencePool:
        return ReferencePool.of((Condition("S6", iso), torch.tensor([float(iso)])) for iso in isos)

    def found(pool: ReferencePool, iso: int) -> float:
        return pool.around(VOCABULARY.resolve(Condition("S6", iso))).item()

    assert [found(pool(100, 800), iso) for iso in (100, 282, 283, 800)] == [100, 100, 800, 800]
    assert found(pool(100, 400, 800), 300) == 400
    for iso in (100, 800):
        with pytest.raises(InputError, match=rf"at ISO {iso} \(it has ISO 400\)"):
            found(pool(400), iso)
    with pytest.raises(InputError, match="from ISO 400 to 3200; add a pair"):
        pool(100).around(VOCABULARY.resolve(Condition("N6", 500)))


def test_each_reference_is_equally_likely_and_its_choice_says_nothing_of_the_models_own_numbers() -> None:
    condition = Condition("S6", 100)
    model = WithPool(Imitator(), ReferencePool.of((condition, torch.tensor([s])) for s in (0.0, 10.0, 40.0)))
    noise = batch_randomness(range(600), [0] * 600, [0] * 600, 4, 4, 3)
    noisy = model.sample(torch.full((600, 3, 4, 4), 128.0), [condition] * 600, noise=noise)
    chosen = torch.bucketize((noisy - 128).flatten(1).std(dim=1), torch.tensor([2.0, 22.0]))
    assert chosen.bincount().min() > 160
    own = picture_uniforms(noise, 1)[:, 0]
    assert abs(np.corrcoef(chosen, own)[0, 1]) < 0.12


def test_paired_scoring_takes_each_pairs_own_picture_and_other_scoring_the_pools(tmp_path: Path) -> None:
    """Two pictures of one condition with different noise: only their own pictures can say which is which."""
    condition = Condition("S6", 100)
    pairs = [make_pair(tmp_path, condition, std, f"of-{std}", "one") for std in (4.0, 16.0)]
    imitator = Imitator()
    pool = ReferencePool.of([(condition, torch.tensor([8.0]))])
    methods = {"pool": WithPool(imitator, pool), "own": imitator, "plain": awgn(condition)}
    scored = []
    rows = evaluate_methods(
        methods, pairs, paired=["own"], detailed=False, device="cpu", see=scored.append
    ).methods
    for picture in scored:
        std = float(picture.pair.name.removeprefix("of-"))
        own, other = ((picture.synthetic[m].astype(float) - picture.clean).std() for m in ("own", "pool"))
        assert abs(own / std - 1) < 0.05 and abs(other / 8 - 1) < 0.05
    own, other = rows["own"][0].score, rows["pool"][0].score
    assert own is not None and other is not None and own.std_error < 0.03 < other.std_error


def test_a_condition_without_reference_is_left_out_of_scores_with_its_reason(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, Condition("S6", 800), 8.0, "one", "one")
    pool = ReferencePool.of([(Condition("S6", 100), torch.tensor([8.0]))])
    row = evaluate_methods({"m": WithPool(Imitator(), pool)}, [pair], detailed=False).methods["m"][0]
    assert row.score is None and "none of camera S6 at ISO 800" in row.problems[0]


def test_eval_noise_takes_references_from_the_fit_split_a_table_or_each_pair(
    tmp_path: Path, model: Imitator
) -> None:
    lines = ["noisy_path,clean_path,camera,iso,split"]
    for split, std in (("train", 5.0), ("val", 15.0)):
        pair = make_pair(tmp_path, Condition("S6", 100), std, split, "one")
        lines.append(f"{pair.noisy_path.name},{pair.clean_path.name},S6,100,{split}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    shutil.copy(make_workplace(tmp_path, photographs=1).model, tmp_path / "toy.safetensors")
    file, table = str(tmp_path / "toy.safetensors"), str(tmp_path / "pairs.csv")

    def stds(*options: str) -> dict[str, float]:
        result = invoke("eval-noise", file, table, "--device", "cpu", "--json", *options)
        assert result.exit_code == 0, result.output
        scores = json.loads(result.stdout)["scores"]
        return {name: rows[0]["score"]["std_synthetic"][0] for name, rows in scores.items() if name != FLOOR}

    found = stds("--against", f"paired:{file}")
    assert found == pytest.approx({"toy": 5.0, "toy (paired)": 15.0}, rel=0.05)
    other = write_pool(tmp_path / "pool", {("S6", 100): (9.0,)})
    assert stds("--against", "", "--noisy-pool", str(other)) == pytest.approx({"toy": 9.0}, rel=0.05)


def test_eval_noise_refuses_references_for_models_that_take_none(tmp_path: Path, place: Workplace) -> None:
    table = write_pool(tmp_path / "pool", {("S6", 100): (9.0,)}, split="val")
    for options, message in (
        ([f"paired:{place.model}", str(table), "--against", ""], "takes no references; leave paired: out"),
        ([str(place.model), str(table), "--noisy-pool", str(table), "--against", ""], "leave it out"),
    ):
        result = invoke("eval-noise", *options, "--device", "cpu")
        assert result.exit_code == 2 and message in result.output


def test_a_denoiser_is_trained_with_references_from_the_first_table_of_pairs(
    tmp_path: Path, model: Imitator, place: Workplace
) -> None:
    table, output = write_pairs(tmp_path, std=14), tmp_path / "denoiser.safetensors"
    noise: dict[str, object] = {"noise_model": str(place.model), "quiet": True}
    sources = [f"clean:{table}"]
    assert train_denoiser(sources, output, tiny_recipe(steps=2), **noise)  # type: ignore[arg-type]
    pool = read_checkpoint(output).card["noise_model"]["noisy_pool"]
    assert pool == read_pool(table, model, "", split="train").record() and pool["pictures"] == 2
    with pytest.raises(UsageError, match="as --noisy-pool"):
        train_denoiser([str(write_manifest(tmp_path))], output, tiny_recipe(), **noise)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no source needs synthetic noise"):
        train_denoiser([str(table)], output, tiny_recipe(), noisy_pool=table, **noise)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="takes no references"):
        train_denoiser(sources, output, tiny_recipe(), noisy_pool=table, noise_model="awgn", quiet=True)


def test_photographs_without_camera_are_given_conditions_that_have_references(tmp_path: Path) -> None:
    pool = ReferencePool.of([(Condition("S6", 800), torch.tensor([5.0]))])
    manifest = parse_source(str(write_manifest(tmp_path)))
    source = open_source(manifest, split=None, noise_model=WithPool(Imitator(), pool))
    assert [p.conditions for p in source.pictures] == [(Condition("S6", 400),), (Condition("S6", 800),)]


def test_a_whole_photograph_equals_its_tiles_in_a_dataset(
    place: Workplace, model: Imitator, tmp_path: Path
) -> None:
    """From Python: `synthesize` with the same pool."""
    from noisegen.images import read_image
    from noisegen.synthesis.formats import format_named

    output = build(place, tmp_path / "out")
    pool = read_pool(place.root / "pool" / "pairs.csv", model, "").references
    clean = read_image(place.root / "photo0.png")
    folder = DatasetFolder(output)
    reader = format_named("webdataset").open_tiles(folder, folder.shards()[0])
    for row in (row for row in index_of(output) if row["row"] == 0 and row["x"] == 0):
        whole = synthesize(
            WithPool(model, pool),
            clean,
            Condition("S6", 100),
            seed=0,
            image_id="picture 0",
            variant=row["variant"],
            tile_size=64,
        )
        noisy, _ = reader.read(row["key"])
        np.testing.assert_array_equal(noisy, whole[row["y"] :][:64, :64])
    reader.close()


def test_a_description_that_is_no_number_is_refused() -> None:
    class Broken(Imitator):
        def describe(self, noisy: torch.Tensor, clean: torch.Tensor, condition: object) -> torch.Tensor:
            return torch.full((1, 2), float("nan"))

    picture = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(InputError, match="no numbers"):
        describe_picture(Broken(), picture, picture, Condition("S6", 100))
