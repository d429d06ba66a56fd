"""The conditional affine layers of the pixel-wise flow (paper section III-C, equations 9 to 13)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from noisegen.models.condition_codes import ConditionCode

__all__ = [
    "ConditionalLinear",
    "IntensityCurve",
    "SignalDependent",
    "StructureAware",
    "TailWeight",
    "ToneCurve",
    "on_curve",
    "pixel_shuffle",
    "pixel_unshuffle",
    "repeat",
    "split_affine",
]

# Adam moves every parameter by about the learning rate in a step. Curves and tails have further to go than weights.
FAR = 10.0
NEAR = 3.0


class ConditionalLinear(nn.Module):
    """CL2: log-scale and bias per channel from a table over (ISO, camera) (equation 9, after sRGBFlow).

    With a period of more than one pixel they also depend on the position in squares of so many.
    """

    def __init__(self, rows: int, channels: int, shift: bool = True, period: int = 1) -> None:
        super().__init__()
        shape = (rows, channels) if period == 1 else (rows, channels, period, period)
        self.log_scale = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(shape)) if shift else None

    def forward(self, clean: Tensor, code: ConditionCode) -> tuple[Tensor, Tensor | None]:
        tables = self.tables(code)
        return repeat(tables[0], clean), None if tables[1] is None else repeat(tables[1], clean)

    def tables(self, code: ConditionCode) -> tuple[Tensor, Tensor | None]:
        """Log-scale and bias, [B, C, period, period]."""
        log_scale = self._blend(self.log_scale, code)
        return log_scale, None if self.bias is None else self._blend(self.bias, code)

    def _blend(self, table: Tensor, code: ConditionCode) -> Tensor:
        values = table[code.row]
        shape = values.shape[1:] if values.dim() == 4 else (*values.shape[1:], 1, 1)
        return code.blend(values.flatten(1)).unflatten(1, shape)


def repeat(square: Tensor, picture: Tensor) -> Tensor:
    """[B, C, period, period] side by side over a picture [.., H, W]; a period of 1 is left to broadcasting."""
    period = square.shape[-1]
    if period == 1:
        return square
    height, width = picture.shape[2:]
    tiled = square.repeat(1, 1, -(-height // period), -(-width // period))
    return tiled[:, :, :height, :width]


class IntensityCurve(nn.Module):
    """Log-scale of each channel as a curve over its own clean value, for each condition: straight between knots.

    The camera's noise level function, which takes the other layers long to learn. The channels share it: what is bright
    in none of the training scenes in one channel is so in another.
    """

    def __init__(self, rows: int, knots: int) -> None:
        super().__init__()
        self.knots = nn.Parameter(torch.zeros(rows, knots))

    def curve(self, code: ConditionCode) -> Tensor:
        """Log-scales at the knots, [B, knots]."""
        return NEAR * code.blend(self.knots[code.row])

    def forward(self, clean: Tensor, code: ConditionCode) -> tuple[Tensor, None]:
        return on_curve(clean, self.curve(code)), None


def on_curve(clean: Tensor, curve: Tensor) -> Tensor:
    """Values [B, C, H, W] of curves [B, knots], evenly spaced over 0 to 1, at clean [B, C, H, W]."""
    last = curve.shape[1] - 1
    position = (clean * last).clamp(0, last)
    left = position.floor().clamp(max=last - 1)
    index = left.long().flatten(1)
    start, end = (curve.gather(1, index + step).view(clean.shape) for step in (0, 1))
    return torch.lerp(start, end, position - left)


class SignalDependent(nn.Module):
    """SDL: log-scale and bias per pixel from the clean value and the condition (equations 10 and 11)."""

    def __init__(
        self, encoder: nn.Module, channels: int, widths: Sequence[int], norm: bool, shift: bool = True
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.shift = shift
        layers: list[nn.Module] = [nn.Conv2d(2 * channels, widths[0], 1)]
        if not norm:
            layers.append(nn.LeakyReLU(0.2))
        for before, after in pairwise(widths):
            layers.append(nn.Conv2d(before, after, 1))
            if norm:
                layers.append(nn.InstanceNorm2d(after, affine=True))
            layers.append(nn.LeakyReLU(0.2))
        layers += [nn.Conv2d(widths[-1], (1 + shift) * channels, 1), nn.Tanh()]
        self.body = nn.Sequential(*layers)

    def forward(self, clean: Tensor, code: ConditionCode) -> tuple[Tensor, Tensor | None]:
        embedding = self.encoder(code)[:, :, None, None].expand(-1, -1, *clean.shape[2:])
        return split_affine(self.body(torch.cat([embedding, clean], dim=1)), self.shift)


class StructureAware(nn.Module):
    """SAL: log-scale and bias per pixel from the clean neighbourhood, weighted by the condition (equations 12, 13).

    With a stride the neighbourhood is seen in squares of pixels, which reaches as far with a fraction of the
    arithmetic. With `modulation` the condition also scales and shifts the channels of every hidden layer.
    """

    def __init__(
        self,
        encoder: nn.Module,
        channels: int,
        width: int,
        depth: int,
        stride: int = 1,
        shift: bool = True,
        modulation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.stride = stride
        self.shift = shift
        self.modulation = modulation
        squares = channels * stride**2
        layers: list[nn.Module] = [nn.Conv2d(squares, width, 1), nn.ReLU()]
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(width, (1 + shift) * squares, 1), nn.Tanh()]
        self.body = nn.Sequential(*layers)

    def forward(self, clean: Tensor, code: ConditionCode) -> tuple[Tensor, Tensor | None]:
        weights = self.encoder(code)[:, :, None, None]
        height, width = clean.shape[2:]
        x = pixel_unshuffle(clean, self.stride)
        changes = iter(self.hidden_changes(code))
        for layer in self.body:
            if isinstance(layer, nn.ReLU):
                change = next(changes, None)
                x = x if change is None else change[0] * x + change[1]
            x = layer(x)
        return split_affine(pixel_shuffle(x, self.stride)[:, :, :height, :width] * weights, self.shift)

    def hidden_changes(self, code: ConditionCode) -> list[tuple[Tensor, Tensor]]:
        """Scale and bias [B, width, 1, 1] of each hidden layer's output; none without modulation."""
        if self.modulation is None:
            return []
        hidden = sum(isinstance(layer, nn.ReLU) for layer in self.body)
        values = self.modulation(code)[:, :, None, None].chunk(2 * hidden, dim=1)
        return [(1 + scale, bias) for scale, bias in zip(values[::2], values[1::2], strict=True)]


class ToneCurve(nn.Module):
    """gamma and toe of each camera's tone curve, see `noisegen.models.nm_flowgan.transform`.

    It starts as no curve at all.
    """

    def __init__(self, cameras: int) -> None:
        super().__init__()
        self.log_gamma = nn.Parameter(torch.zeros(cameras, 1))
        self.log_toe = nn.Parameter(torch.full((cameras, 1), math.log(1 / 16) / FAR))

    def forward(self, code: ConditionCode) -> tuple[Tensor, Tensor]:
        """(gamma, toe), each [B, 1, 1, 1]; the toe in units of 2**bit_depth grey levels."""
        camera = code.row % len(self.log_gamma)
        gamma, toe = (
            torch.exp(FAR * code.blend(table[camera]))[:, :, None, None]
            for table in (self.log_gamma, self.log_toe)
        )
        return gamma, toe


class TailWeight(nn.Module):
    """The tails of each condition's and channel's noise, see `noisegen.models.nm_flowgan.transform`."""

    def __init__(self, rows: int, channels: int) -> None:
        super().__init__()
        self.log_tail = nn.Parameter(torch.zeros(rows, channels))

    def forward(self, code: ConditionCode) -> Tensor:
        """Tail weight [B, C, 1, 1]; 1 is the Gaussian's, below it is heavier."""
        return torch.exp(FAR * code.blend(self.log_tail[code.row]))[:, :, None, None]


def split_affine(values: Tensor, shift: bool) -> tuple[Tensor, Tensor | None]:
    """What a layer's network puts out, as log-scale and bias."""
    if not shift:
        return values, None
    log_scale, bias = values.chunk(2, dim=1)
    return log_scale, bias


def pixel_unshuffle(picture: Tensor, stride: int) -> Tensor:
    """Squares of stride x stride pixels as channels; sides that are no multiple of it are replicated to the next."""
    if stride == 1:
        return picture
    bottom, right = -picture.shape[2] % stride, -picture.shape[3] % stride
    if bottom or right:
        picture = nn.functional.pad(picture, (0, right, 0, bottom), mode="replicate")
    # faster on a CPU than nn.functional.pixel_unshuffle
    squares = picture.unflatten(3, (-1, stride)).unflatten(2, (-1, stride))
    return squares.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def pixel_shuffle(picture: Tensor, stride: int) -> Tensor:
    """The inverse of `pixel_unshuffle`, up to the padding."""
    if stride == 1:
        return picture
    squares = picture.unflatten(1, (-1, stride, stride))
    return squares.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)
