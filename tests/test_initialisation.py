"""Training starts from a flow that already knows how strong the noise of each camera is, where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from training_fixtures import recipe, write_table

from noisegen.conditions import Vocabulary
from noisegen.datasets.pairs import read_pairs
from noisegen.fitting.draws import Draw, initial_draws
from noisegen.fitting.patches import PatchSampler
from noisegen.models.nm_flowgan.initialisation import initialise_flow
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.png import encode_png


def write_noisy_ramp(folder: Path, name: str, dark: float, bright: float, mosaic: float) -> None:
    """A ramp with noise of `dark` to `bright` grey levels, `mosaic` times that at even rows and columns."""
    rng = np.random.default_rng(len(name))
    clean = np.broadcast_to(np.linspace(20, 235, 256)[None, :, None], (256, 256, 3)).round()
    std = dark + (bright - dark) * clean / 255
    std[::2, ::2] *= mosaic
    noisy = (clean + rng.normal(size=clean.shape) * std).round().clip(0, 255)
    for suffix, values in (("noisy", noisy), ("clean", clean)):
        (folder / f"{name}_{suffix}.png").write_bytes(encode_png(values.astype(np.uint8)))


def latents(model: NMFlowGAN, drawn: Draw) -> torch.Tensor:
    code = model.encode(drawn.conditions)
    return model.likelihood(drawn.noisy, drawn.clean, code, drawn.uniform(), drawn.uniform()).latent


def test_latents_start_with_unit_variance_at_each_clean_value_and_position_in_the_mosaic(
    tmp_path: Path,
) -> None:
    write_noisy_ramp(tmp_path, "a", 3, 12, 1.5)
    write_noisy_ramp(tmp_path, "bb", 9, 4, 0.7)
    table = write_table(tmp_path, {"a": ("A", 100), "bb": ("B", 1600)})
    pairs = read_pairs(table)
    config = recipe()
    torch.manual_seed(0)
    model = NMFlowGAN(config.architecture(3, 8), Vocabulary.of(pair.condition for pair in pairs))
    sampler = PatchSampler(pairs, patch=96, levels=256, channels=3, balance=True, period=2)
    initialise_flow(model, initial_draws(sampler, 0, 16, "cpu"))
    for pair in pairs:
        batch = sampler.batch_of(pair.condition, np.random.default_rng(1), 16)
        generator = torch.Generator().manual_seed(0)
        drawn = Draw(batch.noisy, batch.clean, batch.conditions, generator, slice(None), "cpu")
        with torch.no_grad():
            latent = latents(model, drawn)
        for low in range(30, 220, 40):
            there = (drawn.clean >= low) & (drawn.clean < low + 40)
            assert 0.85 < latent[there].std() < 1.15, (pair.condition, low)
        for row, column in ((0, 0), (0, 1), (1, 1)):
            assert 0.9 < latent[:, :, row::2, column::2].std() < 1.1, (pair.condition, row, column)
