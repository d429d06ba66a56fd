"""A small untrained denoiser and pictures for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from noisegen.denoising.dncnn import DnCNN
from noisegen.models.checkpoint import Checkpoint, write_checkpoint

__all__ = ["Sizes", "random_denoiser", "random_picture", "write_denoiser"]


@dataclass(frozen=True)
class Sizes:
    channels: int = 3
    layers: int = 5
    width: int = 8
    bit_depth: int = 8


def random_denoiser(sizes: Sizes = Sizes()) -> DnCNN:
    """In eval mode; its BatchNorm has seen something, and its output differs from its input by many levels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DnCNN(**asdict(sizes)).eval()
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.running_mean, std=0.1)
                nn.init.uniform_(layer.running_var, 0.1, 1)
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, std=0.1)
    return model


def write_denoiser(path: Path, sizes: Sizes = Sizes()) -> Path:
    write_checkpoint(path, Checkpoint("dncnn", asdict(sizes), random_denoiser(sizes).state_dict()))
    return path


def random_picture(height: int, width: int, channels: int = 3, bit_depth: int = 8) -> np.ndarray:
    values = np.random.default_rng(height + width).integers(0, 2**bit_depth, (height, width, channels))
    return values.astype(np.uint8 if bit_depth == 8 else np.uint16)
