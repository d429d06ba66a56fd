"""Fits the filters that correlate latents, by the spectra of real and simulated noise."""

from __future__ import annotations

import torch
from torch import Tensor

from noisegen.models.learning import Batch, Patches
from noisegen.models.linear_filters import filter_latent, filters_of_spectra, spectral_root
from noisegen.models.nm_flowgan.layers import pixel_unshuffle
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.transform import NoiseTransform

__all__ = ["fit_correlation"]

PATCHES = 64
WINDOW = 24  # squares
ROUNDS = 4


def fit_correlation(model: NMFlowGAN, patches: Patches) -> None:
    """Sets the filters of a model whose flow is trained; the same model and patches give the same filters.

    For each condition the cross-spectral matrices of the real latents are measured, between all channels and positions
    in a mosaic. The filter is their Hermitian square root. Clipping, rounding and the window change spectra: filtered
    latents are rendered to pictures, measured in the same way, and what they lack is added, some rounds.

    Args:
        model: with a filter; its table is changed in place.
        patches: of the training pairs.
    """
    correlation = model.correlation
    assert correlation is not None
    period, size = correlation.period, correlation.size
    training = model.training
    model.eval()
    for condition in model.vocabulary.known:
        real, transform, normal = _latents(model, patches.of_condition(condition, PATCHES))
        wanted = _spectra(real, period)
        target = wanted
        for _ in range(ROUNDS):
            kernels = filters_of_spectra(target, size)
            noise = transform.noise(
                filter_latent(normal, kernels.expand(len(normal), *kernels.shape), period)
            )
            levels = model.sizes.levels
            noisy = ((transform.clean + noise) * levels).floor().clamp(0, levels - 1)
            made = _spectra(transform.latent((noisy + 0.5) / levels - transform.clean)[0], period)
            lack = spectral_root(made, -0.5)
            root = spectral_root(target, 0.5)
            target = root @ lack @ wanted @ lack @ root
        row = model.encode([condition]).row[0]
        correlation.table[row] = filters_of_spectra(target, size).flatten(0, 1)
    model.train(training)


@torch.no_grad()
def _latents(model: NMFlowGAN, batch: Batch) -> tuple[Tensor, NoiseTransform, Tensor]:
    """Real latents of random patches, the flow there, and white latents to simulate with."""
    clean = model.dequantize(batch.clean, batch.uniform())
    transform = model.flow.at(clean, model.encode(batch.conditions))
    # The middle of each level, for simulated noise as for real: it is the flow that is dequantized, not the spectrum.
    noise = model.dequantize(batch.noisy, torch.full_like(clean, 0.5)) - clean
    return transform.latent(noise)[0], transform, batch.normal()


def _spectra(latent: Tensor, period: int) -> Tensor:
    """Cross-spectral matrices [WINDOW, WINDOW, K, K], K channels and positions, mean over half-overlapping windows."""
    squares = pixel_unshuffle(latent - latent.mean(dim=(2, 3), keepdim=True), period)
    window = min(WINDOW, *squares.shape[2:])
    step = max(window // 2, 1)
    parts = squares.unfold(2, window, step).unfold(3, window, step)
    taper = torch.hann_window(window, device=latent.device)
    taper = torch.outer(taper, taper)
    spectrum = torch.fft.fft2(parts * (taper / taper.square().sum().sqrt()))
    vectors = spectrum.permute(4, 5, 1, 0, 2, 3).flatten(3)
    return vectors @ vectors.mH / vectors.shape[-1]
