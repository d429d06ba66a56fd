"""Two small real pairs of files, sizes small enough to train on, and comparison of what training leaves."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from noisegen.fitting import draws, trainer
from noisegen.fitting.run import train_noise_model
from noisegen.models.checkpoint import read_checkpoint
from noisegen.models.nm_flowgan import correlation_fit
from noisegen.models.nm_flowgan.model_type import NM_FLOWGAN
from noisegen.models.nm_flowgan.recipes import RECIPES, NMFlowGANRecipe
from noisegen.models.nm_flowgan.sizes import PRESETS
from noisegen.png import encode_png

STEPS = 6


def write_pair(
    folder: Path, name: str, std: float, *, size: tuple[int, int] = (80, 96), channels: int = 3
) -> None:
    """`name`_noisy.png and `name`_clean.png: a gradient with white noise of `std` grey levels."""
    height, width = size
    rng = np.random.default_rng([ord(letter) for letter in name])
    ramp = np.linspace(40, 200, width)[None, :, None] + np.linspace(-20, 20, height)[:, None, None]
    clean = np.broadcast_to(ramp, (height, width, channels)).round()
    noisy = (clean + rng.normal(0, std, clean.shape)).round().clip(0, 255)
    for suffix, values in (("noisy", noisy), ("clean", clean)):
        (folder / f"{name}_{suffix}.png").write_bytes(encode_png(values.astype(np.uint8)))


def write_table(folder: Path, rows: dict[str, tuple[str, int]] | dict[str, tuple[str, int, str]]) -> Path:
    """pairs.csv of the pairs with these names, each with its camera and ISO, and its split where there is one."""
    columns = ["noisy_path", "clean_path", "camera", "iso", "split"]
    table = folder / "pairs.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns[: 2 + len(next(iter(rows.values())))])
        for name, row in rows.items():
            writer.writerow([f"{name}_noisy.png", f"{name}_clean.png", *row])
    return table


def two_cameras(folder: Path) -> Path:
    """A table of two pairs of different cameras and noise."""
    write_pair(folder, "one", 6)
    write_pair(folder, "two", 15)
    return write_table(folder, {"one": ("A", 100), "two": ("B", 1600)})


def two_cameras_marked(folder: Path) -> Path:
    """As `two_cameras`, with a pair of each camera to train on and one to validate on."""
    rows = {}
    for name, camera, iso, std in (("one", "A", 100, 6), ("two", "B", 1600, 15)):
        for split in ("train", "val"):
            write_pair(folder, f"{name}_{split}", std)
            rows[f"{name}_{split}"] = (camera, iso, split)
    return write_table(folder, rows)


def shrink(monkeypatch: pytest.MonkeyPatch, *, curves: bool = False) -> None:
    """Gives the presets few channels, and makes training save every second step and log every one.

    Curves are drawn only where they are wanted.
    """
    for name, usual in list(RECIPES.items()):
        preset = PRESETS[name]
        widths = {"unet_width": 4, "critic_width": 2, "structure_width": 4, "structure_depth": 1}
        depths = {"unet_depth": min(3, preset.unet_depth), "filter_size": min(3, preset.filter_size)}
        small = replace(preset, **widths, **depths)  # type: ignore[arg-type]
        monkeypatch.setitem(PRESETS, name, small)
        monkeypatch.setitem(RECIPES, name, replace(usual, model=small))
    monkeypatch.setattr(trainer, "SAVE_EVERY", 2)
    monkeypatch.setattr(trainer, "LOG_EVERY", 1)
    monkeypatch.setattr(draws, "INIT_BATCHES", 2)
    monkeypatch.setattr(correlation_fit, "PATCHES", 4)
    if not curves:
        monkeypatch.setattr(trainer, "write_curves", lambda *_, **__: None)


def recipe(preset: str = "compact", **changes: object) -> NMFlowGANRecipe:
    """A recipe for a few small steps in which every loss of the preset takes part."""
    small: dict[str, object] = {"steps": STEPS, "batch": 3, "patch": 64}
    if preset == "paper":
        small["generator_every"] = 2
    else:
        small |= {"adversarial_from": 2, "strategy": "simultaneous"}
    return replace(RECIPES[preset], **(small | changes))  # type: ignore[arg-type]


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = read_checkpoint(first), read_checkpoint(second)
    assert one.tensors.keys() == other.tensors.keys()
    for name, values in one.tensors.items():
        assert torch.equal(values, other.tensors[name]), name


def assert_same_state(first: Path, second: Path) -> None:
    one, other = load_file(first), load_file(second)
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert torch.equal(values, other[name]), name


def train_nm_flowgan(table: Path, output: Path, config: NMFlowGANRecipe, **options: Any) -> bool:
    """`train_noise_model` of an NM-FlowGAN."""
    return train_noise_model(table, output, NM_FLOWGAN, config, **options)
