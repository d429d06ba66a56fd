"""The bounds within which 16-bit arithmetic may change noise, as `docs/cuda.md` states them."""

from __future__ import annotations

import numpy as np
from nm_flowgan_fixtures import A400, A1600, inputs

from noisegen.evaluation.histogram_metrics import kld_nm
from noisegen.evaluation.structure_metrics import autocorrelation
from noisegen.models import Randomness, prepare_for_synthesis
from noisegen.models.nm_flowgan.model import NMFlowGAN


def drawn(
    model: NMFlowGAN, precision: str, device: str, *, seed: int = 0, strength: float = 1.0
) -> np.ndarray:
    """Noise of two pictures, always the same ones, [2, H, W, C]."""
    clean, _ = inputs(model, 96, 128, batch=2)
    _, noise = inputs(model, 96, 128, batch=2, seed=seed)
    there = Randomness(noise.normal.to(device), noise.uniform.to(device))
    fast = prepare_for_synthesis(model, device=device, precision=precision)
    noisy = fast.sample(clean.to(device), [A400, A1600], noise=there, strength=strength).cpu()
    return (noisy - clean).permute(0, 2, 3, 1).numpy()


def assert_within_bounds(model: NMFlowGAN, precision: str, device: str) -> None:
    """A quarter of a grey level RMS, two at most, statistics by less than 1 %."""
    exact, noise = drawn(model, "float32", device), drawn(model, precision, device)
    difference = noise - exact
    assert 0 < np.square(difference).mean() < 0.25**2
    assert np.abs(difference).max() <= 2
    assert abs(noise.std() / exact.std() - 1) < 0.01
    for before, after in zip(exact, noise, strict=True):
        assert np.abs(autocorrelation(after) - autocorrelation(before)).max() < 0.01
    # noise drawn anew and 20 % stronger has a divergence that is not all chance
    other = drawn(model, "float32", device, seed=1, strength=1.2)
    assert abs(kld_nm(other, noise) / kld_nm(other, exact) - 1) < 0.01
