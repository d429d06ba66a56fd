"""Models imported from the authors' files compute what the authors' code computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from noisegen.conditions import Condition
from noisegen.denoising import load_denoiser
from noisegen.models import load_noise_model
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.losses import critic_loss, generator_loss
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.official import OFFICIAL_CAMERAS, OFFICIAL_ISOS, _rename, import_official
from noisegen.models.protocol import Randomness

PARITY = Path(__file__).parents[2] / "shared" / "parity"
pytestmark = pytest.mark.skipif(not PARITY.is_dir(), reason="golden arrays (../shared/parity) are not here")


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(PARITY / "golden_small.npz"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NMFlowGAN:
    path = tmp_path_factory.mktemp("parity") / "model.safetensors"
    write_checkpoint(path, import_official(PARITY / "noise_modeler_small.pth"))
    return load_noise_model(path)


def conditions(golden: dict[str, np.ndarray]) -> list[Condition]:
    codes = zip(golden["smartphone_code"], golden["iso_level"], strict=True)
    return [Condition(OFFICIAL_CAMERAS[camera], int(iso)) for camera, iso in codes]


def tensor(golden: dict[str, np.ndarray], name: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(golden[name]).to(dtype)


def test_vocabulary_is_the_authors(model: NMFlowGAN) -> None:
    assert model.vocabulary.cameras == OFFICIAL_CAMERAS
    assert model.vocabulary.isos == OFFICIAL_ISOS


def test_sampling_reproduces_every_step(model: NMFlowGAN, golden: dict[str, np.ndarray]) -> None:
    noise = Randomness(tensor(golden, "z"), tensor(golden, "u"))
    with torch.inference_mode():
        steps = model.steps(tensor(golden, "clean_u8"), model.encode(conditions(golden)), noise)
        unet_out = model.correlate(
            tensor(golden, "unet_in"), steps.clean_base, model.encode(conditions(golden))
        )
    np.testing.assert_allclose(steps.clean_dequantized, golden["clean_dequant"], atol=1e-7)
    np.testing.assert_allclose(steps.pixel, golden["px_float"], atol=1e-5)
    np.testing.assert_array_equal(steps.clean_base, golden["clean_after"])
    np.testing.assert_allclose(unet_out, golden["unet_out"], atol=1e-5)
    pixel_noisy = steps.generator_in * 256 + steps.clean_base
    difference = np.abs(pixel_noisy.numpy() - golden["px_noisy"])
    assert difference.max() <= 1 and (difference > 0).mean() < 0.002
    noisy = steps.noisy.clamp(0, 256).numpy()
    same = (difference == 0).all()
    assert np.abs(noisy - golden["final_noisy"]).max() < (0.003 if same else 2)
    sampled = model.sample(tensor(golden, "clean_u8"), conditions(golden), noise=noise).numpy()
    levels = np.abs(sampled - golden["final_u8"].astype(np.float32))
    assert levels.max() <= 1 and (levels > 0).mean() < 0.002


def test_flow_likelihood_in_both_precisions(model: NMFlowGAN, golden: dict[str, np.ndarray]) -> None:
    arrays = [tensor(golden, name) for name in ("noisy_u8", "clean_u8", "u_noisy", "u")]
    with torch.inference_mode():
        code = model.encode(conditions(golden))
        result = model.likelihood(arrays[0], arrays[1], code, arrays[2], arrays[3])
    np.testing.assert_allclose(result.latent, golden["fwd_z"], atol=1e-4)
    np.testing.assert_allclose(result.log_det, golden["fwd_ldj"], rtol=1e-6)
    np.testing.assert_allclose(result.log_det, golden["fwd_ldj_f64"], rtol=1e-6)
    np.testing.assert_allclose(result.log_prob, golden["fwd_log_pz"], rtol=1e-6)
    np.testing.assert_allclose(result.nll, golden["fwd_nll_mean"], rtol=1e-6)


def test_flow_inverts_itself(model: NMFlowGAN, golden: dict[str, np.ndarray]) -> None:
    clean, z = tensor(golden, "clean_dequant"), tensor(golden, "z")
    with torch.inference_mode():
        code = model.encode(conditions(golden))
        noise = model.flow.inverse(z, clean, code)
        transform = model.flow.at(clean, code)
        back, _ = model.flow(noise, clean, code)
    np.testing.assert_allclose(back, z, atol=2e-4)
    affine = torch.exp(transform.log_scale) * z + transform.shift
    np.testing.assert_allclose(affine, noise, atol=1e-5)


def test_losses_and_their_gradients(golden: dict[str, np.ndarray]) -> None:
    checkpoint = import_official(PARITY / "noise_modeler_small.pth")
    from noisegen.models import model_of_checkpoint

    model = model_of_checkpoint(checkpoint, "golden")
    code = model.encode(conditions(golden))
    noisy, clean = tensor(golden, "noisy_u8"), tensor(golden, "clean_u8")
    critic = model.critic
    assert critic is not None

    def score(pair: torch.Tensor) -> torch.Tensor:
        return critic(pair / 256, code)

    real = torch.cat([noisy - clean, clean], dim=1)
    np.testing.assert_array_equal(real, golden["critic_in"])
    np.testing.assert_allclose(score(real).detach(), golden["critic_out"], atol=1e-4)
    likelihood = model.likelihood(noisy, clean, code, tensor(golden, "u_noisy"), tensor(golden, "u"))
    steps = model.steps(clean, code, Randomness(tensor(golden, "z"), tensor(golden, "u")))
    np.testing.assert_allclose(steps.noisy.detach(), golden["train_fake_noisy"], atol=0.003)
    fake = torch.cat([steps.noisy - clean, clean], dim=1)
    adversarial = generator_loss(score, fake)
    np.testing.assert_allclose(adversarial.detach(), golden["loss_gan_generator"], rtol=1e-4)
    (likelihood.nll + adversarial).backward()
    check_gradients(model, golden, "generator")
    model.zero_grad()
    loss = critic_loss(score, real, fake, tensor(golden, "gp_alpha"))
    np.testing.assert_allclose(loss.detach(), golden["loss_gan_critic"], rtol=1e-4)
    loss.backward()
    check_gradients(model, golden, "critic")


def check_gradients(model: NMFlowGAN, golden: dict[str, np.ndarray], part: str) -> None:
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    names = [_rename(str(name)) for name in golden[f"grad_names_{part}"]]
    norms = golden[f"grad_norms_{part}"]
    scale = norms.max()
    for name, norm in zip(names, norms, strict=True):
        got = gradients[name].norm().item() if name in gradients else 0.0
        assert got == pytest.approx(norm, rel=2e-3, abs=1e-6 * scale), name


def test_denoiser(tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    write_checkpoint(tmp_path / "denoiser.safetensors", import_official(PARITY / "denoiser_small.pth"))
    denoiser = load_denoiser(tmp_path / "denoiser.safetensors")
    with torch.inference_mode():
        raw = denoiser(tensor(golden, "dncnn_in"))
    np.testing.assert_allclose(raw, golden["dncnn_raw_out"], atol=1e-5)
    np.testing.assert_allclose(raw.clamp(0, 1) * 256, golden["dncnn_denoised"], atol=0.003)
