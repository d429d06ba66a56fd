"""Batches on CUDA devices: the same bytes recorded or not, in any company, from any thread, on any device."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import nm_flowgan_fixtures as networks
import numpy as np
import pytest
import torch
from precision_fixtures import assert_within_bounds
from synthesis_fixtures import contents, make_workplace, photograph, tiny_model

from noisegen.conditions import Condition
from noisegen.devices import cuda_devices, resolve_device
from noisegen.errors import NoisegenError, UsageError
from noisegen.models import NoiseModel, PreparedModel, prepare_for_synthesis
from noisegen.models.nm_flowgan.cuda_layers import _in_two_passes, _kernel, add_bias_relu_
from noisegen.synthesis import cuda_program
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.cuda_program import BatchProgram
from noisegen.synthesis.engine import Engine, TileJob, tile_threads
from noisegen.synthesis.randomness import tile_places

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

CONDITIONS = [networks.A100, networks.A400, networks.A1600, networks.B400]
MODELS = [("paper", "float32"), ("paper", "float16"), ("compact", "float32"), ("hybrid", "bfloat16")]
NEVER = 10**9


@pytest.fixture(autouse=True)
def failures_to_record_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="slower without CUDA graphs")
        yield


def prepared(preset: str, precision: str, device: str = "cuda:0") -> NoiseModel:
    return prepare_for_synthesis(
        networks.tiny_model(preset, unet_width=16), device=device, precision=precision
    )


def jobs_of(count: int, size: tuple[int, int] = (64, 64), channels: int = 3, bits: int = 8) -> list[TileJob]:
    """Tiles of one photograph, each of another condition than the one before."""
    height, width = size
    picture = photograph(height, 24 * count + width, channels=channels, bits=bits)
    return [
        TileJob(picture[:, 24 * i : 24 * i + width], CONDITIONS[i % len(CONDITIONS)], 5, 0, 24 * i)
        for i in range(count)
    ]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@pytest.mark.parametrize(("preset", "precision"), MODELS)
def test_recorded_batches_are_those_run_launch_by_launch(
    preset: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, jobs = prepared(preset, precision), jobs_of(70)
    monkeypatch.setattr(cuda_program, "BATCHES_BEFORE_GRAPH", NEVER)
    engine = Engine(model, device="cuda:0")
    expected = [engine.run(turn) for turn in (jobs, jobs[::-1])]
    monkeypatch.setattr(cuda_program, "BATCHES_BEFORE_GRAPH", 1)
    engine = Engine(model, device="cuda:0")
    for _ in range(3):
        for turn, tiles in zip((jobs, jobs[::-1]), expected, strict=True):
            assert same(engine.run(turn), tiles)


@pytest.mark.parametrize(("preset", "precision"), MODELS)
def test_a_tile_is_the_same_alone_in_any_company_and_at_any_place_of_a_batch(
    preset: str, precision: str
) -> None:
    engine, jobs = Engine(prepared(preset, precision), device="cuda:0"), jobs_of(40)
    together = engine.run(jobs)
    assert same([engine.run([job])[0] for job in jobs], together)
    assert same(engine.run(jobs[::-1])[::-1], together)
    assert same(engine.run(jobs[7:]), together[7:])


def test_many_threads_with_batches_of_several_kinds_get_what_one_thread_gets() -> None:
    model = prepared("compact", "float32")
    groups = [jobs_of(20 + i, size) for i in range(8) for size in ((64, 64), (48, 80))]
    expected = [Engine(model, device="cuda:0").run(group) for group in groups]
    engine = Engine(model, device="cuda:0")
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert all(map(same, pool.map(engine.run, groups), expected))


@pytest.mark.parametrize(("channels", "bits"), [(3, 8), (1, 8), (3, 16), (1, 16)])
@pytest.mark.parametrize("size", [(64, 64), (37, 53)])
def test_every_kind_of_picture_is_what_the_cpu_makes_of_it(
    channels: int, bits: int, size: tuple[int, int]
) -> None:
    model = networks.tiny_model("compact", channels=channels, bit_depth=bits)
    cpu, cuda = (
        Engine(prepare_for_synthesis(model, device=device), device=device) for device in ("cpu", "cuda:0")
    )
    jobs = jobs_of(5, size, channels, bits)
    with tile_threads(1) as pool:
        expected = pool.submit(cpu.run, jobs).result()
    for _ in range(4):
        for tile, alone in zip(cuda.run(jobs), expected, strict=True):
            assert tile.dtype == alone.dtype
            difference = np.abs(tile.astype(int) - alone)
            assert difference.max() <= (1 if bits == 8 else 2)
            assert (difference > 0).mean() < (1e-3 if bits == 8 else 0.05)


@pytest.mark.parametrize("preset", ["paper", "hybrid"])
def test_float32_is_float32_there_too(preset: str) -> None:
    model, jobs = networks.tiny_model(preset, unet_width=16), jobs_of(3)
    cpu, cuda = (
        Engine(prepare_for_synthesis(model, device=device), device=device).run(jobs)
        for device in ("cpu", "cuda:0")
    )
    difference = np.abs(np.stack(cpu).astype(int) - np.stack(cuda))
    assert difference.max() <= 1 and (difference > 0).mean() < 2e-3


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("preset", ["paper", "hybrid"])
def test_sixteen_bits_stay_within_the_bounds(preset: str, precision: str) -> None:
    assert_within_bounds(networks.tiny_model(preset, unet_width=16), precision, "cuda:0")


@pytest.mark.parametrize(("preset", "precision"), MODELS)
def test_the_host_is_not_waited_for_within_a_batch(preset: str, precision: str) -> None:
    model, jobs = prepared(preset, precision), jobs_of(4)
    assert isinstance(model, PreparedModel)
    program = BatchProgram(model, (4, 64, 64, 3, 8), torch.device("cuda:0"), 1.0)
    conditions = tuple(job.condition for job in jobs)
    program.places.copy_(tile_places([j.key for j in jobs], [j.y for j in jobs], [j.x for j in jobs]))
    program.rows.copy_(model.condition_rows(conditions))
    program.run(conditions)  # libraries may wait when they are first used
    torch.cuda.set_sync_debug_mode("error")
    try:
        program.run(conditions[::-1])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()


def test_all_devices_make_the_same_bytes() -> None:
    devices = cuda_devices("cuda")
    if len({torch.cuda.get_device_name(name) for name in devices}) != 1 or len(devices) < 2:
        pytest.skip("there are no two CUDA devices of a kind")
    jobs = jobs_of(60)
    expected = Engine(prepared("paper", "float16"), device="cuda:0").run(jobs)
    first, *further = ((name, prepared("paper", "float16", name)) for name in devices)
    engine = Engine(first[1], device=first[0], further=dict(further))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(6):
            assert all(same(tiles, expected) for tiles in pool.map(engine.run, [jobs] * 8))


def test_a_device_that_is_not_there_is_refused_with_those_that_are() -> None:
    assert resolve_device("cuda:0") == "cuda:0"
    with pytest.raises(UsageError, match="cuda:0"):
        resolve_device("cuda:99")


def test_a_batch_that_memory_does_not_hold_is_an_error_that_says_what_to_do() -> None:
    engine = Engine(prepared("paper", "float32"), device="cuda:0")
    jobs = jobs_of(1, (1024, 1024))
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(200 * 2**20 / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(NoisegenError, match="smaller --tile-size"):
            engine.run(jobs)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert len(engine.run(jobs)) == 1


def test_values_that_are_no_numbers_are_an_error() -> None:
    model = networks.tiny_model("paper")
    assert model.generator is not None
    model.generator.last.weight.data.fill_(float("nan"))
    with pytest.raises(NoisegenError, match="no numbers"):
        Engine(prepare_for_synthesis(model, device="cuda:0"), device="cuda:0").run(jobs_of(2))


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [16, 64, 24])
def test_bias_and_relu_in_one_pass_are_those_in_two(dtype: torch.dtype, channels: int) -> None:
    assert _kernel(0) is not None
    x = (
        torch.randn(3, channels, 33, 29, device="cuda:0")
        .to(dtype)
        .contiguous(memory_format=torch.channels_last)
    )
    bias = torch.randn(channels, device="cuda:0").to(dtype)
    expected = _in_two_passes(x.clone(), bias)
    assert torch.equal(add_bias_relu_(x, bias), expected)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_dataset_is_the_same_whatever_batch_size_workers_and_devices(
    tmp_path: Path, precision: str
) -> None:
    place = make_workplace(tmp_path, photographs=6)
    trees = []
    for name, workers, batch_size, device in [
        ("a", 1, 1, "cuda:0"),
        ("b", 6, 200, "cuda:0"),
        ("c", 3, None, "cuda"),
    ]:
        build_dataset(
            place.manifest,
            tmp_path / name,
            model=place.model,
            tile_size=64,
            halo=8,
            device=device,
            precision=precision,
            workers=workers,
            batch_size=batch_size,
            quiet=True,
        )
        trees.append(contents(tmp_path / name))
    assert trees[0] == trees[1] == trees[2]


def test_a_model_keeps_working_when_conditions_never_repeat() -> None:
    engine = Engine(prepare_for_synthesis(tiny_model(), device="cuda:0"), device="cuda:0")
    job = jobs_of(1)[0]
    tiles = {
        iso: engine.run([TileJob(job.clean, Condition("S6", iso), 1, 0, 0)])[0] for iso in range(100, 800, 7)
    }
    deviations = [np.std(tile.astype(int) - job.clean) for tile in tiles.values()]
    assert len({tile.tobytes() for tile in tiles.values()}) == len(tiles)
    assert np.all(np.isfinite(deviations)) and min(deviations) > 0
