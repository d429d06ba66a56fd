"""A tiny NM-FlowGAN with random weights, and photographs, for tests of building."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from noisegen.conditions import Condition, Vocabulary
from noisegen.models import nm_flowgan_checkpoint
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.nm_flowgan.config import PRESETS
from noisegen.models.nm_flowgan.model import NMFlowGAN

VOCABULARY = Vocabulary.of(
    [Condition("S6", 100), Condition("S6", 800), Condition("N6", 400), Condition("N6", 3200)]
)


def tiny_model(*, seed: int = 0, channels: int = 3, bit_depth: int = 8) -> NMFlowGAN:
    """A compact NM-FlowGAN of random weights whose noise has a few grey levels."""
    config = replace(
        PRESETS["compact"], channels=channels, bit_depth=bit_depth, structure_depth=1, structure_width=4
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = NMFlowGAN(config, VOCABULARY)
        for parameter in model.parameters():
            parameter.data.normal_(0, 0.15)
    return model.eval()


def save_tiny_model(path: Path, *, seed: int = 0, channels: int = 3, bit_depth: int = 8) -> Path:
    """Writes the checkpoint of `tiny_model`."""
    model = tiny_model(seed=seed, channels=channels, bit_depth=bit_depth)
    write_checkpoint(path, nm_flowgan_checkpoint(model, {"training": "none, random weights"}))
    return path


def photograph(height: int, width: int, *, seed: int = 0, channels: int = 3, bits: int = 8) -> np.ndarray:
    """A picture of slopes and edges, uint8 or uint16 [H, W, C]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(y / a + c) + np.cos(x / b) for a, b, c in generator.uniform(3, 40, (channels, 3))]
    scaled = (np.stack(waves, axis=-1) + 2) / 4 * ((1 << bits) - 1)
    return scaled.astype(np.uint8 if bits == 8 else np.uint16)
