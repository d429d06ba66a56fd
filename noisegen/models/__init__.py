"""Noise models: the protocol they share, loading by name or file, and preparation for fast synthesis."""

from __future__ import annotations

import copy
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
from noisegen.models.registry import model_type, model_types

if TYPE_CHECKING:
    from noisegen.models.learning import LearnedModel

__all__ = [
    "NoiseModel",
    "PreparedModel",
    "Randomness",
    "checkpoint_licence",
    "checkpoint_of_model",
    "checkpoint_sha256",
    "drawing_precision",
    "load_noise_model",
    "model_of_checkpoint",
    "prepare_for_synthesis",
]


def load_noise_model(source: str | Path = "default", *, device: str = "cpu") -> LearnedModel:
    """Loads a trained noise model of any type in eval mode, float32.

    >>> import noisegen
    >>> model = noisegen.load_noise_model()
    >>> "S6" in model.vocabulary.cameras, model.channels, model.bit_depth
    (True, 3, 8)
    >>> model.vocabulary.isos_of("S6")
    (100, 800)

    Args:
        source: "default" (comes with the package) or a .safetensors checkpoint.
        device: where to put it, for example "cpu" or "cuda".

    Raises:
        UsageError: the file is missing, no checkpoint, of something else than a noise model, or of a type that needs
            a package which is not installed.
    """
    path = resolve_checkpoint(source)
    return model_of_checkpoint(read_checkpoint(path), str(path)).to(device)


def model_of_checkpoint(checkpoint: Checkpoint, where: str) -> LearnedModel:
    """Builds the noise model of a checkpoint.

    Args:
        checkpoint: of any registered type.
        where: the file, for messages.

    Raises:
        UsageError: no such type, or names or shapes of the weights do not fit the stated architecture.
    """
    if checkpoint.kind not in model_types():
        raise UsageError(
            f"{where} holds a {checkpoint.kind}, not a noise model of a known type ({', '.join(model_types())})"
        )
    kind = model_type(checkpoint.kind)
    vocabulary = checkpoint.vocabulary
    if vocabulary is None:
        raise UsageError(f"{where} lists no cameras and ISO settings")
    return restore_module(
        lambda: kind.model(kind.sizes.from_dict(checkpoint.config), vocabulary), checkpoint.tensors, where
    )


def checkpoint_of_model(kind: str, model: LearnedModel, card: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint of a model of this type as it stands."""
    return Checkpoint(kind, model.sizes.to_dict(), model.state_dict(), model.vocabulary, card)


def drawing_precision(model: NoiseModel, precision: str, device: str) -> str:
    """The precision that a model's noise is drawn in, see `noisegen.devices.synthesis_precision`.

    Types other than NM-FlowGAN draw in float32.

    Raises:
        UsageError: the name is not known, or the model does not draw in it.
    """
    from noisegen.devices import synthesis_precision
    from noisegen.models.nm_flowgan.model import NMFlowGAN

    if isinstance(model, NMFlowGAN):
        return synthesis_precision(precision, device, latent=model.sizes.latent)
    if precision not in ("auto", "float32"):
        raise UsageError(f"this model draws its noise in float32, not in {precision}; leave --precision out")
    return "float32"


def prepare_for_synthesis(model: NoiseModel, *, device: str, precision: str = "float32") -> NoiseModel:
    """The model in its fastest form for drawing many pictures; same protocol, same function.

    Args:
        model: any noise model; those without a faster form come back as they are, on the device.
        device: where it will run.
        precision: "float32", or "bfloat16" or "float16" for the generator's convolutions.
    """
    import torch

    from noisegen.models.learning import LearnedModel
    from noisegen.models.nm_flowgan.model import NMFlowGAN
    from noisegen.models.nm_flowgan.runtime import FusedNMFlowGAN

    if isinstance(model, NMFlowGAN):
        dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        return FusedNMFlowGAN(model, device, dtypes[precision])
    if isinstance(model, LearnedModel) and device != "cpu":
        # a copy, as each of several devices has one of its own
        return copy.deepcopy(model).to(device)
    return model
