"""Small pairs whose noise is known, and models that make it."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from noisegen.conditions import Condition
from noisegen.datasets.pairs import Pair
from noisegen.models.classical import Awgn
from noisegen.models.learning import ModelSizes

SIGMAS = {Condition("S6", 100): 4.0, Condition("S6", 800): 16.0, Condition("GP", 400): 8.0}


def awgn(*conditions: Condition, factor: float = 1.0) -> Awgn:
    std = {condition: (factor * SIGMAS[condition],) * 3 for condition in conditions}
    return Awgn.of(ModelSizes(), std=std)


def save(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image[:, :, ::-1])
    return path


def make_pair(
    folder: Path, condition: Condition, sigma: float, name: str, dataset: str, blur: int = 1
) -> Pair:
    rng = np.random.default_rng(sum(map(ord, name)))
    clean = rng.integers(100, 156, (150, 220, 3)).astype(np.uint8)
    noise = cv2.blur(rng.normal(0, sigma * blur, clean.shape), (blur, blur)) if blur > 1 else None
    noise = rng.normal(0, sigma, clean.shape) if noise is None else noise
    noisy = np.clip(np.round(clean + noise), 0, 255).astype(np.uint8)
    paths = save(folder / f"{name}_noisy.png", noisy), save(folder / f"{name}_clean.png", clean)
    return Pair(*paths, condition, "val", name, dataset)


def six_pairs(folder: Path) -> list[Pair]:
    """Two pairs of each condition; S6 is in dataset "one", GP in "two"."""
    kinds = [(Condition("S6", 100), "one"), (Condition("S6", 800), "one"), (Condition("GP", 400), "two")]
    return [
        make_pair(folder, condition, SIGMAS[condition], f"{dataset}-{condition.iso}-{i}", dataset)
        for condition, dataset in kinds
        for i in range(2)
    ]


def unpadded(markdown: str) -> str:
    """Tables without the spaces that line their columns up."""
    return re.sub(r" {2,}", " ", markdown)
