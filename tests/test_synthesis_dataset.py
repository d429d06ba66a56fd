"""Fresh noise during training: that of the whole photograph, the same from any process, anew in each epoch."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from noisy_pool_fixtures import Imitator, write_pool
from synthesis_fixtures import (
    VOCABULARY,
    make_workplace,
    photograph,
    save_photograph,
    save_tiny_model,
    tiny_model,
)
from torch.utils.data import DataLoader

from noisegen import Condition, NoisyPair, SynthesisDataset, UsageError
from noisegen.models import prepare_for_synthesis
from noisegen.synthesis import ready_models
from noisegen.synthesis.engine import synthesize

S6 = [Condition("S6", 800)]
# of two ways to cut: floating-point sums may differ in the last bit, which may change a rounding
MOST_DIFFERENT = 1e-3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "model.safetensors")


PHOTOGRAPHS = [photograph(70, 90, seed=seed) for seed in range(3)]


def assert_same(one: NoisyPair, other: NoisyPair) -> None:
    assert torch.equal(one.noisy, other.noisy) and torch.equal(one.clean, other.clean)
    assert one[2:] == other[2:]


def assert_nearly(one: torch.Tensor, other: torch.Tensor) -> None:
    """But for single grey levels of few pixels."""
    levels = (one.int() - other.int()).abs()
    assert levels.max() <= 1 and (levels > 0).float().mean() <= MOST_DIFFERENT


def test_a_patch_has_the_noise_of_its_place_in_the_whole_photograph(model: Path) -> None:
    data = SynthesisDataset(PHOTOGRAPHS[:1], patch=40, model=model, conditions=S6, crops=12, raw=True)
    fast = prepare_for_synthesis(tiny_model(), device="cpu")
    corners = set()
    for index in range(len(data)):
        item = data[index]
        whole = synthesize(fast, PHOTOGRAPHS[0], S6[0], seed=0, image_id="0", variant=index, halo=8)
        clean = item.clean.numpy().transpose(1, 2, 0)
        windows = np.lib.stride_tricks.sliding_window_view(PHOTOGRAPHS[0], (40, 40), axis=(0, 1))
        ((y, x),) = np.argwhere((windows == clean.transpose(2, 0, 1)).all(axis=(2, 3, 4))).tolist()
        corners.add((y, x))
        assert_nearly(item.noisy, torch.from_numpy(whole[y : y + 40, x : x + 40].transpose(2, 0, 1)))
    assert len(corners) > 9  # of 12
    assert len({y % 2 for y, _ in corners}) == len({x % 2 for _, x in corners}) == 2


def test_every_photograph_visit_and_epoch_has_noise_of_its_own(model: Path) -> None:
    flat = [np.full((40, 40, 3), 128, np.uint8)] * 2
    data = SynthesisDataset(flat, patch=40, model=model, conditions=S6, crops=2)
    noise = []
    for epoch in range(2):
        data.set_epoch(epoch)
        noise += [(item.noisy - item.clean).flatten() for item in data]
    correlations = torch.corrcoef(torch.stack(noise)) - torch.eye(8)
    assert correlations.abs().max() < 0.1
    assert torch.stack(noise).std(dim=1).min() > 1 / 255
    other_seed = SynthesisDataset(flat, patch=40, model=model, conditions=S6, crops=2, seed=1)
    assert not torch.equal(other_seed[0].noisy, SynthesisDataset(flat, patch=40, model=model)[0].noisy)


def test_items_are_the_same_from_any_number_of_workers_in_any_order(model: Path) -> None:
    data = SynthesisDataset(PHOTOGRAPHS, patch=32, model=model, crops=3, augment=True, cache_bytes=0)
    data.set_epoch(5)
    expected = [data[index] for index in range(len(data))]
    loader = DataLoader(data, batch_size=None, num_workers=2, persistent_workers=True)
    for one, other in zip(loader, expected, strict=True):
        assert_same(one, other)
    for index in (7, 2, 5):
        assert_same(data[index], expected[index])
    first = expected[0].noisy
    data.set_epoch(6)
    again = list(loader)
    assert not torch.equal(again[0].noisy, first) and torch.equal(again[0].noisy, data[0].noisy)
    assert_same(pickle.loads(pickle.dumps(data))[4], data[4])


def test_the_noise_of_a_photograph_does_not_depend_on_those_beside_it(model: Path, tmp_path: Path) -> None:
    paths = [save_photograph(tmp_path / f"{n}.png", picture) for n, picture in enumerate(PHOTOGRAPHS)]
    whole = SynthesisDataset(tmp_path, patch=32, model=model)
    paths[0].unlink()
    assert_same(SynthesisDataset(tmp_path, patch=32, model=model)[0], whole[1])


def test_photographs_come_from_folders_lists_and_manifests_with_their_conditions(
    model: Path, tmp_path: Path
) -> None:
    place = make_workplace(tmp_path, photographs=4)
    folder = SynthesisDataset(tmp_path, patch=32, model=model)
    assert [item.key for item in folder] == [f"photo{n}.png" for n in range(4)]
    listed = SynthesisDataset([tmp_path / "photo2.png", PHOTOGRAPHS[0]], patch=32, model=model)
    assert [item.key for item in listed] == [str(tmp_path / "photo2.png"), "1"]
    manifest = SynthesisDataset(str(place.manifest), patch=32, model=model, crops=20)
    found: dict[str, set[Condition]] = {}
    for item in manifest:
        found.setdefault(item.key, set()).add(Condition(item.camera, item.iso))
    # camera and ISO, an ISO between known ones, neither, and a camera
    assert found["picture 0"] == {Condition("S6", 100)} and found["picture 1"] == {Condition("S6", 400)}
    assert found["picture 2"] == set(VOCABULARY.known)
    assert found["picture 3"] == {Condition("N6", 400), Condition("N6", 3200)}


def test_conditions_are_drawn_from_those_that_are_given(model: Path, tmp_path: Path) -> None:
    given = [Condition("N6", 400), Condition("S6", 200)]
    data = SynthesisDataset(PHOTOGRAPHS, patch=32, model=model, conditions=given, crops=20)
    counts = [Condition(item.camera, item.iso) for item in data]
    assert set(counts) == set(given) and 15 < counts.count(given[0]) < 45
    file = tmp_path / "conditions.yaml"
    file.write_text("cameras: {S6: {iso: [100]}}")
    data = SynthesisDataset(PHOTOGRAPHS, patch=32, model=model, conditions=file)
    assert {(item.camera, item.iso) for item in data} == {("S6", 100)}


def test_strength_scales_the_noise_and_turned_photographs_keep_the_camera_s_noise(model: Path) -> None:
    flat = [np.full((64, 64, 3), 128, np.uint8)]

    def deviation(**options: object) -> float:
        data = SynthesisDataset(flat, patch=64, model=model, conditions=S6, crops=8, **options)  # type: ignore[arg-type]
        return float(torch.stack([item.noisy - item.clean for item in data]).std())

    assert deviation(strength=0.5) == pytest.approx(deviation() / 2, rel=0.1)
    plain = SynthesisDataset(flat, patch=64, model=model, conditions=S6)[0]
    assert_same(SynthesisDataset(flat, patch=64, model=model, conditions=S6, augment=True)[0], plain)


def test_noise_drawn_for_a_batch_is_that_of_the_items(model: Path) -> None:
    options = {"patch": 33, "model": model, "crops": 4, "augment": True, "raw": True, "strength": 1.5}
    data = SynthesisDataset(PHOTOGRAPHS, **options)  # type: ignore[arg-type]
    data.set_epoch(3)
    loader = DataLoader(data.clean_patches(), batch_size=12, num_workers=1)
    (batch,) = [data.draw(patches, device="cpu") for patches in loader]
    items = [data[index] for index in range(12)]
    assert torch.equal(batch.clean, torch.stack([item.clean for item in items]))
    assert_nearly(batch.noisy, torch.stack([item.noisy for item in items]))
    assert list(zip(batch.camera, batch.iso.tolist(), batch.key, strict=True)) == [item[2:] for item in items]


def test_a_denoiser_can_learn_from_a_drawn_batch(model: Path) -> None:
    data = SynthesisDataset(PHOTOGRAPHS, patch=32, model=model)
    (patches,) = DataLoader(data.clean_patches(), batch_size=3)
    noisy, clean, *_ = data.draw(patches, device="cpu")
    layer = torch.nn.Conv2d(3, 3, 1)
    (layer(noisy) - clean).square().mean().backward()
    assert layer.weight.grad is not None and layer.weight.grad.abs().sum() > 0


def test_grey_pictures_of_twelve_bits_get_noise_of_their_own_depth(tmp_path: Path) -> None:
    deep = save_tiny_model(tmp_path / "deep.safetensors", channels=1, bit_depth=12)
    picture = np.full((50, 60), 4095, np.uint16)
    data = SynthesisDataset([picture], patch=48, model=deep)
    assert data[0].noisy.shape == (1, 48, 48) and data[0].clean.max() == 1
    raw = SynthesisDataset([picture], patch=48, model=deep, raw=True)
    assert raw[0].noisy.dtype == torch.uint16
    assert torch.equal(data[0].noisy, raw[0].noisy.float() / 4095)
    (patches,) = DataLoader(raw.clean_patches(), batch_size=1)
    assert_nearly(raw.draw(patches, device="cpu").noisy[0], raw[0].noisy)


def test_a_model_that_takes_references_has_them_from_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready_models, "load_noise_model", lambda source: Imitator())
    flat = [np.full((64, 64, 3), 128, np.uint8)]
    data = SynthesisDataset(flat, patch=64, noisy_pool=write_pool(tmp_path), crops=30)
    deviations = {(item.camera, item.iso): set() for item in data}
    for item in data:
        deviations[item.camera, item.iso].add(round(255 * float((item.noisy - item.clean).std())))
    # each picture of the pool now and then, and no condition that it has no picture of
    assert deviations == {("S6", 100): {3, 12}, ("N6", 3200): {25}}
    with pytest.raises(UsageError, match="has none of camera S6 at ISO 800"):
        SynthesisDataset(flat, patch=64, noisy_pool=write_pool(tmp_path), conditions=S6)
    with pytest.raises(UsageError, match="give a table of real pairs"):
        SynthesisDataset(flat, patch=64)


def test_bad_photographs_are_left_out_and_told(model: Path, tmp_path: Path) -> None:
    save_photograph(tmp_path / "good.png", PHOTOGRAPHS[0])
    save_photograph(tmp_path / "small.png", photograph(20, 50))
    save_photograph(tmp_path / "grey.png", photograph(50, 50, channels=1))
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="3 photographs are left out"):
        data = SynthesisDataset(tmp_path, patch=32, model=model)
    assert [item.key for item in data] == ["good.png"]
    assert [problem.partition(":")[0] for problem in data.left_out] == [
        "empty_file",
        "channels",
        "smaller_than_patch",
    ]
    with pytest.raises(
        UsageError, match=r"3 photographs cannot be used, more than max_failures 2:\n  empty_file"
    ):
        SynthesisDataset(tmp_path, patch=32, model=model, max_failures=2)


def test_a_photograph_damaged_behind_its_header_is_named(model: Path, tmp_path: Path) -> None:
    path = save_photograph(tmp_path / "bent.png", PHOTOGRAPHS[0])
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"photograph .*bent.png: .*; or leave it out"):
        SynthesisDataset([path], patch=32, model=model)[0]


def test_what_makes_no_sense_is_refused(model: Path, tmp_path: Path) -> None:
    for wrong in ({"patch": 0}, {"halo": -1}, {"strength": 0.0}, {"crops": 0}, {"seed": -1}):
        with pytest.raises(UsageError, match=r"must be|0 or more"):
            SynthesisDataset(PHOTOGRAPHS, **({"patch": 32, "model": model} | wrong))  # type: ignore[arg-type]
    for clean, message in (
        (tmp_path, "there are no photographs"),
        (tmp_path / "absent", "does not exist"),
        ("s3://bucket/photographs", "read from local files"),
        ([np.zeros((50, 50, 3))], r"picture 0 is float64 \[50, 50, 3\]; give uint8 or uint16"),
    ):
        with pytest.raises(UsageError, match=message):
            SynthesisDataset(clean, patch=32, model=model)
    for conditions, message in (
        ([Condition("S7", 800)], "camera 'S7' is not known; known: N6, S6"),
        ([Condition("S6", 25600)], "outside what is known"),
        ([], "empty list"),
    ):
        with pytest.raises(UsageError, match=message):
            SynthesisDataset(PHOTOGRAPHS, patch=32, model=model, conditions=conditions)
    data = SynthesisDataset(PHOTOGRAPHS, patch=32, model=model)
    with pytest.raises(UsageError, match="epoch -1"):
        data.set_epoch(-1)
    with pytest.raises(UsageError, match="unknown device"):
        data.draw(next(iter(DataLoader(data.clean_patches()))), device="tpu")


def test_rows_of_a_manifest_that_the_model_does_not_cover_are_left_out(model: Path, tmp_path: Path) -> None:
    save_photograph(tmp_path / "a.png", PHOTOGRAPHS[0])
    rows = [
        {"path": "a.png", "camera": camera, "iso": iso, "id": f"{camera} {iso}"}
        for camera, iso in [("S6", 100), ("X9", 100), ("S6", 6400), (None, 99999)]
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "manifest.parquet")
    with pytest.warns(UserWarning, match="3 photographs are left out"):
        data = SynthesisDataset(tmp_path / "manifest.parquet", patch=32, model=model)
    assert [problem.partition(":")[0] for problem in data.left_out] == [
        "unknown_camera",
        "iso_out_of_range",
        "iso_out_of_range",
    ]
