"""Noise models: the protocol they share, loading by name or file, and preparation for fast synthesis."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisegen.errors import UsageError
from noisegen.models.checkpoint import (
    Checkpoint,
    checkpoint_licence,
    checkpoint_sha256,
    read_checkpoint,
    resolve_checkpoint,
    restore_module,
)
from noisegen.models.protocol import NoiseModel, PreparedModel, Randomness

if TYPE_CHECKING:
    from noisegen.models.nm_flowgan.model import NMFlowGAN

__all__ = [
    "NoiseModel",
    "PreparedModel",
    "Randomness",
    "checkpoint_licence",
    "checkpoint_sha256",
    "drawing_precision",
    "load_noise_model",
    "nm_flowgan_checkpoint",
    "nm_flowgan_from_checkpoint",
    "prepare_for_synthesis",
]

NM_FLOWGAN = "nm-flowgan"


def load_noise_model(source: str | Path = "default", *, device: str = "cpu") -> NMFlowGAN:
    """Loads a trained noise model in eval mode, float32.

    Args:
        source: "default" (comes with the package) or a .safetensors checkpoint.
        device: where to put it, for example "cpu" or "cuda".

    Raises:
        UsageError: the file is missing, no checkpoint, or of something else than a noise model.
    """
    path = resolve_checkpoint(source)
    checkpoint = read_checkpoint(path)
    if checkpoint.kind != NM_FLOWGAN:
        raise UsageError(f"{path} holds a {checkpoint.kind}, not a noise model")
    return nm_flowgan_from_checkpoint(checkpoint, str(path)).to(device)


def nm_flowgan_from_checkpoint(checkpoint: Checkpoint, where: str) -> NMFlowGAN:
    """Builds the model of a checkpoint, with its critic when the weights hold one.

    Raises:
        UsageError: names or shapes of the weights do not fit the stated architecture.
    """
    from noisegen.models.nm_flowgan.config import config_from_dict
    from noisegen.models.nm_flowgan.model import NMFlowGAN

    vocabulary = checkpoint.vocabulary
    if vocabulary is None:
        raise UsageError(f"{where} lists no cameras and ISO settings")
    has_critic = any(name.startswith("critic.") for name in checkpoint.tensors)
    return restore_module(
        lambda: NMFlowGAN(config_from_dict(checkpoint.config), vocabulary, critic=has_critic),
        checkpoint.tensors,
        where,
    )


def nm_flowgan_checkpoint(model: NMFlowGAN, card: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint of a model as it stands."""
    return Checkpoint(NM_FLOWGAN, model.config.to_dict(), model.state_dict(), model.vocabulary, card)


def drawing_precision(model: NoiseModel, precision: str, device: str) -> str:
    """The precision that a model's noise is drawn in, see `noisegen.devices.synthesis_precision`.

    Types other than NM-FlowGAN draw in float32.

    Raises:
        UsageError: the name is not known, or the model does not draw in it.
    """
    from noisegen.devices import synthesis_precision
    from noisegen.models.nm_flowgan.model import NMFlowGAN

    if isinstance(model, NMFlowGAN):
        return synthesis_precision(precision, device, latent=model.config.latent)
    if precision not in ("auto", "float32"):
        raise UsageError(f"this model draws its noise in float32, not in {precision}; leave --precision out")
    return "float32"


def prepare_for_synthesis(model: NoiseModel, *, device: str, precision: str = "float32") -> NoiseModel:
    """The model in its fastest form for drawing many pictures; same protocol, same function.

    Args:
        model: any noise model; those without a faster form come back as they are.
        device: where it will run.
        precision: "float32", or "bfloat16" or "float16" for the generator's convolutions.
    """
    import torch

    from noisegen.models.nm_flowgan.model import NMFlowGAN
    from noisegen.models.nm_flowgan.runtime import FusedNMFlowGAN

    if isinstance(model, NMFlowGAN):
        dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        return FusedNMFlowGAN(model, device, dtypes[precision])
    return model
