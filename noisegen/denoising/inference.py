"""Denoising of whole photographs: any size, tile by tile, with the result of one pass over the whole picture."""

from __future__ import annotations

import copy
from collections.abc import Iterator
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
            about 0.3 GB for 64 channels. A GPU too small for it gets tiles of half the side.

    Attributes:
        channels: of the pictures, 1 (grey) or 3 (RGB).
        bit_depth: of the pictures' values, 8 to 16.
        tile: side in use.
    """

    def __init__(
        self, model: DnCNN, *, device: str = "cpu", precision: str = "float32", tile: int = DEFAULT_TILE
    ) -> None:
        if tile < 1:
            raise ValueError(f"the side of a tile must be positive, not {tile}")
        self.channels = model.channels
        self.bit_depth = model.bit_depth
        self.tile = tile
        self.reach = model.layers  # each 3x3 convolution looks one pixel further
        self.device = torch.device(device)
        self.dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        body = _fold(model.body)
        self.body = body.to(self.device, self.dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def denoise(self, noisy: np.ndarray) -> np.ndarray:
        """Denoises one picture.

        Args:
            noisy: [H, W, C] grey levels below 2**bit_depth, uint8 for a bit depth of 8, else uint16; any H and W.

        Returns:
            The same shape and type.

        Raises:
            InputError: ``format_mismatch``: other channels, type or range than the denoiser is for.
            UsageError: not even a small tile fits into the GPU's memory.
        """
        self._check(noisy)
        denoised = np.empty_like(noisy, order="C")
        height, width = noisy.shape[:2]
        rest = list(_windows(height, width, self.tile, self.reach))
        while rest:
            window = rest[0]
            try:
                denoised[window.inner] = self._run(noisy[window.outer])[window.crop]
            except torch.cuda.OutOfMemoryError:
                self._shrink()
                # what is done is computed again, for the grid of the smaller tiles does not divide it
                rest = list(_windows(height, width, self.tile, self.reach))
            else:
                del rest[0]
        return denoised

    @torch.inference_mode()
    def _run(self, noisy: np.ndarray) -> np.ndarray:
        """[H, W, C] in grey levels, in and out, as one piece."""
        levels = 2**self.bit_depth
        # through int32, because torch knows little of uint16
        pixels = torch.from_numpy(noisy.astype(np.int32)).to(self.device)
        x = pixels.permute(2, 0, 1)[None].to(torch.float32).div_(levels)
        x = x.contiguous(memory_format=torch.channels_last)
        residual: Tensor = self.body(x.to(self.dtype))
        values = (x - residual).clamp_(0, 1).mul_(levels).round_().clamp_(max=levels - 1)
        return values[0].permute(1, 2, 0).to(torch.int32).cpu().numpy().astype(noisy.dtype)

    def _shrink(self) -> None:
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


@dataclass(frozen=True)
class _Window:
    """One tile of the picture.

    Attributes:
        inner: what it contributes to the picture.
        outer: what is computed for that.
        crop: `inner` within `outer`.
    """

    inner: tuple[slice, slice]
    outer: tuple[slice, slice]
    crop: tuple[slice, slice]


def _windows(height: int, width: int, size: int, halo: int) -> Iterator[_Window]:
    for y in _spans(height, size, halo):
        for x in _spans(width, size, halo):
            yield _Window((y[0], x[0]), (y[1], x[1]), (y[2], x[2]))


def _spans(side: int, size: int, halo: int) -> Iterator[tuple[slice, slice, slice]]:
    for start in range(0, side, size):
        stop = min(start + size, side)
        first = max(0, start - halo)
        yield (
            slice(start, stop),
            slice(first, min(stop + halo, side)),
            slice(start - first, stop - first),
        )


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
