"""Import of published files (.pth), of NM-FlowGAN's and sRGBFlow's authors, into noisegen checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from noisegen.conditions import Vocabulary
from noisegen.errors import UsageError
from noisegen.models.checkpoint import Checkpoint
from noisegen.suggestions import did_you_mean_path

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["OFFICIAL_CAMERAS", "OFFICIAL_ISOS", "import_official"]

# Not stored in the authors' files; the code of both fixes these lists and this order.
OFFICIAL_CAMERAS = ("IP", "GP", "S6", "N6", "G4")
OFFICIAL_ISOS = (100, 400, 800, 1600, 3200)

# Position of the authors' signal-dependent layers (conv, norm) in one flat sequence.
_SIGNAL_LAYERS = {"0": 0, "1.0": 1, "1.1": 2, "2.0": 4, "2.1": 5, "3.0": 7, "3.1": 8, "4": 10}

_RENAMES: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"^bijectors\.(\d+)\.(log_scale|bias)$", lambda m: f"flow.layers.{int(m[1]) - 1}.{m[2]}"),
    (r"^bijectors\.(\d+)\.meta_encoder\.(.+)$", lambda m: f"flow.layers.{int(m[1]) - 1}.encoder.{m[2]}"),
    (r"^bijectors\.(\d+)\.structure_encoder\.(.+)$", lambda m: f"flow.layers.{int(m[1]) - 1}.{m[2]}"),
    (
        r"^bijectors\.(\d+)\.scale_and_bias\.body\.([\d.]+)\.(weight|bias)$",
        lambda m: f"flow.layers.{int(m[1]) - 1}.body.{_SIGNAL_LAYERS[m[2]]}.{m[3]}",
    ),
    (r"^generator\.down_path\.(\d+)\.block\.(.+)$", r"generator.down.\1.\2"),
    (r"^generator\.up_path\.(\d+)\.up\.(.+)$", r"generator.up.\1.\2"),
    (r"^generator\.up_path\.(\d+)\.conv_block\.block\.(.+)$", r"generator.merge.\1.\2"),
    (r"^critic\.features\.0\.(weight|bias)$", r"critic.first.\1"),
    (r"^critic\.features\.(\d+)\.(.+)$", lambda m: f"critic.features.{int(m[1]) - 1}.{m[2]}"),
]
_PARTS = {
    "initial_layer": "initial",
    "final_layer": "final",
    "batch_norm_layers": "norms",
    "linear_layers": "linears",
}
# Constants of the authors' modules that carry no weights.
_CONSTANTS = {"pre_bijectors.0.ldj_per_dim", "dist.buffer"}


def import_official(path: Path) -> Checkpoint:
    """Reads authors' noise model or denoiser file with `weights_only`, so nothing in it is executed.

    Args:
        path: `{'model_weight': {'generator': ..., 'critic': ...}}` or `{'model_weight': {'denoiser': ...}}` of
            NM-FlowGAN, or `{'state_dict': ...}` of sRGBFlow.

    Returns:
        A checkpoint of kind "nm-flowgan" (with critic), "dncnn" or "srgbflow".

    Raises:
        UsageError: not such a file, or of another architecture.
    """
    import torch

    if not path.is_file():
        raise UsageError(f"{path} does not exist{did_you_mean_path(path)}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # A malformed pickle can raise almost anything.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path} is not a PyTorch file of plain weights: {reason}") from error
    parts = content if isinstance(content, Mapping) else {}
    weights, state = parts.get("model_weight"), parts.get("state_dict")
    try:
        if isinstance(weights, Mapping) and "denoiser" in weights:
            return _import_denoiser(weights["denoiser"], path)
        if isinstance(weights, Mapping):
            return _import_noise_model(weights["generator"], weights.get("critic", {}), path)
        if isinstance(state, Mapping):
            from noisegen.models.srgbflow.published import import_srgbflow

            return import_srgbflow(state, path, OFFICIAL_CAMERAS, OFFICIAL_ISOS)
    except (KeyError, IndexError, AttributeError, StopIteration, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not laid out as the authors' file ({error!r})") from error
    raise UsageError(
        f"{path} has neither 'model_weight' nor 'state_dict'; expected the authors' file of NM-FlowGAN, its DnCNN, "
        "or sRGBFlow"
    )


def _import_noise_model(
    generator: Mapping[str, Tensor], critic: Mapping[str, Tensor], path: Path
) -> Checkpoint:
    from noisegen.models import checkpoint_of_model, model_of_checkpoint
    from noisegen.models.nm_flowgan.sizes import NMFlowGANSizes

    rows, channels = generator["bijectors.3.log_scale"].shape
    if rows != len(OFFICIAL_CAMERAS) * len(OFFICIAL_ISOS):
        raise UsageError(
            f"{path} has {rows} conditions; the authors' model has {len(OFFICIAL_ISOS)} ISO settings x "
            f"{len(OFFICIAL_CAMERAS)} cameras, and the file does not name them"
        )
    config = NMFlowGANSizes(
        channels=channels,
        unet_width=generator["generator.down_path.0.block.0.weight"].shape[0],
        unet_depth=len({k.split(".")[2] for k in generator if k.startswith("generator.down_path.")}),
        critic_width=critic["critic.features.0.weight"].shape[0] if critic else 64,
    )
    tensors = {
        _rename(name): tensor
        for name, tensor in [*generator.items(), *critic.items()]
        if name not in _CONSTANTS
    }
    vocabulary = Vocabulary.grid(OFFICIAL_CAMERAS, OFFICIAL_ISOS)
    card = {
        "imported_from": path.name,
        "training_data": "SIDD-Medium sRGB, as stated by the authors (arXiv 2312.10112)",
        "licence": "the authors' (MIT for their code; SIDD's terms for its pictures)",
    }
    checkpoint = Checkpoint("nm-flowgan", config.to_dict(), tensors, vocabulary, card)
    return checkpoint_of_model("nm-flowgan", model_of_checkpoint(checkpoint, str(path)), card)


def _import_denoiser(weights: Mapping[str, Tensor], path: Path) -> Checkpoint:
    prefix = "denoiser.dncnn."
    tensors = {
        "body." + name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }
    first = tensors["body.0.weight"]
    convolutions = sum(t.dim() == 4 for t in tensors.values())
    config = {"channels": first.shape[1], "layers": convolutions, "width": first.shape[0], "bit_depth": 8}
    return Checkpoint("dncnn", config, tensors, None, {"imported_from": path.name})


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMES:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            name = renamed
            break
    return ".".join(_PARTS.get(part, part) for part in name.split("."))
