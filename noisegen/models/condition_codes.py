"""Camera and ISO as what networks take: one-hot codes, table rows, and the encoders of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from noisegen.conditions import Condition, ConditionMix, Vocabulary

__all__ = [
    "ConditionCode",
    "ConditionTable",
    "ResidualEncoder",
    "code_of_rows",
    "condition_rows",
    "encode_conditions",
]


@dataclass(frozen=True)
class ConditionCode:
    """The conditions of a batch as tensors.

    Attributes:
        onehot: float32 [N, isos + cameras], N = B, or 2B when some ISO is interpolated (all lows, then all highs).
        row: int64 [N], iso index * cameras + camera index.
        weight: float32 [B], position between low and high; None when every ISO is a known one.
        part: which rows of the batch the pictures are of, in training by several processes: each encodes the conditions
            of the whole batch, so that batch norm sees them all, and takes its own.
    """

    onehot: Tensor
    row: Tensor
    weight: Tensor | None
    part: slice | None = None

    def blend(self, values: Tensor) -> Tensor:
        """[N, K] per-condition values -> [B, K], linear between the low and the high ISO's values."""
        if self.weight is not None:
            low, high = values.chunk(2)
            values = torch.lerp(low, high, self.weight.to(values.dtype)[:, None])
        return values if self.part is None else values[self.part]


def encode_conditions(
    vocabulary: Vocabulary, mixes: Sequence[ConditionMix], device: torch.device | str = "cpu"
) -> ConditionCode:
    """Looks the resolved conditions of a batch up in the vocabulary."""
    exact = all(mix.weight == 0 for mix in mixes)
    known = [mix.low for mix in mixes] if exact else [m.low for m in mixes] + [m.high for m in mixes]
    indices = torch.tensor([vocabulary.index(c) for c in known], dtype=torch.int64)
    iso, camera = indices[:, 0], indices[:, 1]
    onehot = torch.cat(
        [
            nn.functional.one_hot(iso, len(vocabulary.isos)),
            nn.functional.one_hot(camera, len(vocabulary.cameras)),
        ],
        dim=1,
    ).float()
    row = iso * len(vocabulary.cameras) + camera
    weight = None if exact else torch.tensor([mix.weight for mix in mixes], device=device)
    return ConditionCode(onehot.to(device), row.to(device), weight)


def condition_rows(vocabulary: Vocabulary, mixes: Sequence[ConditionMix]) -> Tensor:
    """The resolved conditions of a batch as numbers: float64 [B, 3], rows of the low and the high ISO, and weight."""

    def row(condition: Condition) -> int:
        iso, camera = vocabulary.index(condition)
        return iso * len(vocabulary.cameras) + camera

    numbers = [(row(mix.low), row(mix.high), mix.weight) for mix in mixes]
    return torch.tensor(numbers, dtype=torch.float64)


def code_of_rows(vocabulary: Vocabulary, rows: Tensor) -> ConditionCode:
    """`encode_conditions` from `condition_rows` on any device, without a word between it and the host."""
    row = torch.cat([rows[:, 0], rows[:, 1]]).long()
    cameras = len(vocabulary.cameras)
    places = torch.stack([row // cameras, row % cameras + len(vocabulary.isos)], dim=1)
    codes = torch.arange(len(vocabulary.isos) + cameras, device=rows.device)
    onehot = (places[:, :, None] == codes).any(dim=1).float()
    return ConditionCode(onehot, row, rows[:, 2].float())


class ResidualEncoder(nn.Module):
    """The paper's condition encoder: one-hot ISO and camera -> residual network -> [B, out] (section III-C)."""

    def __init__(self, codes: int, out: int, hidden: int = 5, blocks: int = 3) -> None:
        super().__init__()
        self.initial = nn.Linear(codes, hidden)
        self.blocks = nn.ModuleList(_ResidualBlock(hidden) for _ in range(blocks))
        self.final = nn.Linear(hidden, out)

    def forward(self, code: ConditionCode) -> Tensor:
        x = self.initial(code.onehot.to(self.initial.weight.dtype))
        for block in self.blocks:
            x = block(x)
        return code.blend(self.final(x))


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm1d(width, eps=1e-3) for _ in range(2))
        self.linears = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        last = self.linears[1]
        assert isinstance(last, nn.Linear)
        nn.init.uniform_(last.weight, -1e-3, 1e-3)
        nn.init.uniform_(last.bias, -1e-3, 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for norm, linear in zip(self.norms, self.linears, strict=True):
            h = linear(torch.relu(norm(h)))
        return x + h


class ConditionTable(nn.Module):
    """One learned row of `out` values per (ISO, camera): the compact model's condition encoder."""

    def __init__(self, rows: int, out: int, std: float = 1.0) -> None:
        super().__init__()
        table = torch.empty(rows, out)
        # where a checkpoint is about to be read, drawing would only load PyTorch's compiler, which takes seconds
        if not table.is_meta:
            table.normal_().mul_(std)
        self.table = nn.Parameter(table)

    def forward(self, code: ConditionCode) -> Tensor:
        return code.blend(self.table[code.row])
