"""Code of a user of the package, for mypy alone (`make lint`): it complains if the public names lose their types.

An error that is expected here is marked, and mypy complains of marks without one.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

import noisegen


def pairs_from_disk(dataset: Path) -> Tensor:
    pairs = noisegen.NoisyPairs(dataset, split="val", patch=64)
    noisy, clean, *_ = pairs[0]
    noisegen.NoisyPairs(dataset, pach=64)  # type: ignore[call-arg]
    noisegen.NoisyPairz(dataset)  # type: ignore[attr-defined]
    return noisy - clean


def fresh_pairs(photographs: list[np.ndarray]) -> None:
    data = noisegen.SynthesisDataset(photographs, patch=64, conditions=[noisegen.Condition("S6", 800)])
    assert_type(data[0], noisegen.NoisyPair)
    assert_type(data[0].camera, str)
    for patches in DataLoader(data.clean_patches(), batch_size=4):
        assert_type(data.draw(patches, device="cuda:0").noisy, Tensor)
    noisegen.SynthesisDataset(photographs, patch="64")  # type: ignore[arg-type]


def streamed(url: str) -> None:
    for pair in noisegen.TileStream(url):
        assert_type(pair, noisegen.NoisyPair)


def the_rest(picture: np.ndarray) -> None:
    summary = noisegen.build_dataset("manifest.parquet", "DATASET")
    assert_type(summary, noisegen.BuildSummary)
    assert_type(summary.failures, dict[str, int])
    assert_type(noisegen.load_noise_model().vocabulary.cameras, tuple[str, ...])
    assert_type(noisegen.add_noise(picture, camera="S6", iso=800), np.ndarray)
    try:
        noisegen.add_noise(picture, camera="S7", iso=800)
    except noisegen.InputError as error:
        assert_type(error.reason, str)
