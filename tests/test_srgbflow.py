"""sRGBFlow: an exact flow, noise as likely as what it learned from, and the authors' file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, linear, pad

from noisegen.cli import main
from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import InputError, UsageError
from noisegen.models.checkpoint import read_checkpoint, restore_module
from noisegen.models.learning import Batch
from noisegen.models.official import OFFICIAL_CAMERAS, OFFICIAL_ISOS, import_official
from noisegen.models.protocol import Randomness
from noisegen.models.registry import model_type
from noisegen.models.srgbflow.model import SRGBFlow, SRGBFlowSizes
from noisegen.models.srgbflow.model_type import SRGBFLOW

A100, A400, B100 = Condition("A", 100), Condition("A", 400), Condition("B", 100)
VOCABULARY = Vocabulary.of([A100, A400, B100])
SIZES = {name: recipe.model for name, recipe in SRGBFLOW.recipes.items()}


def random_model(sizes: str = "paper", *, channels: int = 3, bit_depth: int = 8) -> SRGBFlow:
    """A model in which no weight is what it starts as, in eval mode."""
    torch.manual_seed(5)
    chosen = replace(SIZES[sizes], channels=channels, bit_depth=bit_depth)
    assert isinstance(chosen, SRGBFlowSizes)
    model = SRGBFlow(chosen, VOCABULARY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(0.1 * torch.randn_like(buffer))
        # noise of about five grey levels
        model.layers[0].log_scale.table.add_(4.0)  # type: ignore[operator, union-attr]
    return model.eval()


def randomness(shape: Sequence[int], seed: int = 0) -> Randomness:
    generator = torch.Generator().manual_seed(seed)
    return Randomness(
        torch.randn(tuple(shape), generator=generator), torch.rand(tuple(shape), generator=generator)
    )


def clean_picture(batch: int, channels: int, height: int, width: int, top: int = 256) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randint(top, (batch, channels, height, width), generator=generator).float()


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_flow_inverts_itself(sizes: str, channels: int) -> None:
    model = random_model(sizes, channels=channels).double()
    noise = 0.03 * torch.randn(3, channels, 7, 10, dtype=torch.float64)
    clean = torch.rand(3, channels, 7, 10, dtype=torch.float64)
    code = model.encode([A100, A400, B100])
    latent, _ = model(noise, clean, code)
    assert not torch.allclose(latent, noise, atol=0.1)
    torch.testing.assert_close(model.inverse(latent, clean, code), noise, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_log_determinant_is_that_of_the_jacobian(sizes: str, channels: int) -> None:
    model = random_model(sizes, channels=channels).double()
    noise = 0.03 * torch.randn(1, channels, 3, 4, dtype=torch.float64)
    clean = torch.rand(1, channels, 3, 4, dtype=torch.float64)
    code = model.encode([B100])
    jacobian = torch.autograd.functional.jacobian(lambda x: model(x, clean, code)[0], noise)
    assert isinstance(jacobian, Tensor)
    expected = torch.linalg.slogdet(jacobian.reshape(noise.numel(), noise.numel())).logabsdet
    torch.testing.assert_close(model(noise, clean, code)[1][0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_value_depends_on_its_neighbours(channels: int) -> None:
    """A coupling that splits one channel wrongly would leave white noise white."""
    model = random_model(channels=channels).double()
    noise = torch.zeros(1, channels, 6, 6, dtype=torch.float64)
    clean = torch.full_like(noise, 0.5)
    code = model.encode([A100])
    jacobian = torch.autograd.functional.jacobian(lambda z: model.inverse(z, clean, code), noise)
    assert isinstance(jacobian, Tensor)
    of_pixels = jacobian[0, :, :, :, 0].abs().sum(dim=(0, 3)).reshape(36, 36)
    assert ((of_pixels > 0).sum(dim=1) > 4).all()


def test_the_published_model_has_6160_parameters() -> None:
    model = SRGBFlow(SRGBFlowSizes(), Vocabulary.grid(OFFICIAL_CAMERAS, OFFICIAL_ISOS))
    assert sum(parameter.numel() for parameter in model.parameters()) == 6160


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("channels", "bit_depth"), [(1, 8), (3, 8), (3, 16)])
def test_a_picture_is_the_same_alone_and_in_a_batch(sizes: str, channels: int, bit_depth: int) -> None:
    model = random_model(sizes, channels=channels, bit_depth=bit_depth)
    clean = clean_picture(3, channels, 9, 13, 2**bit_depth)
    noise = randomness(clean.shape)
    conditions = [A100, Condition("A", 200), B100]
    noisy = model.sample(clean, conditions, noise=noise)
    assert torch.equal(noisy, noisy.round())
    assert noisy.min() >= 0 and noisy.max() < 2**bit_depth and not torch.equal(noisy, clean)
    for index, condition in enumerate(conditions):
        one = slice(index, index + 1)
        alone = model.sample(clean[one], [condition], noise=Randomness(noise.normal[one], noise.uniform[one]))
        difference = (alone - noisy[one]).abs()
        # rounding in float32 grows with the noise
        assert (difference <= 1 + 1e-3 * (noisy[one] - clean[one]).abs()).all()
        assert (difference > 0).float().mean() < (0.02 if bit_depth == 8 else 0.2)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_tile_with_halo_is_cut_out_of_the_picture(channels: int) -> None:
    """Noise depends on nothing further away than 2 pixels a coupling, and on no position but the alignment's."""
    model = random_model(channels=channels)
    clean = clean_picture(1, channels, 60, 60)
    noise = randomness(clean.shape)
    whole = model.sample(clean, [A100], noise=noise)
    start, halo = 2 * model.alignment, 16
    part = (slice(None), slice(None), slice(start, start + 40), slice(start, start + 40))
    tile = model.sample(clean[part], [A100], noise=Randomness(noise.normal[part], noise.uniform[part]))
    inner = (slice(None), slice(None), slice(halo, -halo), slice(halo, -halo))
    difference = (tile[inner] - whole[part][inner]).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 0.02


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_any_size_get_noise(size: tuple[int, int], channels: int) -> None:
    model = random_model(channels=channels)
    clean = torch.full((1, channels, *size), 128.0)
    noisy = model.sample(clean, [A100], noise=randomness(clean.shape, 1))
    assert noisy.shape == clean.shape and not torch.equal(noisy, clean)


def test_strength_scales_the_noise() -> None:
    model = random_model(bit_depth=16)
    clean = torch.full((1, 3, 16, 16), 32768.0)
    noise = randomness(clean.shape)
    once, twice = (model.sample(clean, [A100], noise=noise, strength=strength) - clean for strength in (1, 2))
    torch.testing.assert_close(twice, 2 * once, rtol=0, atol=3)


def test_an_iso_between_two_known_ones_lies_between_them() -> None:
    model = random_model()
    with torch.no_grad():
        model.layers[0].log_scale.table[VOCABULARY.isos.index(400) * 2] -= 1.0  # type: ignore[index, union-attr]
    clean = torch.full((1, 3, 64, 64), 128.0)
    deviations = [
        (model.sample(clean, [Condition("A", iso)], noise=randomness(clean.shape)) - clean).std()
        for iso in (100, 200, 400)
    ]
    assert 1.2 * deviations[0] < deviations[1] < deviations[2] / 1.2


def test_an_unknown_camera_is_an_error() -> None:
    clean = torch.zeros(1, 3, 4, 4)
    with pytest.raises(InputError, match="camera 'C' is not known"):
        random_model().sample(clean, [Condition("C", 100)], noise=randomness(clean.shape))


@pytest.mark.parametrize("size", [{"width": 0}, {"blocks": 0}, {"condition_encoder": "none"}])
def test_sizes_that_are_none_are_refused(size: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(size))):
        replace(SRGBFlowSizes(), **size)  # type: ignore[arg-type]


class Pairs:
    """A batch of a camera whose noise is stronger in the lights and the same in all channels of a pixel by half."""

    conditions = (A100, A400, A100, A400)
    part = slice(None)

    def __init__(self, seed: int, channels: int = 3) -> None:
        self.channels = channels
        self.generator = torch.Generator().manual_seed(seed)
        value = torch.rand(4, 1, 1, 1, generator=self.generator) * 110 + 50
        self.clean = value.round().expand(4, channels, 16, 16)
        grey = torch.randn(4, 1, 16, 16, generator=self.generator)
        noise = (grey + self.normal()) / 2**0.5
        level = torch.tensor([1.0, 2.0, 1.0, 2.0]).view(4, 1, 1, 1) * self.clean / 16
        self.noisy = (self.clean + level * noise).round()

    def normal(self) -> Tensor:
        return torch.randn(4, self.channels, 16, 16, generator=self.generator)

    def uniform(self) -> Tensor:
        return torch.rand(4, self.channels, 16, 16, generator=self.generator)

    def alpha(self) -> Tensor:
        return torch.rand(4, 1, 1, 1, generator=self.generator)

    def randomness(self) -> Randomness:
        return Randomness(self.normal(), self.uniform())


def train(recipe: str, steps: int, *, channels: int = 3) -> SRGBFlow:
    """A model of one block."""
    torch.manual_seed(0)
    chosen = replace(SRGBFLOW.recipes[recipe], sizes=(("blocks", 1),))
    model = SRGBFLOW.model(chosen.architecture(channels, 8), VOCABULARY)
    assert SRGBFLOW.learner is not None and isinstance(model, SRGBFlow)
    learner = SRGBFLOW.learner(model, chosen)

    def update(name: str, loss: Tensor) -> None:
        learner.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        learner.optimizers[name].step()

    learner.initialise([Pairs(seed, channels) for seed in range(100, 104)])
    for step in range(steps):
        assert learner.step(Pairs(step, channels), step, steps, update).keys() == learner.titles.keys()
    return model


@pytest.mark.parametrize("channels", [1, 3])
def test_trained_noise_is_as_likely_as_real_noise(channels: int) -> None:
    """Level by condition and clean value, correlation of the channels, and likelihood of the samples."""
    model = train("compact", 150, channels=channels).eval()
    likelihood, deviation, correlation = {}, {}, {}
    test = [Pairs(seed, channels) for seed in range(1000, 1020)]
    for kind in ("real", "sampled"):
        values, noises, levels = [], [], []
        for pairs in test:
            noisy = pairs.noisy
            if kind == "sampled":
                noisy = model.sample(pairs.clean, pairs.conditions, noise=pairs.randomness())
            code = model.encode(pairs.conditions)
            with torch.no_grad():
                likelihoods = model.log_likelihood(noisy, pairs.clean, code, pairs.uniform(), pairs.uniform())
            values.append(likelihoods.mean() / noisy[0].numel())
            noises.append(noisy - pairs.clean)
            levels.append(pairs.clean.mean(dim=(1, 2, 3)))
        noise, level = torch.cat(noises), torch.cat(levels)
        first = torch.tensor([True, False] * (len(noise) // 2))
        groups = {"dark": level < 80, "bright": level > 130}
        likelihood[kind] = torch.stack(values).mean()
        deviation[kind] = torch.stack(
            [noise[chosen & which].std() for chosen in groups.values() for which in (first, ~first)]
        )
        correlation[kind] = torch.corrcoef(noise.transpose(0, 1).flatten(1))
    assert abs(likelihood["sampled"] - likelihood["real"]) < 0.05
    assert (deviation["sampled"] / deviation["real"] - 1).abs().max() < 0.15
    assert (correlation["sampled"] - correlation["real"]).abs().max() < 0.1


@pytest.mark.parametrize("recipe", SRGBFLOW.recipes)
@pytest.mark.parametrize("channels", [1, 3])
def test_training_reaches_every_parameter(recipe: str, channels: int) -> None:
    for name, parameter in train(recipe, 2, channels=channels).named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_training_starts_from_the_noise_of_each_condition() -> None:
    """The latents of seen conditions start with variance 1; an unseen one with the mean of the others."""
    model = train("compact", 0)
    pairs = Pairs(200)
    latent, _ = model((pairs.noisy - pairs.clean) / 256, pairs.clean / 256, model.encode(pairs.conditions))
    table = model.layers[0].log_scale.table  # type: ignore[union-attr]
    rows = [model.encode([condition]).row.item() for condition in (A100, A400, B100)]
    assert 0.3 < latent.std() < 1.5
    assert (table[rows[0]] > table[rows[1]] + 0.4).all()  # type: ignore[index, operator]
    torch.testing.assert_close(table[rows[2]], (table[rows[0]] + table[rows[1]]) / 2)  # type: ignore[index]


class PatchesOfACondition:
    """Those of `Pairs` at ISO 100, brighter by 3 levels, whatever the condition asked for."""

    def of_condition(self, condition: Condition, count: int, *, draw: int = 0) -> Batch:
        parts = [Pairs(1000 * draw + seed) for seed in range(count // 2)]
        noisy, clean, normal, uniform = (
            torch.cat([values[::2] for values in many])
            for many in zip(*((p.noisy + 3, p.clean, p.normal(), p.uniform()) for p in parts), strict=True)
        )
        noise = Randomness(normal, uniform)
        return cast("Batch", SimpleNamespace(noisy=noisy, clean=clean, randomness=lambda: noise))


def test_settling_matches_the_moments_of_drawn_noise() -> None:
    """What a flow's couplings get wrong in mean and level is put right by the last step of sampling."""
    model = random_model("compact").train()
    with torch.no_grad():
        model.layers[0].log_scale.table.add_(1.5)  # type: ignore[operator, union-attr]
    assert SRGBFLOW.learner is not None
    for recipe, matched in (("paper", False), ("compact", True)):
        SRGBFLOW.learner(model, SRGBFLOW.recipes[recipe]).settle(model, PatchesOfACondition(), 0, 1)
        assert model.training
        for condition in (A100, B100):
            batch = PatchesOfACondition().of_condition(condition, 16, draw=1)
            noisy = model.eval().sample(batch.clean, [condition] * 16, noise=batch.randomness())
            model.train()
            deviation = (noisy - batch.clean).std() / (batch.noisy - batch.clean).std()
            mean = (noisy - batch.noisy).mean()
            assert (abs(deviation - 1) < 0.1 and abs(mean) < 0.5) == matched


# --- the authors' file


def published_state(
    *, blocks: int = 4, couplings: int = 2, untrained: Sequence[int] = ()
) -> dict[str, Tensor]:
    """Random weights under the names and shapes of the authors' file; `untrained` are rows of its tables."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int, scale: float = 0.3) -> Tensor:
        return scale * torch.randn(shape, generator=generator)

    def norm(prefix: str, width: int) -> dict[str, Tensor]:
        return {
            f"{prefix}.weight": 1 + draw(width),
            f"{prefix}.bias": draw(width),
            f"{prefix}.running_mean": draw(width),
            f"{prefix}.running_var": draw(width).exp(),
            f"{prefix}.num_batches_tracked": torch.tensor(7),
        }

    def affine(prefix: str, *shape: int) -> dict[str, Tensor]:
        return {f"{prefix}.weight": draw(*shape), f"{prefix}.bias": draw(shape[0])}

    state = {"model.0.ldj_per_dim": torch.tensor(-5.545), "base_dist.buffer": torch.zeros(1)}
    state["data_pre_processing.0.ldj_per_dim"] = torch.tensor(-5.545)
    index = 2
    for _ in range(blocks):
        for name in ("log_scale", "bias"):
            table = draw(25, 3)
            table[list(untrained)] = 0
            state[f"model.{index}.{name}"] = table
        index += 1
        for _ in range(couplings):
            state |= {
                f"model.{index}.p": torch.eye(3)[torch.randperm(3, generator=generator)],
                f"model.{index}.sign_s": torch.tensor([1.0, -1.0, 1.0]),
                f"model.{index}.l": draw(3, 3),
                f"model.{index}.log_s": draw(3),
                f"model.{index}.u": draw(3, 3),
            }
            net, encoder = f"model.{index + 1}._shift_and_log_scale", f"model.{index + 1}._encoder"
            state |= {f"{net}.scale": draw(1), f"{net}.logs": draw(1, 4, 1, 1)}
            for name, layer in ((1, 0), (2, 3)):
                convolution = affine(f"{net}.conv2d_{name}", 4, 4, *((3, 3) if name == 1 else (1, 1)))
                state |= convolution
                state |= {key.replace(f"conv2d_{name}", f"net.{layer}"): w for key, w in convolution.items()}
            state |= norm(f"{net}.net.1", 4) | norm(f"{net}.net.4", 4)
            state |= affine(f"{net}.conv2d_3", 4, 5, 3, 3)
            state |= affine(f"{encoder}.initial_layer", 5, 10) | affine(f"{encoder}.final_layer", 1, 5)
            for block in range(3):
                for part in range(2):
                    state |= norm(f"{encoder}.blocks.{block}.batch_norm_layers.{part}", 5)
                    state |= affine(f"{encoder}.blocks.{block}.linear_layers.{part}", 5, 5)
            index += 2
    return state


def published_forward(
    state: dict[str, Tensor], noise: Tensor, clean: Tensor, iso: int, camera: int
) -> Tensor:
    """Latent of a picture, blue first, by the formulas of the published model in its order of layers."""

    def norm(x: Tensor, prefix: str, eps: float) -> Tensor:
        mean, variance = state[f"{prefix}.running_mean"], state[f"{prefix}.running_var"]
        return batch_norm(x, mean, variance, state[f"{prefix}.weight"], state[f"{prefix}.bias"], eps=eps)

    def affine(x: Tensor, prefix: str) -> Tensor:
        return linear(x, state[f"{prefix}.weight"], state[f"{prefix}.bias"])

    def weight_of_condition(prefix: str) -> Tensor:
        onehot = torch.zeros(1, 10)
        onehot[0, iso] = onehot[0, 5 + camera] = 1
        x = affine(onehot, f"{prefix}.initial_layer")
        for block in range(3):
            h = x
            for part in range(2):
                h = norm(h, f"{prefix}.blocks.{block}.batch_norm_layers.{part}", 1e-3).relu()
                h = affine(h, f"{prefix}.blocks.{block}.linear_layers.{part}")
            x = x + h
        return affine(x, f"{prefix}.final_layer")

    for index in range(2, 2 + len({name.split(".")[1] for name in state if name[:6] == "model."}) - 1):
        prefix = f"model.{index}"
        if f"{prefix}.log_scale" in state:
            scale, bias = (state[f"{prefix}.{name}"][5 * iso + camera] for name in ("log_scale", "bias"))
            noise = noise * scale.exp().view(3, 1, 1) + bias.view(3, 1, 1)
        elif f"{prefix}.p" in state:
            lower = state[f"{prefix}.l"].tril(-1) + torch.eye(3)
            upper = state[f"{prefix}.u"].triu(1)
            upper = upper + torch.diag(state[f"{prefix}.sign_s"] * state[f"{prefix}.log_s"].exp())
            noise = torch.einsum("ij,bjhw->bihw", state[f"{prefix}.p"] @ lower @ upper, noise)
        else:
            net = f"{prefix}._shift_and_log_scale"
            h = torch.cat([noise[:, :1], clean], dim=1)
            h = conv2d(h, state[f"{net}.conv2d_1.weight"], state[f"{net}.conv2d_1.bias"], padding=1)
            h = norm(h, f"{net}.net.1", 1e-5).relu()
            h = conv2d(h, state[f"{net}.conv2d_2.weight"], state[f"{net}.conv2d_2.bias"])
            h = norm(h, f"{net}.net.4", 1e-5).relu()
            h = pad(h, (1, 1, 1, 1, 0, 1))
            h[:, 4, [0, -1], :] = 1
            h[:, 4, :, [0, -1]] = 1
            h = conv2d(h, state[f"{net}.conv2d_3.weight"], state[f"{net}.conv2d_3.bias"])
            shift, raw = (h * torch.exp(3 * state[f"{net}.logs"])).chunk(2, dim=1)
            scale = state[f"{net}.scale"] * raw.tanh() * weight_of_condition(f"{prefix}._encoder")
            noise = torch.cat([noise[:, :1], noise[:, 1:] * scale.exp() + shift], dim=1)
    return noise


def write_published(folder: Path, state: dict[str, Tensor]) -> Path:
    path = folder / "epoch_60_noise_model_net.pth"
    torch.save({"epoch_num": 60, "state_dict": state, "optimizer": {}, "grad_scaler": {}}, path)
    return path


@pytest.mark.parametrize(("blocks", "couplings"), [(4, 2), (1, 3)])
def test_the_authors_file_computes_what_it_did(tmp_path: Path, blocks: int, couplings: int) -> None:
    """With the channels in this package's order, red first; the authors' code has blue first."""
    state = published_state(blocks=blocks, couplings=couplings)
    checkpoint = import_official(write_published(tmp_path, state))
    vocabulary = checkpoint.vocabulary
    assert checkpoint.kind == "srgbflow" and vocabulary is not None
    sizes = SRGBFlowSizes.from_dict(checkpoint.config)
    assert sizes == SRGBFlowSizes(blocks=blocks, couplings=couplings)
    model = restore_module(lambda: SRGBFlow(sizes, vocabulary), checkpoint.tensors, "the file")
    noise, clean = 0.1 * torch.randn(1, 3, 9, 7), torch.rand(1, 3, 9, 7)
    for iso, camera in ((0, 0), (2, 4), (4, 1)):
        code = model.encode([Condition(OFFICIAL_CAMERAS[camera], OFFICIAL_ISOS[iso])])
        latent, _ = model(noise, clean, code)
        expected = published_forward(state, noise.flip(1), clean.flip(1), iso, camera)
        torch.testing.assert_close(latent, expected, rtol=1e-4, atol=1e-4)


def test_conditions_that_the_authors_did_not_train_are_left_out(tmp_path: Path) -> None:
    """Their noise would be as strong as the picture."""
    checkpoint = import_official(write_published(tmp_path, published_state(untrained=[4, 5])))
    assert checkpoint.vocabulary is not None
    missing = {Condition("G4", 100), Condition("IP", 400)}
    assert (
        set(checkpoint.vocabulary.known)
        == set(Vocabulary.grid(OFFICIAL_CAMERAS, OFFICIAL_ISOS).known) - missing
    )


def test_the_command_imports_the_authors_file(tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    source = write_published(tmp_path, published_state())
    result = CliRunner().invoke(main, ["import-checkpoint", str(source), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "srgbflow" in result.output and "cameras IP, GP, S6, N6, G4" in result.output
    assert "CC BY-NC" in read_checkpoint(output).card["licence"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model.3.weight": torch.eye(3)}, "which no layer of an sRGBFlow has"),
        ({"model.2.log_scale": torch.zeros(25)}, "do not fit the stated architecture"),
        (
            {"model.4._shift_and_log_scale.logs": torch.zeros(1, 8, 1, 1)},
            "do not fit the stated architecture",
        ),
        ({"model.5.p": None}, "do not fit the stated architecture"),
        ({"model.2.log_scale": "text"}, "not laid out as the authors' file"),
    ],
)
def test_a_file_of_another_architecture_is_refused(
    tmp_path: Path, wrong: dict[str, object], message: str
) -> None:
    state: dict[str, object] = dict(published_state()) | wrong
    path = write_published(tmp_path, {name: w for name, w in state.items() if w is not None})  # type: ignore[misc]
    with pytest.raises(UsageError, match=message) as caught:
        import_official(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_without_layers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not laid out as the authors' file"):
        import_official(write_published(tmp_path, {}))


def test_it_is_registered() -> None:
    assert model_type("srgbflow") is SRGBFLOW and list(SRGBFLOW.recipes) == ["compact", "paper"]
