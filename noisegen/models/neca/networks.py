"""The networks of one camera, its critic, and the choice among those of several cameras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.models.neca.config import NecaSizes

__all__ = ["CorrelationNet", "Critic", "GainNet", "LevelNet", "PerCamera"]

# 8-bit grey levels: of the noise of a model that has seen none, and below which the output of NCNet is confined.
STARTING_NOISE = 16.0
LARGEST_NOISE = 256.0
# Bound of weights that start small
SMALL = 1e-3

N = TypeVar("N", bound=nn.Module)


class PerCamera(nn.Module, Generic[N]):
    """One network for each camera, each picture's work done by that of its own."""

    def __init__(self, build: Callable[[], N], cameras: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(build() for _ in range(cameras))

    def of(self, camera: int) -> N:
        """The network of a camera."""
        return self.networks[camera]  # type: ignore[return-value]

    def forward(self, cameras: Sequence[int], *inputs: Tensor) -> Tensor:
        """Runs a batch, row i through the network of ``cameras[i]``."""
        present = sorted(set(cameras))
        if len(present) == 1:
            return self.networks[present[0]](*inputs)
        rows = [[row for row, camera in enumerate(cameras) if camera == one] for one in present]
        parts = [
            self.networks[camera](*(values[own] for values in inputs))
            for camera, own in zip(present, rows, strict=True)
        ]
        places = torch.tensor([row for own in rows for row in own]).argsort()
        return torch.cat(parts)[places.to(parts[0].device)]


def _he(conv: nn.Conv2d, *, blind: bool = False) -> nn.Conv2d:
    """Lets a convolution keep the variance of what a ReLU hands it (He et al. 2015).

    A blind one sees no brightness: its filters have a sum of 0.
    """
    # where a checkpoint is about to be read, drawing would only load PyTorch's compiler, which takes seconds
    if not conv.weight.is_meta:
        with torch.no_grad():
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            if blind:
                conv.weight -= conv.weight.mean(dim=(2, 3), keepdim=True)
    return conv


class GainNet(nn.Module):
    """GENet: one number for the noise level of a whole noisy picture, its gain.

    A 7x7 convolution, `gain_depth` - 2 of 3x3, each with ReLU; the mean over the picture; a linear layer. The first
    filters start blind to brightness (chosen here).
    """

    def __init__(self, sizes: NecaSizes) -> None:
        super().__init__()
        width = sizes.gain_width
        # zeros around a picture would be edges to blind filters
        first = nn.Conv2d(sizes.channels, width, 7, padding=3, padding_mode="replicate")
        layers: list[nn.Module] = [_he(first, blind=True), nn.ReLU()]
        for _ in range(sizes.gain_depth - 2):
            layers += [_he(nn.Conv2d(width, width, 3, padding=1)), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, 1)

    def forward(self, noisy: Tensor) -> Tensor:
        """[B, C, H, W] in units of noise -> [B, 1] in the same units."""
        return self.head(self.features(noisy))

    def features(self, noisy: Tensor) -> Tensor:
        """What the gain is linear in, [B, gain_width], at least 0."""
        return self.body(noisy).mean(dim=(2, 3))

    @torch.no_grad()
    def start_at(self, noisy: Tensor, deviation: Tensor) -> None:
        """Sets the linear layer to a line from the sum of the features to these standard deviations [B] of noise."""
        total = self.features(noisy).sum(dim=1)
        offset = total - total.mean()
        slope = (offset * deviation).sum() / offset.square().sum().clamp(min=1e-12)
        slope = slope.clamp(min=0)
        self.head.weight.fill_(slope)
        self.head.bias.fill_(deviation.mean() - slope * total.mean())


class LevelNet(nn.Module):
    """NPNet: the noise level of each pixel and channel from the clean picture and the gain.

    A 7x7 convolution, then three times a 1x1 convolution, normalisation, multiplication by the gain and leaky ReLU; a
    1x1 convolution, squared. Chosen here: edges are replicated, so that any size will do (published: reflected), and
    the last weights start small.
    """

    def __init__(self, sizes: NecaSizes) -> None:
        super().__init__()
        width = sizes.level_width
        self.first = nn.Conv2d(sizes.channels, width, 7, padding=3, padding_mode="replicate")
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(3))
        self.last = nn.Conv2d(width, sizes.channels, 1)
        nn.init.uniform_(self.last.weight, -SMALL, SMALL)
        self.by_pixel = sizes.level_norm == "pixel"
        self.start_at(STARTING_NOISE / sizes.unit)

    def forward(self, clean: Tensor, gain: Tensor) -> Tensor:
        """Clean [B, C, H, W] in [0, 1] and gain [B, 1] -> standard deviations [B, C, H, W], in units of noise."""
        x = self.first(clean)
        for layer in self.layers:
            x = self.normalised(layer(x))
            x = F.leaky_relu(x * gain[:, :, None, None])
        return self.last(x).square()

    def normalised(self, x: Tensor) -> Tensor:
        """Features [B, K, H, W] of mean 0 and variance 1 over the picture or over each pixel."""
        if self.by_pixel:
            return F.layer_norm(x.movedim(1, -1), [x.shape[1]]).movedim(-1, 1)
        return F.group_norm(x, 1)

    def start_at(self, noise: float) -> None:
        """Makes `noise` (in units of noise) the level where gain and picture say nothing."""
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, noise**0.5)


class CorrelationNet(nn.Module):
    """NCNet: correlates the noise of neighbours (equation: v = n + U(n), n the independent noise, U a U-Net with tanh).

    A stage: two convolutions with ReLU, the very first 7x7, the others 3x3; the first of each further stage has a
    stride of 2. Up: nearest neighbours, the skipped features, two convolutions. Last a 1x1 convolution, whose weights
    start small, so that the network starts as the identity (chosen here). The tanh's limits are 256 grey levels.
    """

    def __init__(self, sizes: NecaSizes) -> None:
        super().__init__()
        channels = sizes.channels
        widths = [sizes.correlation_width * 2**stage for stage in range(sizes.correlation_stages)]
        self.align = 2 ** (sizes.correlation_stages - 1)
        self.limit = LARGEST_NOISE / sizes.unit
        self.down = nn.ModuleList([_block(channels, widths[0], kernel=7)])
        self.down.extend(_block(narrow, 2 * narrow, stride=2) for narrow in widths[:-1])
        self.up = nn.ModuleList(_block(3 * narrow, narrow) for narrow in reversed(widths[:-1]))
        self.last = nn.Conv2d(widths[0], channels, 1)
        for parameter in self.last.parameters():
            nn.init.uniform_(parameter, -SMALL, SMALL)

    def forward(self, noise: Tensor) -> Tensor:
        """Independent noise [B, C, H, W] -> correlated noise, both in units of noise."""
        height, width = noise.shape[2:]
        x = F.pad(noise, (0, -width % self.align, 0, -height % self.align))
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        for up, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = up(torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=1))
        x = self.last(x)[:, :, :height, :width]
        return noise + self.limit * torch.tanh(x / self.limit)


def _block(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        _he(nn.Conv2d(before, after, kernel, stride, padding=kernel // 2)),
        nn.ReLU(),
        _he(nn.Conv2d(after, after, 3, padding=1)),
        nn.ReLU(),
    )


class Critic(nn.Module):
    """Scores noise alone, without the picture.

    A 7x7 convolution, with a bias for each camera; `depth` times a 4x4 convolution with a stride of 2, between them 3x3
    ones that double the channels up to eight times the first width; averages in 3x3 fields; two linear layers, 100
    wide. Leaky ReLU from the first 4x4 one on, no normalisation, and no last bias, on which no difference of two
    scores depends.
    """

    def __init__(self, channels: int, width: int, depth: int, cameras: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 7, padding=3)
        self.camera = nn.Parameter(torch.zeros(cameras, width))
        layers: list[nn.Module] = []
        before = width
        for level in range(depth):
            after = min(width * 2**level, 8 * width)
            if level:
                layers += [nn.Conv2d(before, after, 3, padding=1), nn.LeakyReLU(0.2)]
            layers += [nn.Conv2d(after, after, 4, 2, padding=1), nn.LeakyReLU(0.2)]
            before = after
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(9 * before, 100), nn.LeakyReLU(0.2), nn.Linear(100, 1, bias=False)
        )

    def forward(self, noise: Tensor, cameras: Tensor) -> Tensor:
        """Noise [B, C, H, W] in its units and the cameras' numbers, int64 [B] -> [B, 1]."""
        x = self.features(self.first(noise) + self.camera[cameras][:, :, None, None])
        return self.classifier(F.adaptive_avg_pool2d(x, 3).flatten(1))
