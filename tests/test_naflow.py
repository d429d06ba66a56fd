"""NAFlow: an exact flow, settings found in a noisy picture, and noise that follows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_fixtures import write_pair, write_table

from noisegen.conditions import Condition, Vocabulary
from noisegen.datasets.pairs import read_pairs
from noisegen.errors import InputError, UsageError
from noisegen.fitting.draws import ConditionPatches, draw, initial_draws
from noisegen.fitting.patches import PatchSampler
from noisegen.models.naflow.layers import Mixing
from noisegen.models.naflow.model import Naflow, NaflowSizes
from noisegen.models.naflow.model_type import NaflowRecipe
from noisegen.models.protocol import Randomness, ReferencedModel
from noisegen.models.registry import model_type

WEAK, STRONG = Condition("A", 100), Condition("B", 1600)
VOCABULARY = Vocabulary.of([WEAK, STRONG])
STD = {WEAK: 3.0, STRONG: 18.0}
TINY = NaflowSizes(scales=2, features=4, hidden=4)


def tiny(**changes: object) -> Naflow:
    """A model in eval mode in which every parameter matters."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Naflow(replace(TINY, **changes), VOCABULARY)  # type: ignore[arg-type]
        for values in model.parameters():
            values.data.add_(0.1 * torch.randn_like(values))
        if model.factor is not None:
            model.factor.add_(0.1 * torch.randn_like(model.factor).tril(-1))
    return model.eval()


def two_levels() -> Naflow:
    """A model whose flow is the identity: white noise of the settings' standard deviations."""
    model = Naflow(TINY, VOCABULARY)
    for row, condition in enumerate(VOCABULARY.known):
        model.log_std.data[row] = math.log(STD[condition])
    return model.eval()


def randomness(shape: Sequence[int], seed: int = 0) -> Randomness:
    generator = torch.Generator().manual_seed(seed)
    normal, uniform = torch.randn(*shape, generator=generator), torch.rand(*shape, generator=generator)
    return Randomness(normal, uniform, torch.randint(1 << 32, (shape[0], 2), generator=generator))


def integers(*shape: int, top: int = 255, seed: int = 0) -> Tensor:
    return torch.randint(top + 1, shape, generator=torch.Generator().manual_seed(seed)).float()


def only(condition: Condition, count: int = 1) -> Tensor:
    """The description of references that are surely of a condition."""
    return torch.tensor([[float(condition == known) for known in VOCABULARY.known]]).repeat(count, 1)


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (7, 9), (1, 1), (1, 30)])
@pytest.mark.parametrize("sizes", [{}, {"channels": 1, "scales": 3}, {"transitions": 0, "flow_steps": 2}])
def test_decoding_is_the_inverse_of_encoding(size: tuple[int, int], sizes: dict[str, int]) -> None:
    model = tiny(**sizes).double()
    clean = integers(2, model.channels, *size).double()
    noisy = clean + 10 * torch.randn_like(clean)
    latent, _ = model.encode(noisy, clean)
    torch.testing.assert_close(model.decode(latent, clean), noisy - clean, rtol=0, atol=1e-8)


@pytest.mark.parametrize("sizes", [{}, {"channels": 1, "scales": 3}, {"bit_depth": 12, "scales": 1}])
@pytest.mark.parametrize("size", [(8, 8), (16, 8)])
def test_the_log_determinant_is_that_of_the_jacobian(sizes: dict[str, int], size: tuple[int, int]) -> None:
    model = tiny(**sizes).double()
    clean = integers(1, model.channels, *size).double()
    noisy = clean + 5 * model.sizes.grey * torch.randn_like(clean)
    jacobian = torch.autograd.functional.jacobian(
        lambda values: model.encode(values.view_as(clean), clean)[0].flatten(), noisy.flatten()
    )
    expected = torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(model.encode(noisy, clean)[1], expected[None], rtol=0, atol=1e-8)


def test_a_mixing_starts_as_the_rotation_to_uncorrelated_channels() -> None:
    mixing = Mixing(6, principal=True).double()
    generator = torch.Generator().manual_seed(0)
    blend = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    x = torch.randn(3, 6, 20, 20, generator=generator, dtype=torch.float64)
    x = torch.einsum("ij,bjhw->bihw", blend, x)
    x = x / x.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    mixing.initialise(x, x)
    weight = mixing.weight()
    torch.testing.assert_close(weight @ weight.T, torch.eye(6).double(), rtol=0, atol=1e-10)
    y, log_det = mixing(x, x)
    covariance = torch.einsum("bihw,bjhw->ij", y, y)
    assert (covariance - covariance.diag().diag()).abs().max() < 1e-8 * covariance.max()
    assert abs(float(log_det.detach())) < 1e-8


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (5, 33), (32, 32)])
def test_noisy_pictures_are_whole_values_within_the_range(
    bits: int, channels: int, size: tuple[int, int]
) -> None:
    model = tiny(bit_depth=bits, channels=channels)
    clean = integers(2, channels, *size, top=2**bits - 1)
    noisy = model.sample(clean, [WEAK, STRONG], noise=randomness(clean.shape), reference=torch.ones(2, 2))
    assert noisy.shape == clean.shape
    assert noisy.dtype == torch.float32
    assert torch.equal(noisy, noisy.round())
    assert 0 <= float(noisy.min()) <= float(noisy.max()) <= 2**bits - 1
    assert not torch.equal(noisy, clean)


def test_a_picture_alone_is_what_it_is_in_a_batch() -> None:
    model = tiny()
    clean, reference = integers(3, 3, 20, 24), torch.tensor([[0.3, 0.7], [0.5, 0.5], [1.0, 0.0]])
    noise = randomness(clean.shape)
    together = model.sample(clean, [WEAK] * 3, noise=noise, reference=reference)
    for index in range(3):
        one = slice(index, index + 1)
        assert noise.key is not None
        own = Randomness(noise.normal[one], noise.uniform[one], noise.key[one])
        alone = model.sample(clean[one], [WEAK], noise=own, reference=reference[one])
        # rounding: a value next to a half may fall to either side
        assert ((alone - together[one]).abs() > 0).sum() <= 1
        assert (alone - together[one]).abs().max() <= 1


def test_all_tiles_of_a_photograph_draw_the_same_setting_and_photographs_draw_by_weight() -> None:
    model, count = two_levels(), 400
    clean, reference = torch.full((count, 3, 16, 16), 128.0), torch.tensor([[0.25, 0.75]]).repeat(count, 1)
    strong = []
    for tile in range(2):
        noise = replace(randomness(clean.shape, seed=tile), key=randomness(clean.shape).key)
        noisy = model.sample(clean, [WEAK] * count, noise=noise, reference=reference)
        strong.append((noisy - clean).std(dim=(1, 2, 3)) > 8)
    assert torch.equal(*strong)
    assert abs(float(strong[0].float().mean()) - 0.75) < 0.08


def test_a_setting_without_weight_is_never_drawn() -> None:
    model, count = two_levels(), 200
    clean = torch.full((count, 3, 8, 8), 128.0)
    for condition in (WEAK, STRONG):
        noise = randomness(clean.shape)
        noisy = model.sample(clean, [WEAK] * count, noise=noise, reference=only(condition, count))
        std = (noisy - clean).std(dim=(1, 2, 3))
        assert bool((std > 8).all() if condition == STRONG else (std < 8).all())


def test_strength_multiplies_the_noise() -> None:
    model, clean = two_levels(), torch.full((1, 3, 64, 64), 128.0)
    noise = randomness(clean.shape)
    drawn = [
        model.sample(clean, [WEAK], noise=noise, strength=strength, reference=only(STRONG)) - clean
        for strength in (0.5, 1.0)
    ]
    assert (drawn[1] - 2 * drawn[0]).abs().max() <= 2
    assert drawn[1].std() > 1.9 * drawn[0].std()


def test_without_a_reference_it_says_how_to_give_one() -> None:
    model, clean = tiny(), integers(1, 3, 8, 8)
    with pytest.raises(InputError, match="--noisy-pool") as caught:
        model.sample(clean, [WEAK], noise=randomness(clean.shape))
    assert caught.value.reason == "no_reference"
    assert isinstance(model, ReferencedModel)
    assert model.needs_reference


def test_an_unknown_camera_is_refused_although_noise_follows_the_reference() -> None:
    model, clean = tiny(), integers(1, 3, 8, 8)
    unknown = [Condition("C", 100)]
    with pytest.raises(InputError, match="camera 'C'"):
        model.sample(clean, unknown, noise=randomness(clean.shape), reference=only(WEAK))
    with pytest.raises(InputError, match="camera 'C'"):
        model.describe(clean, clean, unknown)


@pytest.mark.parametrize("std", [3.0, 5.7, 5.8, 18.0])
def test_a_description_is_the_posterior_of_one_square_of_pixels(std: float) -> None:
    """Against the formula for white noise, where only the mean square of the noise counts."""
    model = two_levels()
    clean = torch.full((1, 3, 256, 256), 128.0)
    noisy = clean + std * randomness(clean.shape).normal
    square = float((noisy - clean).square().mean())
    evidence = [-48 * (square / (2 * STD[c] ** 2) + math.log(STD[c])) for c in VOCABULARY.known]
    expected = torch.softmax(torch.tensor(evidence), dim=0)
    description = model.describe(noisy, clean, [WEAK])[0]
    torch.testing.assert_close(description, expected, rtol=1e-3, atol=1e-4)


def test_a_description_does_not_depend_on_the_size_of_the_picture() -> None:
    model = two_levels()
    clean = torch.full((1, 3, 16, 16), 128.0)
    normal = randomness(clean.shape).normal
    # about where the two settings are as likely
    noisy = clean + 5.76 * normal / normal.square().mean().sqrt()
    large = [picture.repeat(1, 1, 4, 4) for picture in (noisy, clean)]
    small = model.describe(noisy, clean, [WEAK])
    assert 0.01 < float(small[0, 0]) < 0.99
    torch.testing.assert_close(model.describe(large[0], large[1], [WEAK]), small, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_the_evidence_of_a_setting_is_that_of_its_gaussian(covariance: str) -> None:
    model = tiny(covariance=covariance).double()
    clean = integers(2, 3, 16, 16).double()
    noisy = clean + 2 * torch.randn_like(clean)
    with torch.no_grad():
        latent, _ = model.encode(noisy, clean)
        evidence = []
        for row in range(2):
            std = model.log_std[row].exp()
            factor = std.diag() if model.factor is None else std[:, None] * model.factor[row]
            gaussian = torch.distributions.MultivariateNormal(model.mean[row], scale_tril=factor)
            evidence.append(gaussian.log_prob(latent.movedim(1, 3)).mean(dim=(1, 2)))
    expected = torch.softmax(torch.stack(evidence, dim=1), dim=1)
    torch.testing.assert_close(model.describe(noisy, clean, [WEAK, STRONG]), expected, rtol=1e-6, atol=1e-9)


def test_noise_has_the_correlation_that_a_setting_was_fitted_to() -> None:
    """Within squares of pixels, and the deviation of what it was fitted to; the other setting stays white."""
    model, clean = two_levels(), torch.full((1, 3, 256, 256), 128.0)
    white = randomness((1, 3, 256, 257), seed=1).normal
    noise = 9 * (white[..., 1:] + white[..., :-1]) / math.sqrt(2)
    model.fit_covariance(VOCABULARY.known.index(WEAK), model.encode(clean + noise, clean)[0].detach())
    for condition, correlation, std in ((WEAK, 0.5, 9.0), (STRONG, 0.0, 18.0)):
        drawn = model.sample(clean, [WEAK], noise=randomness(clean.shape, seed=2), reference=only(condition))
        drawn = drawn - clean
        assert float(drawn.std()) == pytest.approx(std, rel=0.03)
        neighbours = drawn[..., 0::4] * drawn[..., 1::4]
        assert abs(float(neighbours.mean() / drawn.square().mean()) - correlation) < 0.03


def test_descriptions_of_pictures_smaller_than_a_square_are_weights() -> None:
    model = tiny()
    description = model.describe(integers(2, 3, 1, 3), integers(2, 3, 1, 3, seed=1), [WEAK, STRONG])
    torch.testing.assert_close(description.sum(dim=1), torch.ones(2))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Naflow:
    """After a short training on weak and strong noise."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pair(folder, "weak", STD[WEAK])
    write_pair(folder, "strong", STD[STRONG])
    rows = {"weak": (WEAK.camera, WEAK.iso), "strong": (STRONG.camera, STRONG.iso)}
    return train(folder, write_table(folder, rows), steps=12)


def train(folder: Path, table: Path, steps: int) -> Naflow:
    kind = model_type("naflow")
    recipe = NaflowRecipe(model=TINY, batch=8, patch=32)
    sampler = PatchSampler(read_pairs(table), patch=32, levels=256, channels=3, balance=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind.model(recipe.architecture(3, 8), VOCABULARY)
    assert kind.learner is not None
    learner = kind.learner(model, recipe)
    learner.initialise(initial_draws(sampler, 0, 8, "cpu"))
    before = {name: values.clone() for name, values in model.named_parameters()}
    losses: list[float] = []

    def update(name: str, loss: Tensor) -> None:
        optimizer = learner.optimizers[name]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for step in range(steps):
        batch = draw(sampler, 0, step, 8, device="cpu")
        losses.append(float(learner.step(batch, step, steps, update)["nll"]))
    assert all(math.isfinite(loss) for loss in losses)
    # what white noise of these two deviations has, which no model can go below
    entropy = sum(math.log(std * math.sqrt(2 * math.pi * math.e)) for std in STD.values()) / 2
    assert abs(sum(losses[-4:]) / 4 - entropy) < 0.2
    for name, values in model.named_parameters():
        assert values.grad is not None, name
        assert not torch.equal(values, before[name]), name
    learner.settle(model, ConditionPatches(sampler, 0, "cpu"), steps, steps)
    assert isinstance(model, Naflow)
    return model.eval()


def fresh(condition: Condition, seed: int) -> tuple[Tensor, Tensor]:
    """A noisy picture of a condition, of another scene than those trained on, and its clean one."""
    ramp = torch.linspace(60, 190, 64)[None, None, :, None].expand(1, 3, 64, 48).round()
    return (ramp + STD[condition] * randomness(ramp.shape, seed).normal).round().clamp(0, 255), ramp


@pytest.mark.parametrize("condition", [WEAK, STRONG])
def test_a_short_training_finds_the_setting_of_a_noisy_picture(trained: Naflow, condition: Condition) -> None:
    """Whatever condition is claimed."""
    noisy, clean = fresh(condition, seed=3)
    for claimed in (WEAK, STRONG):
        description = trained.describe(noisy, clean, [claimed])[0]
        assert description[VOCABULARY.known.index(condition)] > 0.99


def test_noise_is_as_strong_as_the_reference(trained: Naflow) -> None:
    _, clean = fresh(WEAK, seed=0)
    for condition in (WEAK, STRONG):
        reference = trained.describe(*fresh(condition, seed=5), [condition])
        noise = randomness(clean.shape, seed=7)
        noisy = trained.sample(clean, [WEAK], noise=noise, reference=reference)
        assert float((noisy - clean).std()) == pytest.approx(STD[condition], rel=0.15)


def test_the_paper_recipe_has_the_published_number_of_parameters() -> None:
    """About 1.1 million, with the published 34 settings."""
    recipe = model_type("naflow").recipes["paper"]
    settings = Vocabulary.grid(["A", "B"], [100 * (1 + index) for index in range(17)])
    with torch.device("meta"):
        model = model_type("naflow").model(recipe.architecture(3, 8), settings)
    assert sum(values.numel() for values in model.parameters()) == pytest.approx(1.1e6, rel=0.1)


def test_patches_that_do_not_fit_the_squares_are_refused() -> None:
    with pytest.raises(UsageError, match="patch of 60 pixels does not fit squares of 8"):
        NaflowRecipe(patch=60)
    with pytest.raises(UsageError, match="features must be a positive multiple of 4"):
        NaflowRecipe(sizes=(("features", 6),))
