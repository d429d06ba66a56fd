"""NM-FlowGAN, exact form: a flow that inverts, a generator for any picture, gradients everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from nm_flowgan_fixtures import A100, A400, A1600, B400, cycle, inputs, one_of, tiny_model
from torch import nn

from noisegen.conditions import Condition, Vocabulary
from noisegen.denoising.dncnn import DnCNN
from noisegen.errors import InputError, UsageError
from noisegen.models.condition_codes import ConditionCode
from noisegen.models.losses import critic_loss, generator_loss
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.sizes import PRESETS, NMFlowGANSizes
from noisegen.models.noise_statistics import statistics_distance

PRESET_NAMES = sorted(PRESETS)


def double_code(model: NMFlowGAN, conditions: Sequence[Condition]) -> ConditionCode:
    code = model.encode(conditions)
    return replace(code, onehot=code.onehot.double())


@pytest.mark.parametrize("preset", PRESET_NAMES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bit_depth", [8, 12, 16])
def test_samples_are_pictures_of_the_same_kind_as_the_clean_ones(
    preset: str, channels: int, bit_depth: int
) -> None:
    model = tiny_model(preset, channels=channels, bit_depth=bit_depth)
    clean, noise = inputs(model, 24, 32, batch=2)
    noisy = model.sample(clean, [A1600, B400], noise=noise)
    assert noisy.shape == clean.shape and noisy.dtype == torch.float32
    assert torch.equal(noisy, noisy.round())
    assert noisy.min() >= 0 and noisy.max() <= 2**bit_depth - 1
    assert 2 < (noisy - clean).std() / model.sizes.grey < 40


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_a_sample_is_a_function_of_its_arguments_and_changes_none_of_them(preset: str) -> None:
    model = tiny_model(preset)
    clean, noise = inputs(model, 24, 32, batch=2)
    kept = clean.clone(), noise.normal.clone(), noise.uniform.clone()
    weights = {name: values.clone() for name, values in model.state_dict().items()}
    conditions = [A100, A400]
    first = model.sample(clean, conditions, noise=noise)
    torch.manual_seed(1)
    assert torch.equal(model.sample(clean, conditions, noise=noise), first)
    assert conditions == [A100, A400]
    assert all(map(torch.equal, kept, (clean, noise.normal, noise.uniform)))
    assert all(torch.equal(values, weights[name]) for name, values in model.state_dict().items())
    assert not first.requires_grad


@pytest.mark.parametrize("preset", PRESET_NAMES)
@pytest.mark.parametrize(("height", "width"), [(37, 53), (1, 7), (2, 2), (16, 31)])
def test_every_picture_size_works(preset: str, height: int, width: int) -> None:
    model = tiny_model(preset, unet_depth=3)
    clean, noise = inputs(model, height, width)
    assert model.sample(clean, [B400], noise=noise).shape == clean.shape


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_a_picture_gets_the_same_noise_in_a_batch_as_alone(preset: str) -> None:
    model = tiny_model(preset)
    clean, noise = inputs(model, 21, 34, batch=4)
    conditions = [A100, A400, B400, A1600]
    together = model.sample(clean, conditions, noise=noise)
    for index, condition in enumerate(conditions):
        part, part_noise = one_of(clean, noise, index)
        difference = (model.sample(part, [condition], noise=part_noise)[0] - together[index]).abs()
        assert difference.max() <= 1 and (difference > 0).float().mean() < 0.001


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_a_camera_or_iso_outside_the_model_is_refused(preset: str) -> None:
    model = tiny_model(preset)
    clean, noise = inputs(model, 8, 8)
    for condition in (Condition("C", 100), Condition("A", 6400), Condition("B", 100)):
        with pytest.raises(InputError, match="known"):
            model.sample(clean, [condition], noise=noise)


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_noise_of_an_iso_between_two_known_ones_is_as_strong_as_between_them(preset: str) -> None:
    model = tiny_model(preset)
    clean = torch.full((1, 3, 64, 64), 128.0)
    _, noise = inputs(model, 64, 64)
    low, middle, high = (
        (model.sample(clean, [condition], noise=noise) - clean).std().item()
        for condition in (A100, A400, A1600)
    )
    assert 1.15 * low < middle < high / 1.15


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_the_flow_inverts_itself_and_is_one_map_per_pixel(preset: str) -> None:
    model = tiny_model(preset).double()
    clean, noise = inputs(model, 13, 9, batch=3)
    dequantized = model.dequantize(clean, noise.uniform).double()
    # a tone curve has an end, which lies below black
    pixel_noise = (0.05 * noise.normal.double()).maximum(-dequantized)
    with torch.inference_mode():
        code = double_code(model, [A100, A400, B400])
        latent, _ = model.flow(pixel_noise, dequantized, code)
        back = model.flow.inverse(latent, dequantized, code)
        transform = model.flow.at(dequantized, code)
    torch.testing.assert_close(back, pixel_noise, rtol=0, atol=1e-6)
    torch.testing.assert_close(transform.noise(latent), pixel_noise, rtol=0, atol=1e-6)


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_the_log_determinant_is_that_of_the_jacobian(preset: str) -> None:
    model = tiny_model(preset).double()
    clean, noise = inputs(model, 3, 4)
    dequantized = model.dequantize(clean, noise.uniform).double()
    code = double_code(model, [A400])

    def flat(values: torch.Tensor) -> torch.Tensor:
        return model.flow(values.view(clean.shape), dequantized, code)[0].flatten()

    pixel_noise = (0.05 * noise.normal.double()).maximum(-dequantized)
    jacobian = torch.autograd.functional.jacobian(flat, pixel_noise.flatten())
    _, log_det = model.flow(pixel_noise, dequantized, code)
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian).logabsdet)


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_the_likelihood_is_the_change_of_variables_in_nats_of_a_grey_level(preset: str) -> None:
    model = tiny_model(preset, bit_depth=10)
    clean, noise = inputs(model, 6, 5, batch=2)
    # clipped values have a probability instead of a density
    noisy = model.sample(clean, [A100, B400], noise=noise).clamp(1, 1022)
    code = model.encode([A100, B400])
    result = model.likelihood(noisy, clean, code, noise.uniform, noise.uniform.flip(0))
    dequantized = model.dequantize(clean, noise.uniform.flip(0))
    _, log_det = model.flow(model.dequantize(noisy, noise.uniform) - dequantized, dequantized, code)
    torch.testing.assert_close(
        result.log_det, log_det - 90 * torch.log(torch.tensor(1024.0)), rtol=1e-6, atol=0
    )
    expected = torch.distributions.Normal(0, 1).log_prob(result.latent).sum(dim=(1, 2, 3))
    torch.testing.assert_close(result.log_prob, expected)
    torch.testing.assert_close(result.nll, -(result.log_det + expected).mean())


def reached(module: nn.Module) -> dict[str, bool]:
    """Whether each parameter got a gradient; biases that a following normalisation takes out again are left out."""
    cancelled = {
        f"{name}.{index}.bias"
        for name, part in module.named_modules()
        if isinstance(part, nn.Sequential)
        for index in range(len(part) - 1)
        if isinstance(part[index], nn.Conv2d) and isinstance(part[index + 1], nn.InstanceNorm2d)
    }
    gradients = {name: p.grad for name, p in module.named_parameters() if name not in cancelled}
    return {name: g is not None and bool(g.isfinite().all() and g.any()) for name, g in gradients.items()}


@pytest.mark.parametrize("preset", PRESET_NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_of_each_loss_reach_every_parameter_of_its_network(preset: str, channels: int) -> None:
    model = tiny_model(preset, channels=channels, critic=True)
    critic = model.critic
    assert critic is not None
    conditions = cycle([A100, A1600, B400], 4)
    clean, noise = inputs(model, 64, 64, batch=4)
    code = model.encode(conditions)
    real = model.sample(clean, conditions, noise=inputs(model, 64, 64, batch=4, seed=1)[1])
    model.likelihood(real, clean, code, noise.uniform, noise.uniform.flip(0)).nll.backward()
    assert all(reached(model.flow).values()), reached(model.flow)

    def score(noise: torch.Tensor) -> torch.Tensor:
        return critic(torch.cat([noise / 16, clean / 256], dim=1), code)

    fake = model.steps(clean, code, noise).noisy - clean
    if model.generator is not None:
        (statistics_distance(fake, real - clean) + generator_loss(score, fake)).backward()
        assert all(reached(model.generator).values()), reached(model.generator)

    critic.zero_grad()
    critic_loss(score, real - clean, fake, torch.rand(4, 1, 1, 1)).backward()
    # the Wasserstein difference and the penalty do not see a constant added to every score
    last = f"classifier.{len(critic.classifier) - 1}.bias"
    assert all(value for name, value in reached(critic).items() if name != last), reached(critic)


@pytest.mark.parametrize("preset", PRESET_NAMES)
@pytest.mark.parametrize("side", [64, 70, 96, 128])
def test_the_critic_scores_patches_of_other_sizes_too(preset: str, side: int) -> None:
    model = tiny_model(preset, critic=True)
    assert model.critic is not None
    code = model.encode([A100, B400])
    assert model.critic(torch.rand(2, 6, side, side), code).shape == (2, 1)


def test_a_hybrid_generator_starts_as_the_identity() -> None:
    model = NMFlowGAN(PRESETS["hybrid"], Vocabulary.of([A100, B400]))
    assert model.generator is not None
    noise, clean = torch.randn(1, 3, 9, 10), torch.rand(1, 3, 9, 10)
    assert torch.equal(model.generator(noise, clean, model.encode([B400])), noise)


def test_sizes_are_those_of_the_paper() -> None:
    vocabulary = Vocabulary.grid(["IP", "GP", "S6", "N6", "G4"], [100, 400, 800, 1600, 3200])
    with torch.device("meta"):
        model = NMFlowGAN(PRESETS["paper"], vocabulary, critic=True)
        denoiser = DnCNN()
    parts = (model.flow, model.generator, model.critic, denoiser)
    counts = [sum(p.numel() for p in part.parameters()) for part in parts if part is not None]
    assert counts == [25_484, 31_031_875, 14_160_969, 596_419]


@pytest.mark.parametrize(
    ("field", "value"), [("channels", 2), ("channels", 4), ("bit_depth", 7), ("bit_depth", 17)]
)
def test_impossible_picture_kinds_are_refused(field: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{field} must be .* not {value}"):
        NMFlowGANSizes(**{field: value})  # type: ignore[arg-type]
