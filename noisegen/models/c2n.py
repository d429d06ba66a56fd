"""C2N: a generator that learns noise from clean and noisy pictures that are no pairs.

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

The training is unpaired: a critic (WGAN-GP) sees real noisy pictures and generated ones of other scenes, never a noisy
picture beside its own clean one. A stabilizing loss holds the mean of the noise at zero, against shifts of colour.

Sizes and weights of the losses are those of the authors' published configuration. What differs here:

- Randomness comes in three normals and three uniforms a pixel. The 64 maps e are these normals repeated, and z_I is the
  uniforms, centred; the published model draws 64 maps of each. The convolutions that come next mix them.
- sigma is a softplus, whose gradient never dies, not a ReLU. Borders are replicated, not reflected: any size will do.
- The critic sees the picture in two bands (see `C2NCritic`), its score is scaled for the size of a patch (see
  `C2NCritic.forward`), and generated pictures are clipped as real ones are.
- T starts small, and averaged weights are kept in the compact recipe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import UsageError
from noisegen.models.learning import Batch, LearnedModel, Learner, ModelSizes, Recipe, Update
from noisegen.models.losses import critic_loss
from noisegen.models.picture_randomness import picture_normals
from noisegen.models.protocol import Randomness
from noisegen.models.registry import ModelType

__all__ = ["C2N", "C2NCritic", "C2NLearner", "C2NModel", "C2NRecipe", "C2NSizes"]

# 8-bit grey levels that count as 1 in the generator's noise and in the critic's upper band
NOISE_UNIT = 16.0
# Standard deviation of a number in [0, 1)
UNIFORM_STD = 12**-0.5
# Side in pixels of the mean that parts the critic's bands
BAND = 5

Padding = Literal["zeros", "replicate"]


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
        self.head = nn.Sequential(_conv(channels, width, 3), nn.PReLU(), _conv(width, 2 * width, 3))
        self.extractor = nn.Sequential(
            _conv(2 * width + sizes.vector, 2 * width, 3),
            nn.PReLU(),
            *(_ResidualBlock(2 * width, 3) for _ in range(sizes.extraction_blocks)),
        )
        self.independent = _Transformation(channels, width, sizes.independent_blocks)
        self.dependent = _Transformation(width, width, sizes.dependent_blocks)
        self.tail = _conv(width, channels, 1)
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


class C2NCritic(nn.Module):
    """Scores pictures by residual blocks of 3x3 convolutions; the mean over positions is the picture's score.

    It sees a picture in two bands, so that noise of a few to 40 grey levels is of order one whatever the picture shows:
    what differs from the mean of the pixels around, in units of `NOISE_UNIT`, and that mean, in units of 2**bit_depth.
    The critic is 1-Lipschitz in these units. To the published one, which is given the picture as it is, a difference in
    brightness between the scenes that were drawn weighs as much as one in noise, and on few scenes outweighs it.
    """

    def __init__(self, sizes: ModelSizes, width: int, blocks: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.body = nn.Sequential(
            _conv(2 * sizes.channels, width, 3, padding="zeros"),
            nn.PReLU(),
            *(_ResidualBlock(width, 3, padding="zeros") for _ in range(blocks)),
            _conv(width, 1, 3, padding="zeros"),
        )

    def bands(self, picture: Tensor) -> Tensor:
        """float [B, C, H, W] pixel values -> [B, 2C, H, W], what `forward` takes."""
        around = [BAND // 2] * 4
        low = F.avg_pool2d(F.pad(picture, around, mode="replicate"), BAND, stride=1)
        unit = NOISE_UNIT * self.sizes.grey
        return torch.cat([(picture - low) / unit, low / self.sizes.levels - 0.5], dim=1)

    def forward(self, bands: Tensor) -> Tensor:
        """Scores [B, 1]: sums over the positions, divided by the square root of their number.

        That is the mean times a constant, with which a gradient of norm 1 over the patch needs weights of order one,
        whatever the patch's size.
        """
        scores = self.body(bands)
        return scores.sum(dim=(2, 3)) / math.sqrt(scores[0].numel())


@dataclass(frozen=True)
class C2NRecipe(Recipe):
    """How C2N is trained. Half of the patches of a step are taken clean, the other half noisy.

    Attributes:
        generator_lr, critic_lr: of Adam.
        betas: of Adam, for both.
        generator_every: steps (of the critic) between two of the generator.
        penalty: weight of the gradient penalty.
        stabilizing: weight of the stabilizing loss, beside the mean score over positions.
        critic_width, critic_blocks: channels and residual blocks of the critic.
    """

    generator_lr: float = 1e-4
    critic_lr: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)
    generator_every: int = 1
    penalty: float = 10.0
    stabilizing: float = 0.01
    critic_width: int = 64
    critic_blocks: int = 6


class C2NLearner(Learner):
    """Trains generator and critic in turns (WGAN-GP) on clean and noisy patches of different rows of a batch."""

    titles: ClassVar = {
        "critic": "critic: loss with gradient penalty",
        "generator": "generator: adversarial loss",
        "stabilizing": "generator: mean noise (grey levels)",
    }

    def __init__(self, model: C2NModel, recipe: C2NRecipe, *, mixed_precision: bool = False) -> None:
        super().__init__(model, recipe)
        self.model, self.recipe, self.mixed = model, recipe, mixed_precision
        self.critic = C2NCritic(model.sizes, recipe.critic_width, recipe.critic_blocks)
        self.critic = self.critic.to(model.tail.weight.device)
        self.networks = {"critic": self.critic}
        self.optimizers = {
            "generator": torch.optim.Adam(model.parameters(), recipe.generator_lr, recipe.betas),
            "critic": torch.optim.Adam(self.critic.parameters(), recipe.critic_lr, recipe.betas),
        }

    def step(self, batch: Batch, step: int, steps: int, update: Update) -> dict[str, Tensor]:
        clean, real, noise = unpaired(batch)
        critic, recipe = self.critic, self.recipe
        turn = step % recipe.generator_every == 0
        with (
            torch.set_grad_enabled(turn),
            torch.autocast(clean.device.type, torch.bfloat16, enabled=self.mixed),
        ):
            generated = self.model.noise(clean, noise).float()
        fake = critic.bands((clean + generated).clamp(0, self.model.sizes.levels - 1))
        alpha = batch.alpha()[: len(clean)]
        losses = {"critic": critic_loss(critic, critic.bands(real), fake, alpha, recipe.penalty)}
        update("critic", losses["critic"])
        if turn:
            losses["generator"] = -critic(fake).mean() / math.sqrt(clean[0, 0].numel())
            losses["stabilizing"] = stabilizing_loss(generated / self.model.sizes.grey)
            update(
                "generator",
                losses["generator"] + recipe.stabilizing / NOISE_UNIT * losses["stabilizing"],
            )
        return {name: loss.detach() for name, loss in losses.items()}


def unpaired(batch: Batch) -> tuple[Tensor, Tensor, Randomness]:
    """Clean patches, real noisy ones, as many, none of which belong together, and randomness for the clean ones.

    Every other row of the batch is taken clean and the rows between them noisy. Rows are drawn independently, so the
    two halves are as two sets of pictures. They may be of one scene, as in the paper, whose sets are both SIDD.

    Raises:
        UsageError: the batch has a single row.
    """
    half = len(batch.clean) // 2
    if not half:
        raise UsageError(
            "c2n is trained on different pictures clean and noisy; it takes 2 or more patches in each process"
        )
    rows = slice(0, 2 * half, 2)
    noise = batch.randomness()
    assert noise.key is not None
    own = Randomness(noise.normal[rows], noise.uniform[rows], noise.key[rows])
    return batch.clean[rows], batch.noisy[1 : 2 * half : 2], own


def stabilizing_loss(noise: Tensor) -> Tensor:
    """Absolute mean of generated noise [B, C, H, W] over batch and pixels, summed over channels."""
    return noise.mean(dim=(0, 2, 3)).abs().sum()


class _ResidualBlock(nn.Module):
    def __init__(self, width: int, size: int, *, bias: bool = True, padding: Padding = "replicate") -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(width, width, size, bias=bias, padding=padding),
            nn.PReLU(),
            _conv(width, width, size, bias=bias, padding=padding),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _Transformation(nn.Module):
    """Random maps -> features: mixed, then transformed pixel-wise and in space, and the two added."""

    def __init__(self, maps: int, width: int, blocks: int) -> None:
        super().__init__()
        self.mix = _conv(maps, width, 1)
        self.pixelwise, self.spatial = (
            nn.Sequential(*(_ResidualBlock(width, size, bias=False) for _ in range(blocks)))
            for size in (1, 3)
        )

    def forward(self, maps: Tensor) -> Tensor:
        mixed = self.mix(maps)
        return self.pixelwise(mixed) + self.spatial(mixed)


def _conv(
    inputs: int, outputs: int, size: int, *, bias: bool = True, padding: Padding = "replicate"
) -> nn.Conv2d:
    # a 1x1 convolution pads nothing, and is slower when it is told how
    mode: Padding = padding if size > 1 else "zeros"
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, padding_mode=mode, bias=bias)


C2N = ModelType(
    name="c2n",
    title="C2N (Jang et al., ICCV 2021)",
    sizes=C2NSizes,
    model=C2NModel,
    recipes={
        "compact": C2NRecipe(
            model=C2NSizes(width=16, vector=8, extraction_blocks=1),
            steps=2000,
            batch=16,
            patch=48,
            generator_lr=1e-3,
            critic_lr=1e-3,
            betas=(0.0, 0.9),
            stabilizing=0.3,
            critic_width=16,
            critic_blocks=3,
        ),
        # 36 epochs of 1000 batches of 36 clean and 36 noisy patches. The rate is published as 0.8 of itself every third
        # epoch, which ends a little lower than half of itself every quarter.
        "paper": C2NRecipe(
            model=C2NSizes(),
            steps=36_000,
            batch=72,
            patch=96,
            schedule="halve",
            balance=False,
            ema=0.0,
            validate_every=1000,
            keep="last",
        ),
    },
    learner=C2NLearner,
)
