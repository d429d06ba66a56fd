"""How C2N learns: generator and critic on clean and noisy patches that are no pairs (WGAN-GP)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.errors import UsageError
from noisegen.models.c2n.layers import ResidualBlock, convolution
from noisegen.models.c2n.model import NOISE_UNIT, C2NModel
from noisegen.models.learning import Batch, Learner, ModelSizes, Recipe, Update
from noisegen.models.losses import critic_loss
from noisegen.models.protocol import Randomness

__all__ = ["C2NCritic", "C2NLearner", "C2NRecipe", "stabilizing_loss", "unpaired"]

# Side in pixels of the mean that parts the critic's bands
BAND = 5


@dataclass(frozen=True)
class C2NRecipe(Recipe):
    """How C2N is trained. Half of the patches of a step are taken clean, the other half noisy.

    Attributes:
        generator_lr, critic_lr: of Adam.
        betas: of Adam, for both.
        generator_every: steps (of the critic) between two of the generator.
        penalty: weight of the gradient penalty.
        stabilizing: weight of the stabilizing loss, in units of `NOISE_UNIT`, beside the mean score over positions.
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

    titles = MappingProxyType(
        {
            "critic": "critic: loss with gradient penalty",
            "generator": "generator: adversarial loss",
            "stabilizing": "generator: mean of the noise (grey levels)",
        }
    )

    model: C2NModel
    recipe: C2NRecipe

    def __init__(self, model: C2NModel, recipe: C2NRecipe, *, mixed_precision: bool = False) -> None:
        super().__init__(model, recipe, mixed_precision=mixed_precision)
        self.critic = C2NCritic(model.sizes, recipe.critic_width, recipe.critic_blocks)
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
            torch.autocast(clean.device.type, torch.bfloat16, enabled=self.mixed_precision),
        ):
            generated = self.model.noise(clean, noise).float()
        fake = critic.bands((clean + generated).clamp(0, self.model.sizes.levels - 1))
        alpha = batch.alpha()[: len(clean)]
        losses = {"critic": critic_loss(critic, critic.bands(real), fake, alpha, recipe.penalty)}
        update("critic", losses["critic"])
        if turn:
            losses["generator"] = -critic(fake).mean() / math.sqrt(clean[0, 0].numel())
            losses["stabilizing"] = stabilizing_loss(generated / self.model.sizes.grey)
            weight = recipe.stabilizing / NOISE_UNIT
            update("generator", losses["generator"] + weight * losses["stabilizing"])
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
    """Absolute mean of generated noise [B, C, H, W] over batch and pixels, summed over channels.

    Several processes take it of their own patches, and so pull a little harder than one does on all.
    """
    return noise.mean(dim=(0, 2, 3)).abs().sum()


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
            convolution(2 * sizes.channels, width, 3, padding="zeros"),
            nn.PReLU(),
            *(ResidualBlock(width, 3, padding="zeros") for _ in range(blocks)),
            nn.PReLU(),
            # scores are only compared with each other, so that a bias would learn nothing
            convolution(width, 1, 3, bias=False, padding="zeros"),
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
