"""Small and true-shaped files of blocks, and denoisers whose output is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch
from scipy.io import savemat

from noisegen.datasets.sidd_blocks import LAYOUTS, BlockLayout
from noisegen.denoising.dncnn import DnCNN
from noisegen.models.checkpoint import Checkpoint, write_checkpoint

# Of the scenes that are known, one fits the small grid.
SMALL_LAYOUTS = (
    replace(LAYOUTS[0], grid=(2, 3), block=(16, 12, 3), scenes=LAYOUTS[0].scenes[:1]),
    replace(LAYOUTS[1], grid=(2, 3), block=(16, 12, 3)),
    replace(LAYOUTS[2], grid=(6,), block=(16, 12, 3)),
)


def blocks(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_v5(path: Path, variable: str, array: np.ndarray, *, compressed: bool = True) -> Path:
    savemat(path, {variable: array}, do_compression=compressed)
    return path


def write_v73(
    path: Path, variable: str, array: np.ndarray, *, chunks: tuple[int, ...] | bool | None = None
) -> Path:
    """As MATLAB writes it: axes reversed, behind a text header of 512 bytes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset(variable, data=array.T, chunks=chunks, compression="gzip" if chunks else None)
        file[variable].attrs["MATLAB_class"] = np.bytes_("uint8")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return path


def write_true_shape(
    path: Path, layout: BlockLayout, variable: str, filled: dict[tuple[int, ...], int]
) -> Path:
    """Version 7.3 in the published shape; the blocks that are not in ``filled`` are 0 and take no room."""
    axes = len(layout.grid)
    with h5py.File(path, "w", userblock_size=512) as file:
        stored = file.create_dataset(
            variable,
            shape=layout.shape[::-1],
            dtype=np.uint8,
            chunks=(*layout.block[::-1], *[1] * axes),
            compression="gzip",
        )
        for index, value in filled.items():
            stored[(..., *index[::-1])] = value
    return path


def shift_denoiser(path: Path, shift: float, *, channels: int = 3, bit_depth: int = 8) -> Path:
    """A denoiser that takes ``shift`` grey levels off every pixel."""
    model = DnCNN(channels, layers=2, width=1, bit_depth=bit_depth).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.body[-1].bias.fill_(shift / 2**bit_depth)  # type: ignore[operator, union-attr]
    config = {"channels": channels, "layers": 2, "width": 1, "bit_depth": bit_depth}
    write_checkpoint(path, Checkpoint("dncnn", config, model.state_dict()))
    return path
