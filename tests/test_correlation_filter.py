"""Latents correlated by a filter stay standard normal, and a fitted filter gives noise the spectra of real noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from nm_flowgan_fixtures import A100, A400, A1600, B400, inputs, one_of, tiny_model
from torch import Tensor
from training_fixtures import write_table

from noisegen.conditions import Condition, Vocabulary
from noisegen.datasets.pairs import read_pairs
from noisegen.fitting.draws import ConditionPatches
from noisegen.fitting.patches import PatchSampler
from noisegen.models.linear_filters import filter_latent, unit_norm
from noisegen.models.nm_flowgan.correlation import CorrelationFilter
from noisegen.models.nm_flowgan.correlation_fit import fit_correlation
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.sizes import PRESETS

SIZE, PERIOD = 7, 2
CONDITION = Condition("A", 100)
SIDE = 512
DEVIATION = 12.0  # of the real noise, in grey levels


def kernels_like(seed: int, *, channels: int = 3, period: int = PERIOD, size: int = SIZE) -> Tensor:
    """Random filters [out, in, size, size] of norm 1, strongest in the middle."""
    squares = channels * period**2
    generator = torch.Generator().manual_seed(seed)
    kernels = 0.1 * torch.randn(squares, squares, size, size, generator=generator)
    kernels[:, :, size // 2, size // 2] += torch.eye(squares)
    return unit_norm(kernels)


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("period", [1, 2])
@pytest.mark.parametrize(
    ("height", "width"), [(16, 18), (15, 17), (1, 7), (2, 2), (5, 3), (1, 1), (3, 40), (14, 13)]
)
def test_filtered_latents_have_unit_variance_at_every_pixel_of_every_size(
    height: int, width: int, period: int
) -> None:
    draws = 4000
    kernels = kernels_like(1, period=period)
    one = white(draws, 3, height, width)
    out = filter_latent(one, kernels.expand(draws, *kernels.shape), period)
    assert out.shape == one.shape
    variance = out.square().mean(dim=0)
    # six standard errors of a variance
    assert (variance - 1).abs().max() < 6 * (2 / draws) ** 0.5
    assert out.mean(dim=0).abs().max() < 6 / draws**0.5


def test_the_autocorrelation_is_that_of_the_kernels() -> None:
    # one channel without a mosaic, so that the expectation can be written down
    kernels = torch.zeros(1, 1, 3, 3)
    kernels[0, 0, 1] = torch.tensor([0.6, 1.0, 0.2])
    kernels[0, 0, 2, 1] = 0.5
    kernels = unit_norm(kernels)
    draws = 64
    out = filter_latent(white(draws, 1, 64, 64), kernels.expand(draws, 1, 1, 3, 3), 1)[:, 0]
    total = 0.6**2 + 1 + 0.2**2 + 0.5**2
    for lag, expected in (
        ((0, 1), (0.6 + 0.2) / total),
        ((0, 2), 0.6 * 0.2 / total),
        ((1, 0), 0.5 / total),
        ((1, 1), 0.5 * 0.6 / total),
        ((1, -1), 0.5 * 0.2 / total),
        ((2, 0), 0.0),
        ((0, 3), 0.0),
    ):
        # borders are no exception: the sides are joined
        measured = (out * out.roll(lag, (1, 2))).mean().item()
        flipped = (out * out.roll((lag[0], -lag[1]), (1, 2))).mean().item()
        assert min(abs(measured - expected), abs(flipped - expected)) < 0.01, lag
        if lag[1] == 0 or lag[0] == 0:
            assert measured == pytest.approx(expected, abs=0.01), lag


def test_each_position_in_the_mosaic_has_a_filter_of_its_own() -> None:
    # Only the pixels of even rows and columns take from the pixel at their right, in the same square.
    kernels = torch.zeros(4, 4, 3, 3)
    kernels[:, :, 1, 1] = torch.eye(4)
    kernels[0, 1, 1, 1] = 1.0
    draws = 200
    out = filter_latent(white(draws, 1, 20, 20), unit_norm(kernels).expand(draws, 4, 4, 3, 3), 2)[:, 0]

    def beside(row: int, column: int) -> float:
        return (out * out.roll(-1, 2))[:, row::2, column::2].mean().item()

    assert beside(0, 0) == pytest.approx(0.5**0.5, abs=0.02)
    for row, column in ((0, 1), (1, 0), (1, 1)):
        assert beside(row, column) == pytest.approx(0, abs=0.02)


def test_filters_between_two_iso_settings_keep_norm_one_and_lie_between() -> None:
    model = tiny_model("compact")
    assert model.correlation is not None
    low, middle, high = (model.correlation.kernels(model.encode([c]))[0] for c in (A100, A400, A1600))
    for kernels in (low, middle, high):
        torch.testing.assert_close(kernels.square().sum(dim=(1, 2, 3)), torch.ones(len(kernels)))
    assert not torch.allclose(low, high, atol=0.01)

    def alike(one: Tensor, other: Tensor) -> Tensor:
        return (one * other).sum(dim=(1, 2, 3))

    assert (alike(low, middle) > alike(low, high)).all() and (alike(middle, high) > alike(low, high)).all()


@pytest.mark.parametrize(("height", "width"), [(16, 18), (15, 17), (5, 3)])
def test_a_picture_is_filtered_in_a_batch_as_alone(height: int, width: int) -> None:
    model = tiny_model("compact")
    assert model.correlation is not None
    conditions = [A100, A400, B400, A1600]
    latent = white(4, 3, height, width)
    together = model.correlation(latent, model.encode(conditions))
    for index, condition in enumerate(conditions):
        alone = model.correlation(latent[index : index + 1], model.encode([condition]))
        torch.testing.assert_close(alone[0], together[index], rtol=1e-5, atol=1e-5)
    clean, noise = inputs(model, height, width, batch=4)
    sampled = model.sample(clean, conditions, noise=noise)
    part, part_noise = one_of(clean, noise, 2)
    assert (model.sample(part, [B400], noise=part_noise)[0] - sampled[2]).abs().max() <= 1


def test_a_filter_that_was_not_fitted_changes_nothing() -> None:
    latent = white(2, 3, 10, 12)
    code = tiny_model("compact").encode([A100, B400])
    rows = len(tiny_model("compact").vocabulary.cameras) * len(tiny_model("compact").vocabulary.isos)
    assert torch.equal(CorrelationFilter(rows, 3, SIZE, PERIOD)(latent, code), latent)


def camera_kernels() -> Tensor:
    """What a camera might do: wider along rows, channels mixed, other positions in the mosaic filtered otherwise."""
    squares = 3 * PERIOD**2
    kernels = torch.zeros(squares, squares, SIZE, SIZE)
    middle = SIZE // 2
    for out in range(squares):
        channel, position = divmod(out, PERIOD**2)
        kernels[out, out, middle, middle] = 1.0
        kernels[out, out, middle, middle + 1] = kernels[out, out, middle, middle - 1] = 0.35
        kernels[out, out, middle - 1, middle] = kernels[out, out, middle + 1, middle] = 0.1
        # the pixels of the first row take from both neighbours in it, the others hardly
        neighbour = channel * 4 + (position ^ 1)
        other = middle + (1 if position % 2 else -1)
        kernels[out, neighbour, middle, middle] = kernels[out, neighbour, middle, other] = (
            0.6 if position < 2 else 0.1
        )
        kernels[out, (channel + 1) % 3 * 4 + position, middle, middle] = 0.4 if channel != 2 else 0.0
    return unit_norm(kernels)


def real_pairs(folder: Path, level: float, count: int = 3) -> Path:
    """Pairs of evenly grey clean pictures and noise correlated by `camera_kernels`, clipped and rounded."""
    kernels = camera_kernels()
    for index in range(count):
        latent = filter_latent(white(1, 3, SIDE, SIDE, seed=index), kernels[None], PERIOD)[0]
        clean = np.full((SIDE, SIDE, 3), round(level), np.uint8)
        noisy = (level + DEVIATION * latent.permute(1, 2, 0)).round().clamp(0, 255).numpy().astype(np.uint8)
        for name, values in (("clean", clean), ("noisy", noisy)):
            assert cv2.imwrite(str(folder / f"p{index}_{name}.png"), values[:, :, ::-1])
    return write_table(folder, {f"p{index}": ("A", 100) for index in range(count)})


def model_for_them() -> NMFlowGAN:
    """A model whose flow is the real noise's, exactly, but whose filter is none."""
    model = NMFlowGAN(replace(PRESETS["compact"], structure=False, signal=False), Vocabulary.of([CONDITION]))
    with torch.no_grad():
        model.flow.layers[-1].get_parameter("log_scale").fill_(float(np.log(256 / DEVIATION)))
    return model.eval()


def fitted(table: Path, seed: int = 0) -> NMFlowGAN:
    model = model_for_them()
    pairs = read_pairs(table)
    source = PatchSampler(pairs, patch=96, levels=256, channels=3, balance=True, period=PERIOD)
    fit_correlation(model, ConditionPatches(source, seed, "cpu"))
    return model


def drawn(model: NMFlowGAN, level: float) -> Tensor:
    """Noise of the model on evenly grey pictures, [1, 3, SIDE, SIDE], pixel values."""
    clean = torch.full((1, 3, SIDE, SIDE), float(round(level)))
    _, noise = inputs(model, SIDE, SIDE, seed=99)
    return model.sample(clean, [CONDITION], noise=noise) - clean


def correlations(noise: Tensor, reach: int = 4) -> Tensor:
    """Correlation of every channel and position in the mosaic with every other, at lags of up to `reach` pixels."""
    squares = torch.nn.functional.pixel_unshuffle(noise, PERIOD)
    squares = squares - squares.mean(dim=(2, 3), keepdim=True)
    squares = squares / squares.square().mean(dim=(2, 3), keepdim=True).sqrt()
    lags = [(y, x) for y in range(-reach // 2, reach // 2 + 1) for x in range(-reach // 2, reach // 2 + 1)]
    return torch.stack(
        [torch.einsum("bihw,bjhw->ij", squares, squares.roll(lag, (2, 3))) for lag in lags]
    ) / (squares.shape[0] * squares.shape[2] * squares.shape[3])


# around 5 a third of all pixels is clipped at black, around 128 none
@pytest.mark.parametrize("level", [128.0, 5.0])
def test_a_fitted_filter_gives_drawn_noise_the_correlations_of_real_noise(
    level: float, tmp_path: Path
) -> None:
    table = real_pairs(tmp_path, level)
    real = torch.cat(
        [
            torch.from_numpy(cv2.imread(str(tmp_path / f"p{index}_noisy.png"))[:, :, ::-1].copy())
            .permute(2, 0, 1)
            .float()[None]
            for index in range(3)
        ]
    )
    clipped = (real == 0).float().mean().item()
    assert (0.3 < clipped < 0.4) if level < 100 else clipped == 0
    wanted = correlations(real - round(level))
    before = (correlations(drawn(model_for_them(), level)) - wanted).abs().max()
    model = fitted(table)
    after = (correlations(drawn(model, level)) - wanted).abs()
    assert before > 0.4
    assert after.max() < 0.05 and after.square().mean().sqrt() < 0.01, (
        after.max(),
        after.square().mean().sqrt(),
    )


def test_the_same_seed_fits_the_same_filters(tmp_path: Path) -> None:
    table = real_pairs(tmp_path, 128.0, count=1)
    first, again, other = (fitted(table, seed).correlation for seed in (3, 3, 4))
    assert first is not None and again is not None and other is not None
    assert torch.equal(first.table, again.table)
    assert not torch.equal(first.table, other.table)
    torch.testing.assert_close(first.table, other.table, rtol=0, atol=0.1)


def test_fitting_changes_the_filters_and_nothing_else(tmp_path: Path) -> None:
    table = real_pairs(tmp_path, 128.0, count=1)
    before, after = model_for_them().state_dict(), fitted(table).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"correlation.table"}
