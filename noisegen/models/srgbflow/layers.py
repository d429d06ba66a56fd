"""The invertible layers of sRGBFlow, each with its inverse and its log-determinant.

They have one interface. `forward(x, clean, code)` goes from noise towards latent and returns the output and the
log-determinant [B] in nats per picture; `inverse(z, clean, code)` goes back. x, z and the clean picture are float
[B, C, H, W].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from noisegen.models.condition_codes import ConditionCode, ConditionTable

__all__ = ["ConditionalCoupling", "ConditionalLinear", "Invertible1x1"]


class ConditionalLinear(nn.Module):
    """Conditional linear flow: z = x * exp(s) + b, with s and b of each (ISO, camera) and channel."""

    def __init__(self, rows: int, channels: int) -> None:
        super().__init__()
        self.log_scale = ConditionTable(rows, channels, std=0.0)
        self.bias = ConditionTable(rows, channels, std=0.0)

    def forward(self, x: Tensor, clean: Tensor, code: ConditionCode) -> tuple[Tensor, Tensor]:
        log_scale, bias = self._tables(code)
        pixels = x.shape[2] * x.shape[3]
        return x * log_scale.exp() + bias, pixels * log_scale.sum(dim=(1, 2, 3))

    def inverse(self, z: Tensor, clean: Tensor, code: ConditionCode) -> Tensor:
        log_scale, bias = self._tables(code)
        return (z - bias) * torch.exp(-log_scale)

    def _tables(self, code: ConditionCode) -> tuple[Tensor, Tensor]:
        return self.log_scale(code)[:, :, None, None], self.bias(code)[:, :, None, None]


class Invertible1x1(nn.Module):
    """z = W x at each pixel, with W = P (L + 1) (U + diag(sign * exp(d))) (Glow, Kingma and Dhariwal 2018).

    P and the signs are constant, L is strictly lower and U strictly upper triangular, so that log |det W| is the sum of
    d. As in the authors' file L and U are kept as whole matrices, of which one triangle counts. W starts as a random
    rotation or reflection.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("permutation", torch.zeros(channels, channels))
        self.register_buffer("sign", torch.ones(channels))
        self.lower = nn.Parameter(torch.zeros(channels, channels))
        self.upper = nn.Parameter(torch.zeros(channels, channels))
        self.log_diagonal = nn.Parameter(torch.zeros(channels))
        if not self.sign.is_meta:
            self.set_matrix(torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64))[0])

    def set_matrix(self, matrix: Tensor) -> None:
        """Makes W this invertible matrix, float64 [C, C]."""
        permutation, lower, upper = torch.linalg.lu(matrix)
        diagonal = upper.diagonal()
        with torch.no_grad():
            self.permutation.copy_(permutation)
            self.sign.copy_(diagonal.sign())
            self.lower.copy_(lower.tril(-1))
            self.upper.copy_(upper.triu(1))
            self.log_diagonal.copy_(diagonal.abs().log())

    def matrix(self) -> Tensor:
        """W [C, C]."""
        lower = self.lower.tril(-1) + torch.eye(len(self.sign)).to(self.lower)
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())
        return self.permutation @ lower @ upper

    def forward(self, x: Tensor, clean: Tensor, code: ConditionCode) -> tuple[Tensor, Tensor]:
        pixels = x.shape[2] * x.shape[3]
        log_det = (pixels * self.log_diagonal.sum()).expand(len(x))
        return conv2d(x, self.matrix()[:, :, None, None]), log_det

    def inverse(self, z: Tensor, clean: Tensor, code: ConditionCode) -> Tensor:
        inverse = torch.linalg.inv(self.matrix().double()).to(z)
        return conv2d(z, inverse[:, :, None, None])


class ConditionalCoupling(nn.Module):
    """Conditional affine coupling: a part x_A passes, and scales and shifts the other part x_B.

    z_A = x_A,  z_B = x_B * exp(s) + t,  s = w(ISO, camera) * a * tanh(r),  (t, r) = network(x_A, clean)

    w is one learned number of the condition, a one learned number. In a colour picture x_A is the first channel and x_B
    the other two. The paper has colour pictures only: the one channel of a grey picture is split like a chessboard,
    and x_A are the pixels where row + column + `turn` is even.

    Args:
        encoder: code of the conditions -> w, [B, 1].
        channels: of the picture, 1 or 3.
        width: hidden channels of the network.
        batch_norm: batch norm behind the hidden convolutions.
        turn: 0 or 1, which of the chessboard's colours passes; of no meaning in a colour picture.
    """

    def __init__(
        self, encoder: nn.Module, channels: int, width: int, *, batch_norm: bool, turn: int = 0
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.turn = turn
        self.passing = channels // 2
        changed = channels - self.passing
        seen = max(1, self.passing) + channels
        self.network = _CouplingNetwork(seen, 2 * changed, width, batch_norm)
        self.amplitude = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, clean: Tensor, code: ConditionCode) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._affine(x, clean, code)
        return x * log_scale.exp() + shift, log_scale.sum(dim=(1, 2, 3))

    def inverse(self, z: Tensor, clean: Tensor, code: ConditionCode) -> Tensor:
        log_scale, shift = self._affine(z, clean, code)
        return (z - shift) * torch.exp(-log_scale)

    def _affine(self, values: Tensor, clean: Tensor, code: ConditionCode) -> tuple[Tensor, Tensor]:
        """s and t, 0 in the part that passes, which is all of `values` that they depend on; [B, C, H, W] both."""
        weight = self.encoder(code)[:, :, None, None] * self.amplitude
        if self.passing:
            shift, raw = self.network(torch.cat([values[:, : self.passing], clean], dim=1)).chunk(2, dim=1)
            none = torch.zeros_like(values[:, : self.passing])
            return torch.cat([none, weight * raw.tanh()], dim=1), torch.cat([none, shift], dim=1)
        changed = self._chessboard(values)
        shift, raw = self.network(torch.cat([values * (1 - changed), clean], dim=1)).chunk(2, dim=1)
        return weight * raw.tanh() * changed, shift * changed

    def _chessboard(self, values: Tensor) -> Tensor:
        """1 at the pixels that are changed, [H, W]."""
        rows, columns = (torch.arange(side, device=values.device) for side in values.shape[2:])
        return ((rows[:, None] + columns + self.turn) % 2).to(values.dtype)


class _CouplingNetwork(nn.Module):
    """3x3, 1x1 and 3x3 convolutions; each output channel is scaled by exp(3 g), with g learned (as in Glow).

    The last convolution also sees where the picture ends: a channel that is 1 in the ring of pixels around it and 0
    inside. It starts at 0, so that a coupling starts as the identity.
    """

    def __init__(self, seen: int, out: int, width: int, batch_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for convolution in (nn.Conv2d(seen, width, 3, padding=1), nn.Conv2d(width, width, 1)):
            layers += [convolution, *([nn.BatchNorm2d(width)] if batch_norm else []), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.last = nn.Conv2d(width + 1, out, 3)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)
        self.log_gain = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(x)
        width = hidden.shape[1]
        # The ring is the same for all pictures, so its part of the convolution is computed once.
        ring = hidden.new_ones(1, 1, hidden.shape[2] + 2, hidden.shape[3] + 2)
        ring[:, :, 1:-1, 1:-1] = 0
        weight = self.last.weight
        out = conv2d(hidden, weight[:, :width], self.last.bias, padding=1) + conv2d(ring, weight[:, width:])
        return out * torch.exp(3 * self.log_gain)[:, None, None]
