"""C2N: noise of unpaired pictures, from random maps that a clean picture shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import InputError, UsageError
from noisegen.fitting.draws import Draw
from noisegen.models.c2n.learner import C2NCritic, C2NLearner, stabilizing_loss, unpaired
from noisegen.models.c2n.model import C2NModel, C2NSizes
from noisegen.models.c2n.model_type import C2N
from noisegen.models.protocol import Randomness
from noisegen.models.registry import model_type

KNOWN = [Condition("A", 100), Condition("A", 400), Condition("B", 1600)]
TINY = C2NSizes(width=4, vector=3, extraction_blocks=1, independent_blocks=1, dependent_blocks=1)


def model(sizes: C2NSizes = TINY, seed: int = 0) -> C2NModel:
    """Untrained, with noise of some grey levels."""
    torch.manual_seed(seed)
    made = C2NModel(sizes, Vocabulary.of(KNOWN)).eval()
    with torch.no_grad():
        made.tail.weight.mul_(10)
    return made


def randomness(shape: Sequence[int], seed: int = 0) -> Randomness:
    generator = torch.Generator().manual_seed(seed)
    return Randomness(
        torch.randn(tuple(shape), generator=generator),
        torch.rand(tuple(shape), generator=generator),
        torch.randint(1 << 32, (shape[0], 2), generator=generator),
    )


def batch(clean: Tensor, noisy: Tensor, seed: int = 0) -> Draw:
    generator = torch.Generator().manual_seed(seed)
    rows = len(clean)
    return Draw(noisy, clean, KNOWN[:1] * rows, generator, slice(0, rows), "cpu")


def learner(made: C2NModel, **changes: object) -> C2NLearner:
    small: dict[str, object] = {"critic_width": 4, "critic_blocks": 1} | changes
    return C2NLearner(made, replace(C2N.recipes["compact"], **small))  # type: ignore[arg-type]


def train(student: C2NLearner, drawn: Draw, step: int = 0) -> dict[str, float]:
    def update(name: str, loss: Tensor) -> None:
        student.optimizers[name].zero_grad()
        loss.backward()
        student.optimizers[name].step()

    return {name: loss.item() for name, loss in student.step(drawn, step, 100, update).items()}


def test_it_is_registered_by_its_name() -> None:
    assert model_type("c2n") is C2N
    assert list(C2N.recipes) == ["compact", "paper"]


def test_the_paper_recipe_has_the_size_of_the_published_model() -> None:
    with torch.device("meta"):
        made = C2NModel(C2N.recipes["paper"].architecture(3, 8), Vocabulary.of(KNOWN))  # type: ignore[arg-type]
    assert 2.1e6 < sum(p.numel() for p in made.parameters()) < 2.2e6


@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (3, 12)])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 3)])
def test_pictures_of_any_size_and_depth_get_noise(size: tuple[int, int], channels: int, bits: int) -> None:
    made = model(replace(TINY, channels=channels, bit_depth=bits))
    clean = torch.full((2, channels, *size), float(2 ** (bits - 1)))
    noisy = made.sample(clean, KNOWN[:2], noise=randomness(clean.shape))
    assert noisy.shape == clean.shape
    assert torch.equal(noisy, noisy.round())
    assert noisy.min() >= 0
    assert noisy.max() <= 2**bits - 1
    assert not torch.equal(noisy, clean)


def test_noise_at_more_bits_is_the_same_fraction_of_the_range() -> None:
    clean = torch.rand((1, 3, 9, 9)).mul(255).round()
    noise = randomness(clean.shape)
    eight = model().noise(clean, noise)
    twelve = model(replace(TINY, bit_depth=12)).noise(16 * clean, noise)
    torch.testing.assert_close(twelve, 16 * eight)


def test_camera_and_iso_change_nothing_but_unknown_ones_are_refused() -> None:
    made, clean = model(), torch.full((1, 3, 8, 8), 100.0)
    noise = randomness(clean.shape)
    first, other = (made.sample(clean, [KNOWN[i]], noise=noise) for i in (0, 2))
    assert torch.equal(first, other)
    between = made.sample(clean, [Condition("A", 200)], noise=noise)
    assert torch.equal(first, between)
    with pytest.raises(InputError, match="known: A, B"):
        made.sample(clean, [Condition("C", 100)], noise=noise)
    with pytest.raises(InputError, match="3200"):
        made.sample(clean, [Condition("B", 3200)], noise=noise)


def test_a_tile_gets_the_noise_of_its_place_in_the_picture() -> None:
    """The random vector is that of the whole picture, and nothing is measured over a tile."""
    made, clean = model(), torch.rand((1, 3, 40, 40)).mul(255).round()
    whole = randomness(clean.shape)
    tile = (slice(None), slice(None), slice(4, 36), slice(6, 38))
    # 1 pixel for each 3x3 convolution in a row: 3 and 2 of the extractor, 2 of a transformation
    inner = (slice(None), slice(None), slice(7, -7), slice(7, -7))
    assert whole.key is not None
    cut = made.noise(clean[tile], Randomness(whole.normal[tile], whole.uniform[tile], whole.key))
    torch.testing.assert_close(cut[inner], made.noise(clean, whole)[tile][inner])


def test_another_picture_has_another_random_vector() -> None:
    made, clean = model(), torch.full((1, 3, 8, 8), 100.0)
    noise = randomness(clean.shape)
    other = replace(noise, key=torch.tensor([[1, 2]]))
    assert (made.noise(clean, noise) - made.noise(clean, other)).abs().max() > 0.01


def test_signal_dependent_noise_follows_the_clean_value_and_the_rest_does_not() -> None:
    made = model()
    with torch.no_grad():
        next(made.head.parameters()).mul_(20)
    dark, bright = (torch.full((1, 3, 64, 64), level) for level in (20.0, 230.0))
    noise = randomness(dark.shape)

    def spread(clean: Tensor) -> float:
        return made.noise(clean, noise)[:, :, 16:-16, 16:-16].std(dim=(2, 3)).mean().item()

    assert abs(spread(bright) / spread(dark) - 1) > 0.02
    with torch.no_grad():
        made.dependent.mix.weight.zero_()
    assert spread(bright) == pytest.approx(spread(dark), rel=1e-5)


def test_no_patch_is_seen_both_clean_and_noisy() -> None:
    rows = torch.arange(7.0)[:, None, None, None].expand(-1, 3, 8, 8)
    clean, noisy, noise = unpaired(batch(rows, rows))
    assert clean[:, 0, 0, 0].tolist() == [0, 2, 4]
    assert noisy[:, 0, 0, 0].tolist() == [1, 3, 5]
    assert noise.normal.shape == clean.shape
    with pytest.raises(UsageError, match="2 or more patches"):
        unpaired(batch(rows[:1], rows[:1]))


def test_training_looks_at_no_pair() -> None:
    """The partner of each picture that is used may be anything."""
    clean, noisy = torch.rand((2, 4, 3, 16, 16)).mul(255).round()
    lonely_clean, lonely_noisy = clean.clone(), noisy.clone()
    lonely_clean[1::2] = torch.nan
    lonely_noisy[0::2] = torch.nan
    results = []
    for c, n in ((clean, noisy), (lonely_clean, lonely_noisy)):
        made = model()
        results.append((train(learner(made), batch(c, n)), made.state_dict()))
    assert results[0][0] == results[1][0]
    for name, value in results[0][1].items():
        assert torch.equal(value, results[1][1][name]), name


def test_every_weight_learns() -> None:
    made = model()
    student = learner(made)
    clean, noisy = torch.rand((2, 4, 3, 16, 16)).mul(255).round()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    for step in range(2):
        train(student, batch(clean, noisy, seed=step), step)
    still = [name for name, value in made.state_dict().items() if torch.equal(value, before[name])]
    assert not still


def test_a_generator_in_bfloat16_trains_nearly_alike() -> None:
    clean, noisy = torch.rand((2, 4, 3, 16, 16)).mul(255).round()
    losses = []
    for mixed in (False, True):
        torch.manual_seed(1)
        student = C2NLearner(model(), learner(model()).recipe, mixed_precision=mixed)
        losses.append(train(student, batch(clean, noisy)))
    assert losses[0] != losses[1]
    for name, value in losses[0].items():
        assert losses[1][name] == pytest.approx(value, rel=0.1, abs=0.1)


def test_the_generator_waits_for_its_turn() -> None:
    made = model()
    student = learner(made, generator_every=2)
    clean, noisy = torch.rand((2, 4, 3, 16, 16)).mul(255).round()
    assert set(train(student, batch(clean, noisy), 0)) == {"critic", "generator", "stabilizing"}
    before = made.tail.weight.clone()
    assert set(train(student, batch(clean, noisy), 1)) == {"critic"}
    assert torch.equal(made.tail.weight, before)


def test_stabilizing_sees_a_shift_of_colour_and_no_noise() -> None:
    noise = 10 * torch.randn((4, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    assert stabilizing_loss(noise) < 0.5
    shifted = noise + torch.tensor([2.0, -1.0, 0.0])[:, None, None]
    assert stabilizing_loss(shifted) == pytest.approx(3, abs=0.5)


def test_the_critic_sees_noise_in_units_of_its_own_and_the_whole_picture() -> None:
    critic = C2NCritic(TINY, 4, 1)
    flat = torch.full((1, 3, 32, 32), 200.0)
    noise = 16 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    bands = critic.bands(flat + noise)
    high, low = bands[:, :3], bands[:, 3:]
    assert high.std() == pytest.approx(1, abs=0.1)
    assert low.mean() == pytest.approx(200 / 256 - 0.5, abs=0.01)
    torch.testing.assert_close(16 * high + 256 * (low + 0.5), flat + noise)


def test_a_score_has_a_gradient_of_the_same_norm_for_patches_of_any_size() -> None:
    torch.manual_seed(0)
    critic = C2NCritic(TINY, 4, 1)
    norms = []
    for side in (32, 96):
        bands = torch.randn((1, 6, side, side)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(bands).sum(), bands)
        norms.append(gradient.norm().item())
    assert norms[1] == pytest.approx(norms[0], rel=0.1)
