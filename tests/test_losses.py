"""What the losses of training measure."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from noisegen.models.losses import critic_loss, generator_loss, gradient_penalty
from noisegen.models.noise_statistics import quantile_distance, statistics_distance


def white(seed: int, std: float = 8.0, side: int = 96) -> torch.Tensor:
    return std * torch.randn((4, 3, side, side), generator=torch.Generator().manual_seed(seed))


def blurred_with_the_histogram_of(noise: torch.Tensor) -> torch.Tensor:
    """The same values, ordered so that neighbours are alike."""
    flat = noise.flatten(2)
    order = F.avg_pool2d(white(99), 3, stride=1, padding=1).flatten(2).argsort(dim=2)
    return torch.empty_like(flat).scatter_(2, order, flat.sort(dim=2).values).view_as(noise)


@pytest.mark.parametrize("distance", [statistics_distance, quantile_distance])
def test_noise_is_at_no_distance_from_itself(distance: object) -> None:
    noise = white(0)
    assert distance(noise, noise).item() == pytest.approx(0, abs=1e-9)  # type: ignore[operator]


def test_two_draws_of_one_noise_are_nearer_than_any_difference_that_matters() -> None:
    assert statistics_distance(white(0), white(1)) < 0.02
    assert quantile_distance(white(0), white(1)) < 0.06


def test_statistics_see_blur_that_leaves_the_histogram_alone() -> None:
    sharp = white(0)
    blurred = blurred_with_the_histogram_of(sharp)
    assert torch.equal(blurred.flatten(2).sort().values, sharp.flatten(2).sort().values)
    assert statistics_distance(blurred, sharp) > 0.5
    assert quantile_distance(blurred, sharp, block=96) == pytest.approx(0, abs=1e-9)


def test_both_see_a_change_of_strength() -> None:
    noise = white(0)
    assert 0.05 < statistics_distance(1.25 * noise, noise) < 0.2
    assert 0.05 < statistics_distance(noise / 1.25, noise) < 0.2
    # mean |x| of a standard normal is 0.8; half a level is added to the deviation of 8
    assert quantile_distance(1.25 * noise, noise) == pytest.approx(0.25 * 0.798 * 8 / 8.5, rel=0.02)


def test_statistics_see_correlation_between_channels() -> None:
    noise = white(0)
    grey = noise[:, :1].expand(-1, 3, -1, -1)
    assert statistics_distance(grey, noise) > 3


def test_quantiles_see_the_shape_of_the_histogram() -> None:
    noise = white(0)
    two_valued = 8.0 * noise.sign()
    assert two_valued.std() == pytest.approx(noise.std().item(), rel=0.01)
    assert quantile_distance(two_valued, noise) > 0.3


def test_quantiles_are_compared_where_the_content_is_the_same() -> None:
    left, right = white(0, 2.0), white(1, 16.0)
    real = torch.cat([left[..., :48], right[..., :48]], dim=3)
    swapped = torch.cat([right[..., :48], left[..., :48]], dim=3)
    assert quantile_distance(swapped, real, block=96) == pytest.approx(0, abs=1e-9)
    assert quantile_distance(swapped, real, block=48) > 0.5


def test_a_critic_of_unit_slope_costs_no_penalty() -> None:
    real, fake = white(0, side=4), white(1, side=4)
    alpha = torch.rand(4, 1, 1, 1)

    def slope(value: float) -> torch.Tensor:
        return gradient_penalty(lambda pair: value * pair.flatten(1)[:, :1], real, fake, alpha)

    assert slope(1.0) == pytest.approx(0, abs=1e-9)
    assert slope(3.0) == pytest.approx(4)
    assert slope(0.0) == pytest.approx(1)


def test_the_penalty_is_taken_between_real_and_fake() -> None:
    seen: list[torch.Tensor] = []

    def score(pair: torch.Tensor) -> torch.Tensor:
        seen.append(pair.detach())
        return pair.flatten(1).sum(dim=1, keepdim=True)

    real, fake = white(0, side=4), white(1, side=4)
    alpha = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(4, 1, 1, 1)
    gradient_penalty(score, real, fake, alpha)
    torch.testing.assert_close(seen[0], alpha * real + (1 - alpha) * fake)


def test_critic_and_generator_pull_in_opposite_directions() -> None:
    real, fake = white(0, side=4), white(1, side=4).requires_grad_()

    def score(pair: torch.Tensor) -> torch.Tensor:
        return pair.flatten(1).mean(dim=1, keepdim=True)

    alpha = torch.zeros(4, 1, 1, 1)
    difference = critic_loss(score, real, fake, alpha, penalty=0.0)
    torch.testing.assert_close(difference, fake.mean() - real.mean())
    torch.testing.assert_close(generator_loss(score, fake), -fake.mean())
    assert not difference.requires_grad, "the critic's loss must not reach the generator"
    penalised = critic_loss(score, real, fake, alpha, penalty=10.0)
    slope = 48**-0.5
    torch.testing.assert_close(penalised - difference, torch.tensor(10 * (slope - 1) ** 2))
