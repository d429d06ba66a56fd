"""The flow at one pixel: a tone curve explains mean and skew, tails weigh, and clipped values are taken for that."""

from __future__ import annotations

import math

import pytest
import torch
from nm_flowgan_fixtures import A100, tiny_model
from torch import Tensor

from noisegen.models.nm_flowgan.transform import SMALLEST, NoiseTransform, bend, unbend

CURVES = [(1.0, 0.06), (2.2, 0.05), (0.7, 0.01), (3.0, 1e-4)]
DRAWS = 1_000_000


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def around(clean: Tensor, gamma: float, toe: float) -> Tensor:
    """Noise [201, ...] from near the curve's end, which lies below black, to beyond white."""
    nearest = 1.1 * SMALLEST ** min(1, 1 / gamma)
    values = torch.linspace(-0.01, 1.2, 201, dtype=torch.float64)[:, None]
    return torch.maximum(values - clean, (nearest - 1) * (clean + toe))


def normal(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def skew(values: Tensor) -> float:
    centred = values - values.mean()
    return float(centred.pow(3).mean() / centred.square().mean() ** 1.5)


def kurtosis(values: Tensor) -> float:
    centred = values - values.mean()
    return float(centred.pow(4).mean() / centred.square().mean() ** 2)


@pytest.mark.parametrize(("gamma", "toe"), CURVES)
def test_bend_and_unbend_invert_each_other(gamma: float, toe: float) -> None:
    clean = torch.linspace(0.02, 1, 40, dtype=torch.float64)
    noise = around(clean, gamma, toe)
    bent, _ = bend(noise, clean, scalar(gamma), scalar(toe))
    back = unbend(bent, clean, scalar(gamma), scalar(toe))
    torch.testing.assert_close(back, noise, rtol=0, atol=1e-9)
    assert (bent.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("toe", [1e-3, 0.06, 0.5])
def test_a_gamma_of_one_is_no_curve_at_all(toe: float) -> None:
    clean = torch.linspace(0.02, 1, 40, dtype=torch.float64)
    noise = around(clean, 1.0, toe)
    bent, log_derivative = bend(noise, clean, scalar(1.0), scalar(toe))
    torch.testing.assert_close(bent, noise, rtol=0, atol=1e-12)
    torch.testing.assert_close(unbend(noise, clean, scalar(1.0), scalar(toe)), noise, rtol=0, atol=1e-12)
    assert not log_derivative.any()


@pytest.mark.parametrize(("gamma", "toe"), CURVES)
@pytest.mark.parametrize("tail", [None, 0.6, 1.0, 1.3])
def test_the_stated_derivative_is_the_derivative(gamma: float, toe: float, tail: float | None) -> None:
    clean = torch.linspace(0.05, 1, 40, dtype=torch.float64)
    noise = (0.2 * clean * normal(40)).clamp(min=-0.9 * (clean + toe)).requires_grad_()
    transform = NoiseTransform(
        clean,
        torch.linspace(-3, -1, 40, dtype=torch.float64),
        scalar(0.01),
        scalar(gamma),
        scalar(toe),
        None if tail is None else scalar(tail),
    )
    latent, log_derivative = transform.latent(noise)
    (derivative,) = torch.autograd.grad(latent.sum(), noise)
    torch.testing.assert_close(log_derivative, derivative.log(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(transform.noise(latent), noise, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("gamma", "toe"), CURVES)
def test_to_first_order_a_curve_changes_nothing(gamma: float, toe: float) -> None:
    clean = torch.linspace(0.02, 1, 40, dtype=torch.float64)
    for small in (1e-4, -1e-4):
        bent, _ = bend(small * clean, clean, scalar(gamma), scalar(toe))
        second = 0.5 * abs(gamma - 1) * (small * clean).square() / (clean + toe)
        assert ((bent - small * clean).abs() <= 1.01 * second + 1e-15).all()
    assert not bend(0 * clean, clean, scalar(gamma), scalar(toe))[0].any()


@pytest.mark.parametrize("value", [0.2, 0.5, 0.8])
def test_the_camera_s_own_curve_makes_its_noise_gaussian_again(value: float) -> None:
    gamma = 2.2
    linear = value**gamma
    noise = (linear + 0.08 * linear * normal(DRAWS)) ** (1 / gamma) - value
    variance = float(noise.var())
    # rendering makes mean and skew, as the module's docstring has them
    assert float(noise.mean()) == pytest.approx(-(gamma - 1) / 2 * variance / value, rel=0.05)
    assert skew(noise) == pytest.approx(-3 * (gamma - 1) * variance**0.5 / value, rel=0.1)
    bent, _ = bend(noise, scalar(value), scalar(gamma), scalar(1e-9))
    assert abs(float(bent.mean())) < 0.005 * variance**0.5
    assert abs(skew(bent)) < 0.01
    assert kurtosis(bent) == pytest.approx(3, abs=0.02)
    # and a wrong one does not
    wrong, _ = bend(noise, scalar(value), scalar(1.4), scalar(1e-9))
    assert abs(skew(wrong)) > 0.02


def test_drawn_noise_has_the_mean_and_skew_that_the_curve_gives_it() -> None:
    value, gamma, deviation = 0.5, 2.2, 0.02
    transform = NoiseTransform(
        scalar(value), scalar(math.log(deviation)), scalar(0.0), scalar(gamma), scalar(1e-9)
    )
    noise = transform.noise(normal(DRAWS))
    assert float(noise.std()) == pytest.approx(deviation, rel=0.01)
    assert float(noise.mean()) == pytest.approx(-(gamma - 1) / 2 * deviation**2 / value, rel=0.1)
    assert skew(noise) == pytest.approx(-3 * (gamma - 1) * deviation / value, rel=0.1)


@pytest.mark.parametrize("tail", [0.6, 0.8, 1.25])
def test_samples_have_the_stated_tails(tail: float) -> None:
    transform = NoiseTransform(scalar(0.5), scalar(0.0), scalar(0.0), tail=scalar(tail))
    noise = transform.noise(normal(DRAWS))
    for share in (0.001, 0.02, 0.25, 0.75, 0.98, 0.999):
        quantile = math.sinh(math.asinh(float(torch.special.ndtri(scalar(share)))) / tail)
        # three standard errors of the share of DRAWS values below it
        error = 3 * math.sqrt(share * (1 - share) / DRAWS)
        assert float((noise <= quantile).double().mean()) == pytest.approx(share, abs=error)
    assert (kurtosis(noise) > 3.2) if tail < 1 else (kurtosis(noise) < 2.8)


@pytest.mark.parametrize(("gamma", "toe"), [(1.0, 0.06), (2.2, 0.05), (1.4, 0.004)])
@pytest.mark.parametrize("tail", [None, 0.6, 1.3])
def test_the_density_integrates_to_one(gamma: float, toe: float, tail: float | None) -> None:
    clean, deviation = scalar(0.6), 0.03
    transform = NoiseTransform(
        clean,
        scalar(math.log(deviation)),
        scalar(0.0),
        scalar(gamma),
        scalar(toe),
        None if tail is None else scalar(tail),
    )
    noise = torch.linspace(-0.62, 3, 400_001, dtype=torch.float64)
    latent, log_derivative = transform.latent(noise)
    density = torch.exp(-0.5 * latent.square() + log_derivative) / math.sqrt(2 * math.pi)
    # what lies beyond the curve's end has probability, but no place in it
    end = -(float(clean) + toe) / gamma / deviation
    if tail is not None:
        end = math.sinh(tail * math.asinh(end))
    beyond = 0.5 * math.erfc(-end / math.sqrt(2)) if gamma != 1 else 0.0
    assert float(torch.trapezoid(density, noise)) == pytest.approx(1 - beyond, abs=2e-4)


def log_probability(latent: float) -> float:
    """Logarithm of the standard normal's distribution function."""
    return math.log(0.5 * (1 + math.erf(latent / math.sqrt(2))))


def latent_at(noise: float, clean: float, log_scale: float, gamma: float, toe: float, tail: float) -> float:
    base = clean + toe
    bent = base / gamma * (((clean + noise + toe) / base) ** gamma - 1)
    return math.sinh(tail * math.asinh(bent / math.exp(log_scale)))


@pytest.mark.parametrize(("level", "clean_level"), [(0, 3), (0, 12), (255, 252), (255, 240)])
def test_a_clipped_pixel_has_the_probability_of_all_that_is_clipped(level: int, clean_level: int) -> None:
    model = tiny_model("compact", channels=1)
    code = model.encode([A100])
    clean, noisy = (torch.full((1, 1, 1, 1), float(value)) for value in (clean_level, level))
    uniform = torch.full_like(clean, 0.3)
    with torch.inference_mode():
        result = model.likelihood(noisy, clean, code, uniform, uniform)
        transform = model.flow.at(model.dequantize(clean, uniform), code)
    assert transform.gamma is not None and transform.toe is not None and transform.tail is not None
    assert transform.gamma.item() != 1 and transform.tail.item() != 1
    dequantized = (clean_level + 0.3) / 256
    edge = latent_at(
        (1 if level == 0 else 255) / 256 - dequantized,
        dequantized,
        transform.log_scale.item(),
        transform.gamma.item(),
        transform.toe.item(),
        transform.tail.item(),
    )
    assert result.log_det.item() == 0
    assert result.log_prob.item() == pytest.approx(log_probability(edge if level == 0 else -edge), abs=1e-4)


@pytest.mark.parametrize("clean_level", [0, 3, 60, 128, 252])
def test_the_probabilities_of_all_levels_of_a_pixel_sum_to_one(clean_level: int) -> None:
    model = tiny_model("compact", channels=1)
    steps = 16
    levels = torch.arange(256.0)
    middles = (torch.arange(steps) + 0.5) / steps
    noisy = levels.repeat_interleave(steps)[:, None, None, None]
    clean = torch.full_like(noisy, clean_level)
    with torch.inference_mode():
        result = model.likelihood(
            noisy,
            clean,
            model.encode([A100] * len(noisy)),
            middles.repeat(256)[:, None, None, None],
            torch.full_like(noisy, 0.5),
        )
    probabilities = torch.exp((result.log_det + result.log_prob).double()).view(256, steps).mean(dim=1)
    assert float(probabilities.sum()) == pytest.approx(1, abs=2e-3)
    # not all of it in one place
    assert 1e-6 < float(probabilities.max()) < 0.7
