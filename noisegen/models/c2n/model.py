"""The generator of C2N, and how this one differs from the published one.

Jang, Lee, Son, Lee, "C2N: Practical Generative Noise Modeling for Real-World Denoising", ICCV 2021. The generator takes
a clean picture x and a random vector r of the whole picture, and adds to x

    noise = T( F1_I(z_I) + F3_I(z_I) + F1_D(z_D) + F3_D(z_D) )

with two kinds of random maps, each transformed pixel-wise (F1, residual blocks of 1x1 convolutions) and in space (F3,
blocks of 3x3 convolutions), and T a 1x1 convolution to the picture's channels:

    z_I ~ U                                signal-independent
    z_D ~ N(mu(x, r), sigma(x, r)^2)       signal-dependent, drawn as mu + sigma * e with e ~ N(0, 1)

mu and sigma come from the clean picture through a feature extractor of 3x3 residual blocks. r stands for what a clean
picture does not say of its noise, camera and ISO included: C2N is told neither. One network learns the noise of all the
training pictures, and each new one gets noise like that of any of them; trained with ``--camera`` it is that camera's.

The training (`noisegen.models.c2n.learner`) is unpaired: a critic (WGAN-GP) sees real noisy patches and generated ones
that were made of other clean patches. A stabilizing loss keeps the mean of the noise small, against shifts of colour.

Sizes and weights of the losses are those of the authors' published configuration. What differs here:

- Randomness comes in three normals and three uniforms a pixel. The 64 maps e are these normals repeated, and z_I is the
  uniforms, centred; the published model draws 64 maps of each. The convolutions that come next mix them.
- sigma is a softplus, whose gradient never dies, not a ReLU. Borders are replicated, not reflected: any size will do.
- The critic sees the picture in two bands and its score is scaled for the size of a patch (see
  `noisegen.models.c2n.learner.C2NCritic`). Generated pictures are clipped first, as cameras clip real ones.
- T starts small, and the compact recipe keeps averaged weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import UsageError
from noisegen.models.c2n.layers import ResidualBlock, convolution
from noisegen.models.learning import LearnedModel, ModelSizes
from noisegen.models.picture_randomness import picture_normals
from noisegen.models.protocol import Randomness

__all__ = ["NOISE_UNIT", "C2NModel", "C2NSizes"]

# 8-bit grey levels that count as 1 in the generator's noise and in the critic's upper band
NOISE_UNIT = 16.0
# Standard deviation of a number in [0, 1)
UNIFORM_STD = 12**-0.5


@dataclass(frozen=True)
class C2NSizes(ModelSizes):
    """Architecture of the generator; the defaults are the published ones.

    Attributes:
        width: random maps of a kind, and channels of their transformations; the feature extractor has twice as many.
        vector: numbers of the random vector of a picture.
        extraction_blocks: residual blocks of the feature extractor.
        independent_blocks, dependent_blocks: of each transformation of signal-independent and -dependent maps.
    """

    width: int = 64
    vector: int = 32
    extraction_blocks: int = 5
    independent_blocks: int = 3
    dependent_blocks: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.vector, self.independent_blocks, self.dependent_blocks) < 1:
            raise UsageError("width, vector, independent_blocks and dependent_blocks must be at least 1")


class C2NModel(LearnedModel):
    """The generator. Its noise depends on no camera and no ISO; those that it was not trained on it refuses."""

    sizes: C2NSizes

    def __init__(self, sizes: C2NSizes, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.sizes, self.vocabulary = sizes, vocabulary
        channels, width = sizes.channels, sizes.width
        self.head = nn.Sequential(
            convolution(channels, width, 3), nn.PReLU(), convolution(width, 2 * width, 3)
        )
        self.extractor = nn.Sequential(
            convolution(2 * width + sizes.vector, 2 * width, 3),
            nn.PReLU(),
            *(ResidualBlock(2 * width, 3) for _ in range(sizes.extraction_blocks)),
        )
        self.independent = _Transformation(channels, width, sizes.independent_blocks)
        self.dependent = _Transformation(width, width, sizes.dependent_blocks)
        self.tail = convolution(width, channels, 1)
        with torch.no_grad():
            for parameter in self.tail.parameters():
                parameter.mul_(0.1)

    def noise(self, clean: Tensor, noise: Randomness) -> Tensor:
        """The noise of clean pictures, neither clipped nor rounded; both float [B, C, H, W] pixel values."""
        sizes = self.sizes
        features = self.head(clean / sizes.levels)
        vector = picture_normals(noise, sizes.vector)[:, :, None, None].expand(-1, -1, *clean.shape[2:])
        mean, spread = self.extractor(torch.cat([features, vector], dim=1)).chunk(2, dim=1)
        repeats = -(-sizes.width // sizes.channels)
        normal = noise.normal.repeat(1, repeats, 1, 1)[:, : sizes.width]
        dependent = self.dependent(mean + F.softplus(spread) * normal)
        independent = self.independent((noise.uniform - 0.5) / UNIFORM_STD)
        return self.tail(independent + dependent) * (NOISE_UNIT * sizes.grey)

    @torch.inference_mode()
    def sample(
        self, clean: Tensor, condition: Sequence[Condition], *, noise: Randomness, strength: float = 1.0
    ) -> Tensor:
        """See `NoiseModel.sample`. The conditions are checked, and have no other effect."""
        for one in condition:
            self.vocabulary.resolve(one)
        noisy = clean + strength * self.noise(clean, noise)
        return noisy.round_().clamp_(0, self.sizes.levels - 1)


class _Transformation(nn.Module):
    """Random maps -> features: mixed, then transformed pixel-wise and in space, and the two added."""

    def __init__(self, maps: int, width: int, blocks: int) -> None:
        super().__init__()
        self.mix = convolution(maps, width, 1)
        self.pixelwise, self.spatial = (
            nn.Sequential(*(ResidualBlock(width, size, bias=False) for _ in range(blocks))) for size in (1, 3)
        )

    def forward(self, maps: Tensor) -> Tensor:
        mixed = self.mix(maps)
        return self.pixelwise(mixed) + self.spatial(mixed)
