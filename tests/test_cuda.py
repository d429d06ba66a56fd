"""A CUDA device makes the noise that the CPU makes, and the same bytes each time; and trains denoisers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from denoiser_training_fixtures import tiny_recipe, write_pairs
from synthesis_fixtures import (
    VOCABULARY,
    contents,
    make_workplace,
    photograph,
    save_tiny_model,
    tiny_model,
)
from training_fixtures import assert_same_weights

from noisegen.conditions import Condition
from noisegen.datasets.pairs import load_pair, read_pairs
from noisegen.denoising import load_denoiser
from noisegen.denoising.inference import Denoiser
from noisegen.denoising.run import train_denoiser
from noisegen.errors import NoisegenError
from noisegen.models import prepare_for_synthesis
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.engine import synthesize
from noisegen.synthesis.randomness import randomness

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def test_random_numbers_are_those_of_the_cpu() -> None:
    cpu, cuda = (randomness(7, 3, 5, 40, 50, 3, device=device) for device in ("cpu", "cuda"))
    assert torch.equal(cpu.uniform, cuda.uniform.cpu())
    assert (cpu.normal - cuda.normal.cpu()).abs().max() < 1e-5


def test_noise_differs_from_the_cpus_by_one_level_on_few_pixels() -> None:
    model, clean = tiny_model(), photograph(256, 300)
    condition = Condition("S6", VOCABULARY.isos_of("S6")[0])
    cpu, cuda = (
        synthesize(
            prepare_for_synthesis(model, device=device),
            clean,
            condition,
            seed=1,
            image_id="x",
            device=device,
        ).astype(int)
        for device in ("cpu", "cuda")
    )
    difference = np.abs(cpu - cuda)
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


def test_batch_size_and_workers_change_no_byte(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=4)
    trees = []
    for name, workers, batch_size in [("one", 1, 1), ("two", 4, 32)]:
        build_dataset(
            place.manifest,
            tmp_path / name,
            model=place.model,
            tile_size=64,
            device="cuda",
            workers=workers,
            batch_size=batch_size,
            quiet=True,
        )
        trees.append(contents(tmp_path / name))
    assert trees[0] == trees[1]


def test_a_denoiser_trains_in_bfloat16_and_a_second_time_to_the_same_weights(tmp_path: Path) -> None:
    pairs, model = write_pairs(tmp_path, std=25), save_tiny_model(tmp_path / "model.safetensors")
    config = tiny_recipe(steps=250, width=16, batch=8, patch=24, learning_rate=5e-3, validate_every=250)
    paths = [tmp_path / f"{name}.safetensors" for name in ("one", "two")]
    for path in paths:
        train_denoiser(
            [f"{pairs}:3", f"clean:{pairs}"],
            path,
            config,
            noise_model=str(model),
            device="cuda",
            mixed_precision=True,
            quiet=True,
        )
    assert_same_weights(*paths)
    denoisers = [Denoiser(load_denoiser(paths[0]), device=device) for device in ("cpu", "cuda")]
    for pair in read_pairs(pairs, split="val"):
        noisy, clean = load_pair(pair)
        cpu, cuda = (denoiser.denoise(noisy).astype(int) for denoiser in denoisers)
        assert np.abs(cpu - cuda).max() <= 1
        assert np.square(cpu - clean).mean() < 0.5 * np.square(noisy.astype(int) - clean).mean()


def test_out_of_memory_on_the_device_says_which_batch_would_fit(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path)
    limit = 256 * 2**20 / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(limit)
    try:
        with pytest.raises(NoisegenError, match=r"--batch \d+ fits"):
            config = tiny_recipe(batch=20_000, width=32, layers=12)
            train_denoiser([str(pairs)], tmp_path / "d.safetensors", config, device="cuda", quiet=True)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
