"""What a CUDA device does with a batch of tiles, as far as it can be seen without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import nm_flowgan_fixtures as networks
import numpy as np
import pytest
import torch
from synthesis_fixtures import VOCABULARY, photograph, tiny_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from noisegen.conditions import Condition
from noisegen.devices import resolve_device, resolve_precision, synthesis_precision
from noisegen.errors import InputError, NoisegenError, UsageError
from noisegen.models import NoiseModel, PreparedModel, prepare_for_synthesis
from noisegen.models.classical import Awgn
from noisegen.models.condition_codes import code_of_rows, condition_rows, encode_conditions
from noisegen.models.learning import ModelSizes
from noisegen.models.nm_flowgan.cuda_layers import pad_inputs, pad_outputs
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.runtime import FusedNMFlowGAN
from noisegen.synthesis.cuda_engine import tiles_at_once
from noisegen.synthesis.cuda_program import BatchProgram
from noisegen.synthesis.engine import Engine, TileJob
from noisegen.synthesis.randomness import batch_randomness, device_randomness, tile_places

CPU = torch.device("cpu")
CONDITIONS = [Condition("S6", 100), Condition("S6", 250), Condition("N6", 400)]
PRESET_NAMES = ["paper", "compact", "hybrid"]


def run(program: BatchProgram, model: PreparedModel | NoiseModel, jobs: list[TileJob]) -> list[np.ndarray]:
    """Runs a program on the CPU as `noisegen.synthesis.cuda_engine` does on a device."""
    conditions = tuple(job.condition for job in jobs)
    clean = np.stack([job.clean for job in jobs])
    program.pixels.copy_(torch.from_numpy(clean.view(np.uint8 if clean.dtype == np.uint8 else np.int16)))
    program.places.copy_(tile_places([j.key for j in jobs], [j.y for j in jobs], [j.x for j in jobs]))
    if isinstance(model, PreparedModel):
        program.rows.copy_(model.condition_rows(conditions))
    with torch.inference_mode():
        program.run(conditions)
    return list(program.noisy.numpy().view(clean.dtype))


def jobs_of(channels: int, bits: int, conditions: list[Condition]) -> list[TileJob]:
    picture = photograph(96, 40 * len(conditions), channels=channels, bits=bits)
    return [
        TileJob(picture[8:56, 40 * i : 40 * i + 40], condition, 2**63 + i, 8 - 16 * i, 40 * i)
        for i, condition in enumerate(conditions)
    ]


@pytest.mark.parametrize(("channels", "bits"), [(3, 8), (1, 8), (3, 16), (1, 16)])
def test_a_batch_of_any_kind_and_of_mixed_conditions_is_what_the_cpu_makes_of_each_tile(
    channels: int, bits: int
) -> None:
    model = prepare_for_synthesis(tiny_model(channels=channels, bit_depth=bits), device="cpu")
    jobs = jobs_of(channels, bits, CONDITIONS)
    program = BatchProgram(model, (len(jobs), 48, 40, channels, bits), CPU, 1.5)
    # the second time other conditions, the third time the first ones again
    for turn in (jobs, jobs[::-1], jobs):
        expected = Engine(model, strength=1.5).run(turn)
        for tile, alone in zip(run(program, model, turn), expected, strict=True):
            difference = np.abs(tile.astype(int) - alone)
            assert difference.max() <= 1 and (difference > 0).mean() < (1e-3 if bits == 8 else 0.03)
        assert not program.broken.any()


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_every_preset_draws_from_numbers_for_conditions_what_it_draws_from_names(preset: str) -> None:
    model = prepare_for_synthesis(networks.tiny_model(preset), device="cpu")
    assert isinstance(model, PreparedModel)
    conditions = [networks.A1600, networks.A400, networks.B400]
    clean, noise = networks.inputs(networks.tiny_model(preset), 40, 56, batch=3)
    named = model.sample(clean, conditions, noise=noise, strength=0.7)
    numbered = model.render(clean, noise, model.prepare(model.condition_rows(conditions), 0.7))
    difference = (named - numbered).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 1e-3


def test_codes_from_numbers_are_those_from_names() -> None:
    vocabulary = VOCABULARY
    mixes = [vocabulary.resolve(condition) for condition in CONDITIONS]
    named, numbered = (
        encode_conditions(vocabulary, mixes),
        code_of_rows(vocabulary, condition_rows(vocabulary, mixes)),
    )
    assert torch.equal(named.onehot, numbered.onehot) and torch.equal(named.row, numbered.row)
    assert named.weight is not None and numbered.weight is not None
    assert torch.equal(named.weight, numbered.weight)


def test_random_numbers_of_a_device_are_those_of_the_cpu() -> None:
    keys, ys, xs = [2**64 - 1, 7], [-3, 100_000], [0, 2**31 + 5]
    host = batch_randomness(keys, ys, xs, 33, 17, 3)
    device = device_randomness(tile_places(keys, ys, xs), 33, 17, 3)
    assert torch.equal(host.uniform, device.uniform)
    assert (host.normal - device.normal).abs().max() < 1e-5


class NoWordToTheHost(TorchDispatchMode):
    """Lets no operation take a tensor of the host but a plain number; those that would read one fail on "meta"."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in torch.utils._pytree.tree_leaves((args, kwargs)):
            if isinstance(value, torch.Tensor) and value.dim():
                assert value.device.type == "meta", f"{func} takes a tensor of the host"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("size", [(32, 48), (37, 53)])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_nothing_that_a_graph_records_needs_a_word_from_the_host(
    preset: str, dtype: torch.dtype, batch: int, size: tuple[int, int]
) -> None:
    meta = torch.device("meta")
    model = FusedNMFlowGAN(networks.tiny_model(preset), "meta", dtype)
    program = BatchProgram(model, (batch, *size, 3, 16), meta, 1.0)
    with NoWordToTheHost():
        program.run((networks.A400,) * batch)
    assert program.noisy.shape == (batch, *size, 3)


def test_layers_with_filled_up_channels_compute_the_same() -> None:
    x = torch.randn(2, 3, 9, 8)
    layer = nn.Conv2d(3, 5, 3, padding=1)
    expected = layer(x)
    pad_inputs(layer, 8)
    pad_outputs(layer, 8)
    assert layer.weight.shape == (8, 8, 3, 3)
    more = layer(nn.functional.pad(x, (0, 0, 0, 0, 0, 5)))
    torch.testing.assert_close(more[:, :5], expected)
    assert not more[:, 5:].any()


def test_batches_have_so_many_tiles_that_a_device_is_busy_and_its_memory_bounded() -> None:
    assert tiles_at_once(256, 256) == 16
    assert tiles_at_once(64, 64) == tiles_at_once(1, 1) == 64
    assert tiles_at_once(1024, 1024) == tiles_at_once(4000, 3000) == 1
    for height, width in [(100, 700), (512, 512), (1000, 1000)]:
        assert tiles_at_once(height, width) * height * width <= 2**20


def test_a_model_without_a_form_for_devices_runs_all_the_same() -> None:
    awgn = Awgn.of(ModelSizes(), std=dict.fromkeys(VOCABULARY.known, (5.0,) * 3))
    assert not isinstance(awgn, PreparedModel)
    jobs = jobs_of(3, 8, [Condition("S6", 100), Condition("N6", 400)])
    program = BatchProgram(awgn, (2, 48, 40, 3, 8), CPU, 1.0)
    for tile, expected in zip(run(program, awgn, jobs), Engine(awgn).run(jobs), strict=True):
        assert np.abs(tile.astype(int) - expected).max() <= 1


@contextmanager
def broken(model: NMFlowGAN) -> Iterator[None]:
    """A generator whose first activations are beyond float16 though all weights are within."""
    assert model.generator is not None
    first, last = model.generator.down[0], model.generator.last
    assert isinstance(first, nn.Sequential)
    kept = first[0].weight.data.clone(), first[0].bias.data.clone(), last.weight.data.clone()
    first[0].bias.data.fill_(60_000.0)
    first[2].weight.data.abs_()
    last.weight.data.mul_(1e-9)
    yield
    first[0].weight.data, first[0].bias.data, last.weight.data = kept


def test_too_large_for_float16_is_an_error_and_not_a_white_pixel() -> None:
    model = networks.tiny_model("paper")
    job = TileJob(photograph(32, 32), networks.A400, 1, 0, 0)
    with broken(model):
        wide = Engine(prepare_for_synthesis(model, device="cpu", precision="bfloat16"))
        narrow = prepare_for_synthesis(model, device="cpu", precision="float16")
        assert wide.run([job])[0].shape == (32, 32, 3)
        with pytest.raises(NoisegenError, match="--precision bfloat16"):
            Engine(narrow).run([job])
        program = BatchProgram(narrow, (1, 32, 32, 3, 8), CPU, 1.0)
        run(program, narrow, [job])
        assert program.broken.all()


def test_an_unknown_condition_is_refused_before_it_reaches_a_device() -> None:
    model = prepare_for_synthesis(tiny_model(), device="cpu")
    assert isinstance(model, PreparedModel)
    with pytest.raises(InputError, match="known: N6, S6"):
        model.condition_rows([Condition("X9", 100)])


def test_names_of_devices_and_precisions() -> None:
    assert synthesis_precision("float16", "cpu", latent=True) == "float16"
    assert synthesis_precision("auto", "cuda:1", latent=False) == "float16"
    assert resolve_precision("auto", "cuda") == "bfloat16"
    assert synthesis_precision("float32", "cuda", latent=True) == "float32"
    assert synthesis_precision("bfloat16", "cpu", latent=False) == "bfloat16"
    assert synthesis_precision("auto", "cpu", latent=False) == "float32"
    assert synthesis_precision("auto", "cpu", latent=True) == resolve_precision("auto", "cpu")
    for name in ("cuda:x", "gpu", "cpu:1"):
        with pytest.raises(UsageError, match="unknown device"):
            resolve_device(name)
    with pytest.raises(UsageError, match="unknown precision"):
        synthesis_precision("half", "cpu", latent=True)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="--device cpu"):
            resolve_device("cuda:0")
