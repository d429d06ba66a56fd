"""Denoisers: the yardstick of what synthetic pairs are worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from noisegen.errors import UsageError
from noisegen.models.checkpoint import read_checkpoint, restore_module

if TYPE_CHECKING:
    from noisegen.denoising.dncnn import DnCNN

__all__ = ["load_denoiser"]


def load_denoiser(path: Path) -> DnCNN:
    """Loads a DnCNN checkpoint in eval mode, float32.

    Raises:
        UsageError: the file is missing, no checkpoint, or not of a DnCNN.
    """
    from noisegen.denoising.dncnn import DnCNN

    checkpoint = read_checkpoint(path)
    if checkpoint.kind != "dncnn":
        raise UsageError(f"{path} holds a {checkpoint.kind}, not a denoiser")
    return restore_module(lambda: DnCNN(**checkpoint.config), checkpoint.tensors, str(path))
