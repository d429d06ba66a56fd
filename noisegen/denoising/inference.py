"""Denoising of whole photographs: any size, tile by tile, with the result of one pass over the whole picture."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from noisegen.denoising.dncnn import DnCNN
from noisegen.errors import InputError, UsageError

__all__ = ["DEFAULT_TILE", "Denoiser"]

DEFAULT_TILE = 512
SMALLEST_TILE = 32


class Denoiser:
    """A DnCNN prepared for use on pictures: BatchNorm folded into the convolutions, channels-last layout.

    A picture is computed in tiles that see as much of their surroundings as the convolutions reach, and only at the
    picture's border the zeros that the network pads with. So tiles leave no seam: a value differs from that of
    `DnCNN` on the whole picture by rounding alone.

    Args:
        model: the denoiser; it is not changed.
        device: where to run: cpu or cuda.
        precision: of the convolutions, float32 or bfloat16. The picture itself stays float32: the network computes
            the noise, which is subtracted.
        tile: side of a tile in pixels, without its surroundings. Memory grows with its square: 512 pixels take
            about 0.2 GB for 64 channels. A GPU too small for it gets tiles of half the side.
        bit_depth: of the pictures' values where it is not the model's; they are scaled by it.

    Attributes:
        channels: of the pictures, 1 (grey) or 3 (RGB).
        bit_depth: of the pictures' values, 8 to 16.
        tile: side in use.
    """

    def __init__(
        self,
        model: DnCNN,
        *,
        device: str = "cpu",
        precision: str = "float32",
        tile: int = DEFAULT_TILE,
        bit_depth: int | None = None,
    ) -> None:
        if tile < 1:
            raise ValueError(f"the side of a tile must be positive, not {tile}")
        if bit_depth is not None and (bit_depth > 8) != (model.bit_depth > 8):
            raise UsageError(
                f"the denoiser is for pictures of {model.bit_depth} bits, which cannot stand for {bit_depth}; "
                "use one trained for them"
            )
        self.channels = model.channels
        self.bit_depth = bit_depth or model.bit_depth
        self.tile = tile
        self.reach = model.layers  # each 3x3 convolution looks one pixel further
        self.device = torch.device(device)
        self.dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        body = _fold(model.body)
        self.body = body.to(self.device, self.dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def denoise(
        self, noisy: np.ndarray, *, advance: Callable[[int], object] = lambda pixels: None
    ) -> np.ndarray:
        """Denoises one picture.

        Args:
            noisy: [H, W, C] grey levels below 2**bit_depth, uint8 for a bit depth of 8, else uint16; any H and W.
            advance: told the number of pixels that were denoised since the last call.

        Returns:
            The same shape and type.

        Raises:
            InputError: ``format_mismatch``: other channels, type or range than the denoiser is for.
            UsageError: not even a small tile fits into the GPU's memory.
        """
        self._check(noisy)
        denoised = np.empty_like(noisy, order="C")
        areas = [_Area(0, 0, *noisy.shape[:2])]
        while areas:
            area = areas.pop()
            if max(area.bottom - area.top, area.right - area.left) > self.tile:
                areas.extend(reversed(area.split(self.tile)))
            elif self._fill(denoised, noisy, area):
                advance(area.pixels)
            else:
                self._halve_tile()
                areas.append(area)
        return denoised

    def _fill(self, denoised: np.ndarray, noisy: np.ndarray, area: _Area) -> bool:
        """Computes one area of the picture; False where the GPU's memory does not suffice."""
        top, left = max(0, area.top - self.reach), max(0, area.left - self.reach)
        seen = noisy[top : area.bottom + self.reach, left : area.right + self.reach]
        try:
            result = self._run(seen)
        except torch.cuda.OutOfMemoryError:
            return False
        denoised[area.top : area.bottom, area.left : area.right] = result[
            area.top - top : area.bottom - top, area.left - left : area.right - left
        ]
        return True

    @torch.inference_mode()
    def _run(self, noisy: np.ndarray) -> np.ndarray:
        """[H, W, C] in grey levels, in and out, as one piece."""
        levels = 2**self.bit_depth
        # through int32, because torch knows little of uint16
        pixels = torch.from_numpy(noisy.astype(np.int32, order="C")).to(self.device)
        x = pixels.permute(2, 0, 1)[None].to(torch.float32).div_(levels)
        x = x.contiguous(memory_format=torch.channels_last)
        residual: Tensor = self.body(x.to(self.dtype))
        values = (x - residual).clamp_(0, 1).mul_(levels).round_().clamp_(max=levels - 1)
        return values[0].permute(1, 2, 0).to(torch.int32).cpu().numpy().astype(noisy.dtype)

    def _halve_tile(self) -> None:
        torch.cuda.empty_cache()
        if self.tile <= SMALLEST_TILE:
            raise UsageError(
                f"the GPU has no memory left for a tile of {self.tile} pixels; free it, or use --device cpu"
            )
        self.tile = max(SMALLEST_TILE, self.tile // 2)

    def _check(self, noisy: np.ndarray) -> None:
        if noisy.ndim != 3 or 0 in noisy.shape:
            raise ValueError(f"a picture must be [H, W, C] and not empty, not {list(noisy.shape)}")
        names = {1: "grey", 3: "RGB"}
        if noisy.shape[2] != self.channels:
            raise InputError(
                "format_mismatch",
                f"the picture is {names.get(noisy.shape[2], f'of {noisy.shape[2]} channels')}, the denoiser for "
                f"{names[self.channels]}; use a denoiser trained for it",
            )
        expected = np.dtype(np.uint8 if self.bit_depth <= 8 else np.uint16)
        if noisy.dtype != expected:
            raise InputError(
                "format_mismatch",
                f"the picture is {noisy.dtype}, the denoiser for {self.bit_depth} bits ({expected}); use a denoiser "
                "trained for it",
            )
        if expected == np.uint16 and int(noisy.max()) >= 2**self.bit_depth:
            raise InputError(
                "format_mismatch",
                f"the picture holds the value {noisy.max()}, which {self.bit_depth} bits do not; say with --bit-depth "
                "how many its files fill",
            )


@dataclass(frozen=True)
class _Area:
    """The pixels from (top, left) to before (bottom, right)."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def pixels(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def split(self, side: int) -> list[_Area]:
        """Squares of this side, row by row, less at the right and lower border."""
        return [
            _Area(top, left, min(top + side, self.bottom), min(left + side, self.right))
            for top in range(self.top, self.bottom, side)
            for left in range(self.left, self.right, side)
        ]


def _fold(body: nn.Sequential) -> nn.Sequential:
    """The network in eval mode with each BatchNorm multiplied into the convolution before it; a copy."""
    layers: list[nn.Module] = []
    modules = [module.eval() for module in copy.deepcopy(body)]
    for module in modules:
        if isinstance(module, nn.BatchNorm2d):
            convolution = layers.pop()
            assert isinstance(convolution, nn.Conv2d)
            module = fuse_conv_bn_eval(convolution, module)
        layers.append(nn.ReLU(inplace=True) if isinstance(module, nn.ReLU) else module)
    return nn.Sequential(*layers).requires_grad_(False)
