"""What every registered type of noise model keeps, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from model_fixtures import (
    BETWEEN,
    KNOWN,
    OTHER,
    STRONG,
    WEAK,
    draw,
    grey,
    numbers,
    parameters_of,
    part,
    table_of_pairs,
    tiny_recipe,
    train,
)
from synthesis_fixtures import contents, photograph, save_photograph
from training_fixtures import assert_same_weights

from noisegen.conditions import Condition
from noisegen.datasets.pairs import read_pairs
from noisegen.errors import InputError, UsageError
from noisegen.fitting import draws, trainer
from noisegen.models import checkpoint_of_model, load_noise_model, model_of_checkpoint
from noisegen.models.checkpoint import read_checkpoint
from noisegen.models.learning import LearnedModel
from noisegen.models.nm_flowgan import correlation_fit
from noisegen.models.protocol import ReferencedModel
from noisegen.models.registry import ModelType, model_type, model_types
from noisegen.progress import Progress
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.verify import verify_dataset
from noisegen.training.distributed import Ranks

# Values that may differ by a level where float sums are taken in another order
ROUNDED_OTHERWISE = 0.01

TYPES = model_types()
LEARNED = [name for name in TYPES if model_type(name).recipes]


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Without what takes longer than a training of a few steps."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(draws, "INIT_BATCHES", 2)
        monkeypatch.setattr(correlation_fit, "PATCHES", 4)
        monkeypatch.setattr(trainer, "write_curves", lambda *_, **__: None)
        yield


@pytest.fixture(scope="module", params=TYPES)
def kind(request: pytest.FixtureRequest) -> ModelType:
    return model_type(request.param)


@pytest.fixture(scope="module")
def checkpoint(kind: ModelType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained or fitted model of the type."""
    return train(kind, table_of_pairs(tmp_path_factory.mktemp("pairs")))


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LearnedModel:
    return load_noise_model(checkpoint)


def same_but_for_rounding(one: torch.Tensor, other: torch.Tensor) -> bool:
    difference = (one - other).abs()
    return bool(difference.max() <= 1 and (difference > 0).float().mean() <= ROUNDED_OTHERWISE)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (37, 53), (1, 1), (3, 70)])
def test_pictures_of_any_size_come_back_as_whole_values_in_range(
    model: LearnedModel, height: int, width: int
) -> None:
    clean = grey(2, 3, height, width, 256)
    clean[0, :, : height // 2] = 0
    clean[1, :, :, width // 2 :] = 255
    before = clean.clone()
    noisy = draw(model, clean, [WEAK, STRONG], numbers(2, 3, height, width))
    assert noisy.shape == clean.shape and noisy.dtype == torch.float32
    assert torch.equal(noisy, noisy.round()) and noisy.min() >= 0 and noisy.max() <= 255
    assert torch.equal(clean, before), "the clean pictures were changed"
    if height * width > 1000:
        assert not torch.equal(noisy, clean)


def test_a_sample_is_a_function_of_its_arguments(model: LearnedModel) -> None:
    clean, noise = grey(1, 3, 40, 48, 256), numbers(1, 3, 40, 48)
    first = draw(model, clean, [STRONG], noise)
    torch.manual_seed(1234)
    assert torch.equal(draw(model, clean, [STRONG], noise), first)
    assert not torch.equal(draw(model, clean, [STRONG], numbers(1, 3, 40, 48, seed=1)), first)
    assert not first.requires_grad


def test_a_picture_does_not_depend_on_the_others_of_its_batch(model: LearnedModel) -> None:
    conditions = [WEAK, OTHER, STRONG, BETWEEN]
    clean, noise = grey(4, 3, 48, 64, 256), numbers(4, 3, 48, 64)
    clean[1] = clean[1].flip(2)
    together = draw(model, clean, conditions, noise)
    for row, condition in enumerate(conditions):
        rows = slice(row, row + 1)
        alone = draw(model, clean[rows], [condition], part(noise, rows))
        assert same_but_for_rounding(alone, together[rows]), condition


def test_a_camera_or_iso_that_it_does_not_know_is_refused(model: LearnedModel) -> None:
    clean, noise = grey(1, 3, 16, 16, 256), numbers(1, 3, 16, 16)
    for condition, reason in (
        (Condition("C", 100), "unknown_camera"),
        (Condition("A", 3200), "iso_out_of_range"),
        (Condition("B", 100), "iso_out_of_range"),
    ):
        with pytest.raises(InputError) as caught:
            options = {"reference": None} if isinstance(model, ReferencedModel) else {}
            model.sample(clean, [condition], noise=noise, **options)
        assert caught.value.reason == reason and "known" in str(caught.value)


def test_it_knows_the_conditions_of_its_pairs(model: LearnedModel) -> None:
    assert model.vocabulary.known == tuple(sorted(KNOWN))
    assert (model.channels, model.bit_depth) == (3, 8) and not model.training


def test_strength_scales_the_noise(model: LearnedModel) -> None:
    clean, noise = grey(1, 3, 96, 96, 256), numbers(1, 3, 96, 96)
    weak, usual = (draw(model, clean, [OTHER], noise, strength=factor) - clean for factor in (0.5, 1.0))
    spread = [values.std().square() - 1 / 12 for values in (weak, usual)]
    # The bounds leave room for the clipping of a model that has hardly been trained
    assert 0.35 < (spread[0] / spread[1]).sqrt() < 0.7


def test_a_checkpoint_brings_the_model_back(kind: ModelType, checkpoint: Path, model: LearnedModel) -> None:
    read = read_checkpoint(checkpoint)
    assert read.kind == read.card["model_type"] == kind.name
    assert read.card["licence"] == "not stated" and read.card["training_pairs"]["pairs"] == len(KNOWN)
    assert type(model.sizes).from_dict(read.config) == model.sizes
    again = model_of_checkpoint(checkpoint_of_model(kind.name, model, {}), "again")
    clean, noise = grey(1, 3, 40, 48, 256), numbers(1, 3, 40, 48)
    assert torch.equal(draw(again, clean, [OTHER], noise), draw(model, clean, [OTHER], noise))


def test_a_build_gives_the_same_bytes_however_it_is_run(
    kind: ModelType, checkpoint: Path, model: LearnedModel, tmp_path: Path
) -> None:
    for number in range(2):
        save_photograph(tmp_path / f"{number}.png", photograph(70, 150, seed=number))
    rows = [
        {"path": path, "id": str(number), "camera": condition.camera, "iso": condition.iso}
        for number, (path, condition) in enumerate(zip(("0.png", "1.png", "1.png"), KNOWN, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "manifest.parquet")
    pool = checkpoint.parent / "pairs.csv" if isinstance(model, ReferencedModel) else None
    for name, options in (("one", {"workers": 1}), ("other", {"workers": 3, "batch_size": 4})):
        built = build_dataset(
            tmp_path / "manifest.parquet", tmp_path / name, model=checkpoint, noisy_pool=pool, tile_size=64,
            rows_per_shard=2, variants=2, quiet=True, **options,  # type: ignore[arg-type]
        )  # fmt: skip
        assert not built.failures and built.tiles == 36
    assert contents(tmp_path / "one") == contents(tmp_path / "other")
    report = verify_dataset(tmp_path / "one")
    assert not report.problems and report.noise is not None and report.noise.exact


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_pictures_and_more_bits(
    kind: ModelType, channels: int, tmp_path: Path, bit_depth: int = 12
) -> None:
    model: LearnedModel
    if kind.recipes:
        recipe = tiny_recipe(kind)
        assert recipe is not None
        made = trainer._Training(
            kind, read_pairs(table_of_pairs(tmp_path, channels=channels)), recipe, channels, bit_depth, "cpu",
            False, Ranks(),
        )  # fmt: skip
        made.start(tmp_path / "none", {})
        made.step(0)
        model = made.settled(recipe.steps or 1)
    else:
        assert kind.fit is not None
        rng = torch.Generator().manual_seed(0)
        clean = grey(1, channels, 64, 64, 4096)[0]
        noisy = (clean + 60 * torch.randn(clean.shape, generator=rng)).round()
        pair = [values.permute(1, 2, 0).numpy().astype("uint16") for values in (noisy, clean)]
        model = kind.fit([(condition, *pair) for condition in KNOWN], bit_depth)
    clean = grey(2, channels, 33, 40, 4096)
    noisy = draw(model.eval(), clean, [WEAK, OTHER], numbers(2, channels, 33, 40))
    assert noisy.shape == clean.shape and torch.equal(noisy, noisy.round())
    assert noisy.min() >= 0 and noisy.max() <= 4095


@pytest.mark.parametrize("name", LEARNED)
def test_training_moves_every_parameter(name: str, tmp_path: Path) -> None:
    kind = model_type(name)
    recipe = tiny_recipe(kind, balance=True, batch=6)
    assert recipe is not None
    made = trainer._Training(kind, read_pairs(table_of_pairs(tmp_path)), recipe, 3, 8, "cpu", False, Ranks())
    made.start(tmp_path / "none", {})
    modules = {"model": made.model, **made.learner.networks}
    before = parameters_of(modules)
    for step in range(made.steps):
        made.step(step)
    after = parameters_of(modules)
    assert [key for key, values in before.items() if torch.equal(values, after[key])] == []


@pytest.mark.parametrize("name", LEARNED)
def test_an_interrupted_training_ends_as_if_it_had_run_through(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, table = model_type(name), table_of_pairs(tmp_path)
    monkeypatch.setattr(trainer, "SAVE_EVERY", 1)
    whole = train(kind, table, "whole")
    update = Progress.update

    def interrupt(self: Progress, n: int = 1, **fields: object) -> None:
        update(self, n, **fields)
        if self.done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(kind, table, "parts")
    monkeypatch.setattr(Progress, "update", update)
    assert_same_weights(train(kind, table, "parts"), whole)


def test_an_unknown_type_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'nm-flowgan'.*there are: nm-flowgan"):
        model_type("nm-flowgen")
