"""Import of the authors' published sRGBFlow (.pth) into a noisegen checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import UsageError
from noisegen.models.checkpoint import Checkpoint, restore_module
from noisegen.models.srgbflow.layers import ConditionalCoupling, ConditionalLinear, Invertible1x1
from noisegen.models.srgbflow.model import SRGBFlow, SRGBFlowSizes

__all__ = ["import_srgbflow"]

# Layers 0 and 1 of the file are dequantization and subtraction of the clean picture, which have no weights.
FIRST_LAYER = 2

# Names in a layer of the file -> names in a layer here
_RENAMES = [
    (r"^(log_scale|bias)$", r"\1.table"),
    (r"^p$", "permutation"),
    (r"^sign_s$", "sign"),
    (r"^l$", "lower"),
    (r"^u$", "upper"),
    (r"^log_s$", "log_diagonal"),
    (r"^_shift_and_log_scale\.scale$", "amplitude"),
    (r"^_shift_and_log_scale\.logs$", "network.log_gain"),
    (r"^_shift_and_log_scale\.conv2d_3\.", "network.last."),
    (r"^_shift_and_log_scale\.net\.", "network.hidden."),
    (r"^_encoder\.initial_layer\.", "encoder.initial."),
    (r"^_encoder\.final_layer\.", "encoder.final."),
    (r"^_encoder\.(blocks\.\d+)\.batch_norm_layers\.", r"encoder.\1.norms."),
    (r"^_encoder\.(blocks\.\d+)\.linear_layers\.", r"encoder.\1.linears."),
]
# Constants without weights, and convolutions that the file holds twice, under `net` too
_LEFT_OUT = re.compile(
    r"^(model\.0|data_pre_processing\.0)\.ldj_per_dim$|^base_dist\.buffer$"
    r"|^model\.\d+\._shift_and_log_scale\.conv2d_[12]\."
)


def import_srgbflow(
    weights: Mapping[str, Tensor], path: Path, cameras: Sequence[str], isos: Sequence[int]
) -> Checkpoint:
    """The checkpoint of a file of the authors' code.

    That code reads pictures blue first; the weights are changed to red first. A condition whose row is 0 in all
    conditional linear layers was in no training pair, and is left out of those that the model knows.

    Args:
        weights: the file's `state_dict`.
        path: for messages and the card.
        cameras, isos: in the order of the authors' code; the file does not name them.

    Raises:
        UsageError: another architecture.
    """
    tensors = {}
    for name, values in weights.items():
        if _LEFT_OUT.search(name):
            continue
        renamed = _renamed(name)
        if renamed is None:
            raise UsageError(f"{path} holds {name!r}, which no layer of an sRGBFlow has")
        tensors[renamed] = values.flatten() if renamed.endswith(".log_gain") else values
    sizes = _sizes(tensors)
    grid = Vocabulary.grid(cameras, isos)
    model = restore_module(lambda: SRGBFlow(sizes, grid), tensors, str(path))
    vocabulary = Vocabulary(grid.cameras, grid.isos, _trained(model, grid))
    _reverse_channels(model)
    card = {
        "imported_from": path.name,
        "training_data": "SIDD-Medium sRGB, as stated by the authors (arXiv 2206.00812)",
        "licence": "the authors' (CC BY-NC 4.0 for their repository; SIDD's terms for its pictures)",
    }
    return Checkpoint("srgbflow", sizes.to_dict(), model.state_dict(), vocabulary, card)


def _renamed(name: str) -> str | None:
    layer = re.match(r"^model\.(\d+)\.(.+)$", name)
    if layer is None or int(layer[1]) < FIRST_LAYER:
        return None
    for pattern, replacement in _RENAMES:
        renamed, count = re.subn(pattern, replacement, layer[2])
        if count:
            return f"layers.{int(layer[1]) - FIRST_LAYER}.{renamed}"
    return None


def _sizes(tensors: Mapping[str, Tensor]) -> SRGBFlowSizes:
    """The sizes that the names and shapes of the weights speak of; `restore_module` finds out whether all fit them."""
    blocks = sum(name.endswith(".log_scale.table") for name in tensors)
    couplings = sum(name.endswith(".amplitude") for name in tensors)
    width = next(len(values) for name, values in tensors.items() if name.endswith(".hidden.0.bias"))
    return SRGBFlowSizes(blocks=blocks, couplings=couplings // max(1, blocks), width=width)


def _trained(model: SRGBFlow, grid: Vocabulary) -> tuple[Condition, ...]:
    """The conditions that training has changed anything for."""
    linear = [layer for layer in model.layers if isinstance(layer, ConditionalLinear)]
    moved = torch.cat([table.table for layer in linear for table in (layer.log_scale, layer.bias)], dim=1)
    rows = {iso * len(grid.cameras) + camera: (iso, camera) for iso, camera in map(grid.index, grid.known)}
    seen = [rows[row] for row in moved.ne(0).any(dim=1).nonzero().flatten().tolist()]
    return tuple(sorted(Condition(grid.cameras[camera], grid.isos[iso]) for iso, camera in seen))


def _reverse_channels(model: SRGBFlow) -> None:
    """Makes a model of pictures with blue first one of pictures with red first.

    Behind the first 1x1 convolution channels are no colours any more, so what changes is what comes before it, and
    where the clean picture enters.
    """
    with torch.no_grad():
        first, mixing = model.layers[:2]
        assert isinstance(first, ConditionalLinear) and isinstance(mixing, Invertible1x1)
        for table in (first.log_scale.table, first.bias.table):
            table.copy_(table.flip(1))
        mixing.set_matrix(mixing.matrix().double().flip(1))
        for layer in model.layers:
            if isinstance(layer, ConditionalCoupling):
                weight = layer.network.hidden[0].weight
                assert isinstance(weight, Tensor)
                weight[:, layer.passing :] = weight[:, layer.passing :].flip(1)
