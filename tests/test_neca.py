"""NeCA-W: sampling with and without a reference, the choice of networks by camera, and what a step trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import InputError, UsageError
from noisegen.models.neca import model as neca_model
from noisegen.models.neca.config import NecaRecipe, NecaSizes
from noisegen.models.neca.learner import NecaLearner, local_deviation
from noisegen.models.neca.model import GAINS, Neca
from noisegen.models.neca.networks import CorrelationNet, LevelNet
from noisegen.models.picture_randomness import picture_uniforms
from noisegen.models.protocol import Randomness, ReferencedModel
from noisegen.models.registry import model_type

SIZES = NecaSizes(
    gain_width=6,
    gain_depth=3,
    level_width=8,
    level_norm="pixel",
    correlation_width=4,
    correlation_stages=2,
    unit=16.0,
)
A_LOW, A_HIGH, B_LOW = Condition("A", 100), Condition("A", 400), Condition("B", 100)
VOCABULARY = Vocabulary.of([A_LOW, A_HIGH, B_LOW])
# True standard deviations of the noise that is trained on, grey levels
STD = {A_LOW: 4.0, A_HIGH: 16.0, B_LOW: 9.0}


def untrained(sizes: NecaSizes = SIZES, seed: int = 0) -> Neca:
    """A model whose networks all do something, and of which each camera's are different."""
    torch.manual_seed(seed)
    model = Neca(sizes, VOCABULARY).eval()
    with torch.no_grad():
        for network in model.correlation.networks:
            network.last.weight.normal_().mul_(0.3)
        for network in model.level.networks:
            network.last.weight.normal_().mul_(0.3)
        model.log_gains.copy_(torch.randn(model.log_gains.shape).mul(0.2).sort().values)
    return model


def randomness(shape: Sequence[int], seed: int = 0) -> Randomness:
    generator = torch.Generator().manual_seed(seed)
    normal, uniform = (make(shape, generator=generator) for make in (torch.randn, torch.rand))
    return Randomness(normal, uniform, torch.randint(1 << 32, (shape[0], 2), generator=generator))


def clean_pictures(shape: Sequence[int], levels: int = 256, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((*shape[:2], 3, 3), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, shape[2:], mode="bilinear", align_corners=False)
    return (smooth * (0.2 * levels) + 0.4 * levels).round()


class WhiteNoise:
    """A `Batch` of white noise of the conditions' own strengths, on smooth pictures."""

    def __init__(
        self, conditions: Sequence[Condition], seed: int, side: int = 24, part: slice = slice(None)
    ) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.shape = (len(conditions), 3, side, side)
        self.conditions, self.part = conditions, part
        clean = clean_pictures(self.shape, seed=seed)
        std = torch.tensor([STD[condition] for condition in conditions])[:, None, None, None]
        noise = std * torch.randn(self.shape, generator=self.generator)
        self.clean, self.noisy = clean[part], (clean + noise).round().clamp(0, 255)[part]

    def uniform(self) -> Tensor:
        return torch.rand(self.shape, generator=self.generator)[self.part]

    def normal(self) -> Tensor:
        return torch.randn(self.shape, generator=self.generator)[self.part]

    def alpha(self) -> Tensor:
        return torch.rand((self.shape[0], 1, 1, 1), generator=self.generator)[self.part]

    def randomness(self) -> Randomness:
        return randomness(self.noisy.shape)


class TrainingPatches:
    def of_condition(self, condition: Condition, count: int, *, draw: int = 0) -> WhiteNoise:
        return WhiteNoise([condition] * count, seed=1000 + draw)


def small_recipe(**changes: object) -> NecaRecipe:
    compact = model_type("neca-w").recipes["compact"]
    assert isinstance(compact, NecaRecipe)
    small: dict[str, object] = {"model": SIZES, "critic_width": 4, "critic_depth": 2, "adversarial_from": 0}
    return replace(compact, **(small | changes))  # type: ignore[arg-type]


def train(learner: NecaLearner, steps: int, conditions: Sequence[Condition]) -> dict[str, Tensor]:
    """Steps of the learner as the trainer makes them; returns the last losses."""

    def update(name: str, loss: Tensor) -> None:
        optimizer = learner.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    losses: dict[str, Tensor] = {}
    for step in range(steps):
        losses = learner.step(WhiteNoise(conditions, seed=step), step, steps, update)
    return losses


@pytest.fixture(scope="module")
def trained() -> Neca:
    """A model that has learned gain and noise level, without critics."""
    torch.manual_seed(0)
    model = Neca(SIZES, VOCABULARY)
    learner = NecaLearner(model, small_recipe(adversarial_from=10**6, generator_lr=3e-3, betas=(0.5, 0.99)))
    conditions = [A_LOW, A_HIGH, B_LOW] * 2
    learner.initialise(WhiteNoise(conditions, seed=-seed) for seed in (1, 2))
    train(learner, 80, conditions)
    learner.settle(model, TrainingPatches(), 80, 80)
    return model.eval()


def test_paper_sizes_have_the_published_number_of_parameters_for_each_camera() -> None:
    sizes = model_type("neca-w").recipes["paper"].architecture(3, 8)
    counts = []
    for cameras in ("A", "AB"):
        with torch.device("meta"):
            model = Neca(sizes, Vocabulary.grid(list(cameras), [100]))  # type: ignore[arg-type]
        counts.append(sum(parameter.numel() for parameter in model.parameters()))
    assert counts[0] == pytest.approx(8.1e6, rel=0.005)
    assert counts[1] == 2 * counts[0]


@pytest.mark.parametrize(("channels", "bits", "size"), [(3, 8, (13, 10)), (1, 12, (1, 1)), (3, 16, (2, 31))])
def test_samples_are_levels_of_a_picture_of_any_size_and_depth(
    channels: int, bits: int, size: tuple[int, int]
) -> None:
    model = untrained(replace(SIZES, channels=channels, bit_depth=bits))
    shape = (3, channels, *size)
    clean = clean_pictures(shape, 2**bits)
    clean[0], clean[1] = 0, 2**bits - 1
    conditions = [A_LOW, B_LOW, Condition("A", 250)]
    noisy = model.sample(clean, conditions, noise=randomness(shape))
    assert noisy.shape == clean.shape
    assert noisy.dtype == torch.float32
    assert torch.equal(noisy, noisy.round())
    assert 0 <= noisy.min() <= noisy.max() <= 2**bits - 1
    assert not torch.equal(noisy, clean)
    assert torch.equal(noisy, model.sample(clean, conditions, noise=randomness(shape)))


def test_each_picture_goes_through_the_networks_of_its_own_camera_whatever_the_batch() -> None:
    model = untrained()
    conditions = [B_LOW, A_LOW, B_LOW, A_HIGH, A_LOW]
    shape = (5, 3, 12, 20)
    clean, noise = clean_pictures(shape), randomness(shape)
    gain = torch.linspace(0.5, 2.0, 5)[:, None]
    cameras = model.cameras_of(conditions)
    together = model.noise_steps(clean, gain, noise.normal, cameras).noise
    for row, camera in enumerate(cameras):
        one = slice(row, row + 1)
        alone = model.noise_steps(clean[one], gain[one], noise.normal[one], [camera]).noise
        torch.testing.assert_close(alone, together[one], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for parameter in model.level.networks[1].parameters():
            parameter.mul_(1.5)
    changed = model.noise_steps(clean, gain, noise.normal, cameras).noise
    same = [torch.equal(before, after) for before, after in zip(together, changed, strict=True)]
    assert same == [condition.camera == "A" for condition in conditions]


def test_gains_are_estimated_by_the_network_of_the_camera() -> None:
    model = untrained()
    noisy = WhiteNoise([A_HIGH] * 2, seed=3).noisy
    with torch.no_grad():
        model.gain.of(1).head.bias += 5
    described = model.describe(noisy, noisy, [A_LOW, B_LOW])
    assert described[1] > described[0] + 4


def test_unknown_cameras_and_settings_are_refused_with_and_without_reference() -> None:
    model = untrained()
    shape = (1, 3, 4, 4)
    clean, noise = clean_pictures(shape), randomness(shape)
    for reference in (None, torch.ones(1, 1)):
        for condition in (Condition("C", 100), Condition("A", 800)):
            with pytest.raises(InputError):
                model.sample(clean, [condition], noise=noise, reference=reference)
    with pytest.raises(InputError):
        model.describe(clean, clean, [Condition("C", 100)])


def test_without_a_reference_a_stored_gain_is_drawn_by_the_key_of_the_picture() -> None:
    """The same for all tiles of a photograph: it depends on the key, not on the pixels' random numbers."""
    model = untrained()
    assert isinstance(model, ReferencedModel)
    assert not model.needs_reference
    shape = (3, 3, 8, 8)
    noise = randomness(shape)
    conditions = [A_LOW, A_HIGH, B_LOW]
    clean = clean_pictures(shape)
    uniform = picture_uniforms(noise, 1)
    rows = [VOCABULARY.isos.index(c.iso) * 2 + VOCABULARY.cameras.index(c.camera) for c in conditions]
    at = uniform[:, 0] * (GAINS - 1)
    low = at.long()
    tables = model.log_gains[rows].double()
    line = torch.arange(3)
    log_gain = tables[line, low] + (at - low) * (tables[line, low + 1] - tables[line, low])
    given = log_gain.exp().float()[:, None]
    drawn = model.sample(clean, conditions, noise=noise)
    assert torch.equal(drawn, model.sample(clean, conditions, noise=noise, reference=given))
    other = Randomness(noise.normal, noise.uniform, noise.key.flip(0))  # type: ignore[union-attr]
    assert not torch.equal(drawn, model.sample(clean, conditions, noise=other))


def test_between_two_settings_the_gain_is_interpolated_in_its_logarithm() -> None:
    model = untrained()
    shape = (3, 3, 8, 8)
    noise = randomness(shape)
    key = torch.tensor([[7, 9]] * 3)
    noise = Randomness(noise.normal[:1].expand(shape), noise.uniform, key)
    clean = clean_pictures((1, 3, 8, 8)).expand(shape)
    with torch.no_grad():
        model.log_gains.zero_()
        model.log_gains[0], model.log_gains[2] = -1.0, 0.6  # A at 100 and 400
    between = model.sample(clean[:1], [Condition("A", 200)], noise=Randomness(*_rows(noise, 1)))
    exact = model.sample(
        clean[:1],
        [A_LOW],
        noise=Randomness(*_rows(noise, 1)),
        reference=torch.tensor([[-0.2]]).exp(),
    )
    assert torch.equal(between, exact)


def _rows(noise: Randomness, count: int) -> tuple[Tensor, Tensor, Tensor]:
    assert noise.key is not None
    return noise.normal[:count], noise.uniform[:count], noise.key[:count]


def test_a_noisier_reference_makes_noisier_pictures(trained: Neca) -> None:
    batch = WhiteNoise([A_LOW] * 8 + [A_HIGH] * 8, seed=500)
    described = trained.describe(batch.noisy, batch.clean, batch.conditions)
    assert described.shape == (16, 1)
    clean = clean_pictures(batch.noisy.shape, seed=501)
    # the conditions of all are the same: only the reference differs
    noisy = trained.sample(clean, [A_LOW] * 16, noise=batch.randomness(), reference=described)
    quiet, loud = ((noisy - clean)[part].std().item() for part in (slice(8), slice(8, None)))
    assert quiet == pytest.approx(STD[A_LOW], rel=0.25)
    assert loud == pytest.approx(STD[A_HIGH], rel=0.25)


def test_stored_gains_give_each_condition_its_noise(trained: Neca) -> None:
    for condition, std in STD.items():
        clean = clean_pictures((8, 3, 24, 24), seed=502)
        noisy = trained.sample(clean, [condition] * 8, noise=randomness(clean.shape))
        assert (noisy - clean).std().item() == pytest.approx(std, rel=0.25), condition


def test_the_gain_of_a_large_picture_is_the_mean_over_its_parts(
    trained: Neca, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = WhiteNoise([A_HIGH] * 2, seed=600, side=90).noisy
    whole = trained.describe(noisy, noisy, [A_HIGH] * 2)
    monkeypatch.setattr(neca_model, "PART", 45)
    torch.testing.assert_close(trained.describe(noisy, noisy, [A_HIGH] * 2), whole, rtol=0.1, atol=0)


def test_strength_scales_the_noise() -> None:
    model = untrained(replace(SIZES, bit_depth=16))
    shape = (2, 3, 8, 8)
    clean, noise = clean_pictures(shape, 2**16), randomness(shape)
    weak, strong = (
        model.sample(clean, [A_LOW, B_LOW], noise=noise, strength=strength) - clean for strength in (0.1, 0.2)
    )
    torch.testing.assert_close(strong, 2 * weak, rtol=0, atol=2)


def test_correlation_starts_as_the_identity_and_correlates_neighbours_afterwards() -> None:
    torch.manual_seed(0)
    network = CorrelationNet(SIZES)
    noise = torch.randn(2, 3, 9, 14)
    torch.testing.assert_close(network(noise), noise, rtol=0, atol=0.02)
    with torch.no_grad():
        network.last.weight.fill_(0.2)
    nudged = noise.clone()
    nudged[:, :, 4, 6] += 1
    assert (network(nudged) - network(noise))[:, :, 4, 7].abs().min() > 1e-4


def test_only_the_published_norm_makes_the_level_depend_on_the_cut() -> None:
    clean = clean_pictures((1, 3, 32, 40)) / 256
    gain = torch.ones(1, 1)
    for norm, depends in (("pixel", False), ("picture", True)):
        torch.manual_seed(0)
        network = LevelNet(replace(SIZES, level_norm=norm))  # type: ignore[arg-type]
        torch.nn.init.normal_(network.last.weight)
        inner = network(clean[:, :, :, 8:], gain)[:, :, :, 3:]
        whole = network(clean, gain)[:, :, :, 11:]
        assert torch.allclose(inner, whole, atol=1e-5) != depends


def test_every_parameter_gets_a_gradient_even_if_its_camera_is_absent() -> None:
    """Processes sum the gradients of the same list of parameters, whichever cameras their patches are of."""
    model = untrained()
    learner = NecaLearner(model, small_recipe())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = train(learner, 1, [A_LOW, A_HIGH])
    assert losses.keys() == learner.titles.keys()
    modules = {"model": model, **learner.networks}
    for part, module in modules.items():
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, (part, name)
            absent = name.split(".")[1:3] == ["networks", "1"] and part == "model"
            assert bool(parameter.grad.any()) != absent or "bias" in name or "camera" in name, (part, name)
    for name, value in model.state_dict().items():
        if ".networks.1." in name:
            assert torch.equal(value, before[name]), name


def test_a_process_takes_the_cameras_of_its_own_part() -> None:
    """Two halves of a batch, each with its own networks' turn, have the mean of the whole batch's losses."""
    learner = NecaLearner(untrained(), small_recipe(adversarial_from=10**6))
    conditions = [A_LOW, B_LOW, B_LOW, A_HIGH]

    def losses(part: slice) -> dict[str, Tensor]:
        return learner.step(WhiteNoise(conditions, seed=1, part=part), 0, 1, lambda name, loss: None)

    whole = losses(slice(None))
    halves = [losses(slice(0, 2)), losses(slice(2, 4))]
    for name, value in whole.items():
        torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, value)


def test_critics_begin_and_count_at_their_steps() -> None:
    learner = NecaLearner(untrained(), small_recipe(adversarial_from=2, adversarial_every=2))
    seen = []

    def update(name: str, loss: Tensor) -> None:
        learner.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()

    for step in range(5):
        losses = learner.step(WhiteNoise([A_LOW, B_LOW], seed=step), step, 5, update)
        seen.append(("critic" in losses, "generator" in losses))
    assert seen == [(False, False)] * 2 + [(True, True), (True, False), (True, True)]
    assert small_recipe(steps=100, adversarial_from=10).lasting(50).adversarial_from == 5


def test_the_critics_are_no_part_of_the_model() -> None:
    learner = NecaLearner(untrained(), small_recipe())
    assert learner.networks.keys() == {"critic", "subsampled_critic"}
    owned = {id(parameter) for parameter in learner.model.parameters()}
    for network in learner.networks.values():
        assert not owned & {id(parameter) for parameter in network.parameters()}


def test_training_starts_at_the_noise_of_each_camera() -> None:
    model = Neca(SIZES, VOCABULARY)
    NecaLearner(model, small_recipe()).initialise([WhiteNoise([A_LOW, A_HIGH, B_LOW] * 4, seed=7)])
    for condition, std in STD.items():
        batch = WhiteNoise([condition] * 4, seed=8)
        gain = model.estimate_gain(batch.noisy, model.cameras_of(batch.conditions))
        assert gain.mean().item() * 16 == pytest.approx(std, rel=0.3), condition
    level = model.noise_steps(batch.clean, gain, batch.normal(), [1] * 4).level
    assert level.mean().item() * 16 == pytest.approx(STD[B_LOW], rel=0.1)


def test_local_deviation_is_that_of_the_window_without_what_lies_outside() -> None:
    noise = torch.randn(1, 2, 12, 15, generator=torch.Generator().manual_seed(0)) + 3
    found = local_deviation(noise)
    centred = noise[0, 1] - noise[0, 1].mean()
    for y, x in ((0, 0), (5, 7), (11, 14)):
        window = centred[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
        assert found[0, 1, y, x].item() == pytest.approx(window.square().mean().sqrt().item(), rel=1e-4)


def test_local_deviation_of_correlated_noise_is_its_deviation() -> None:
    """Noise of a few pixels' grain has most of its variance in the mean of a small window."""
    white = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    grain = torch.nn.functional.avg_pool2d(white, 5, stride=1)
    assert local_deviation(grain).mean().item() == pytest.approx(grain.std().item(), rel=0.1)


@pytest.mark.parametrize(
    "changes", [{"level_norm": "batch"}, {"gain_depth": 1}, {"correlation_stages": 0}, {"unit": 0.0}]
)
def test_sizes_that_are_none_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(SIZES, **changes)  # type: ignore[arg-type]


def test_sizes_survive_the_checkpoint() -> None:
    assert NecaSizes.from_dict(SIZES.to_dict()) == SIZES
