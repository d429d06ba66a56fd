"""A CUDA device makes the noise that the CPU makes, and the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from synthesis_fixtures import VOCABULARY, contents, make_workplace, photograph, tiny_model

from noisegen.conditions import Condition
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
