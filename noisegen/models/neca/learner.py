"""Training of NeCA-W: the gain and the noise level by their errors, the noise against two critics (WGAN-GP)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisegen.models.learning import Batch, LearnedModel, Learner, Patches, Update
from noisegen.models.losses import Score, critic_loss, generator_loss
from noisegen.models.neca.config import NecaRecipe
from noisegen.models.neca.model import GAINS, Neca, NoiseSteps
from noisegen.models.neca.networks import Critic

__all__ = ["NecaLearner", "local_deviation"]

# Side of the window of the local noise level, in pixels
WINDOW = 7
# Patches whose mean gain is one of the stored ones
GROUP = 16


class NecaLearner(Learner):
    """The losses of the authors' implementation, with v the real noise of a patch and the networks' outputs of `Neca`:

        gain         (g - std(v))^2
        level        mean (s - S)^2, S the standard deviation of v in the 7x7 pixels around
        regular      mean (s - g)^2
        adversarial  -E D1(NCNet(n)) - E D2(sub(n)), where sub takes every third pixel: real noise at this
                     distance is nearly independent, so D2 compares n with noise without correlation

    The critics D1 and D2 see noise alone and are trained as WGAN-GP against v and sub(v).

    The paper trains one camera at a time. Here a batch holds several, and each patch changes the networks of its
    own; those of absent cameras get gradients of 0. The critics, which no checkpoint holds, judge all cameras and are
    told which. Beyond the published training, they see generated noise clipped as a picture clips it, and real noise
    dequantized; and networks start from the noise of their camera in some batches. The denoiser that the authors can
    train jointly is left out.
    """

    titles = MappingProxyType(
        {
            "gain": "gain: squared error",
            "level": "noise level: squared error",
            "regular": "noise level: squared difference from the gain",
            "generator": "generator: adversarial loss",
            "critic": "critics: loss with gradient penalty",
        }
    )

    model: Neca
    recipe: NecaRecipe

    def __init__(self, model: Neca, recipe: NecaRecipe, *, mixed_precision: bool = False) -> None:
        super().__init__(model, recipe, mixed_precision=mixed_precision)
        width, depth = recipe.critic_width, recipe.critic_depth
        cameras, channels = len(model.vocabulary.cameras), model.channels
        self.whole = Critic(channels, width, depth, cameras)
        self.sub = Critic(channels, width, max(depth - 1, 1), cameras)
        self.networks = {"critic": self.whole, "subsampled_critic": self.sub}
        others = [*model.level.parameters(), *model.correlation.parameters()]
        self.optimizers = {
            "generator": torch.optim.Adam(
                [
                    {"params": list(model.gain.parameters()), "lr": recipe.gain_lr},
                    {"params": others, "lr": recipe.generator_lr},
                ],
                betas=recipe.betas,
            ),
            "critic": torch.optim.Adam(
                [*self.whole.parameters(), *self.sub.parameters()], recipe.critic_lr, recipe.betas
            ),
        }

    def initialise(self, batches: Iterable[Batch]) -> None:
        """Starts gain and noise level from the standard deviations of each camera's noise."""
        unit = self.model.sizes.noise_unit
        patches: dict[int, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for batch in batches:
            deviations = ((batch.noisy - batch.clean) / unit).std(dim=(1, 2, 3))
            cameras = self.model.cameras_of(batch.conditions[batch.part])
            for camera, noisy, deviation in zip(cameras, batch.noisy, deviations, strict=True):
                patches[camera].append((noisy / unit, deviation))
        for camera, found in patches.items():
            noisy, deviation = (torch.stack(values) for values in zip(*found, strict=True))
            self.model.gain.of(camera).start_at(noisy, deviation)
            self.model.level.of(camera).start_at(float(deviation.mean()))

    def step(self, batch: Batch, step: int, steps: int, update: Update) -> dict[str, Tensor]:
        """See `Learner.step`: the critics, then the generator, whose three networks learn together."""
        recipe, model = self.recipe, self.model
        model.train()
        cameras = model.cameras_of(batch.conditions[batch.part])
        noise = (batch.noisy - batch.clean) / model.sizes.noise_unit
        with torch.autocast(noise.device.type, torch.bfloat16, enabled=self.mixed_precision):
            gain = model.estimate_gain(batch.noisy, cameras).float()
            made = model.noise_steps(batch.clean, gain, batch.normal(), cameras)
        losses: dict[str, Tensor] = {}
        adversarial = step >= recipe.adversarial_from
        if adversarial:
            losses["critic"] = self.criticise(batch, noise, made, cameras)
            update("critic", losses["critic"])
        losses |= {
            "gain": (gain.flatten() - noise.std(dim=(1, 2, 3))).square().mean(),
            "level": (made.level - local_deviation(noise)).square().mean(),
            "regular": (made.level - gain[:, :, None, None]).square().mean(),
        }
        total = (
            recipe.gain_weight * losses["gain"]
            + recipe.level_weight * losses["level"]
            + recipe.regular_weight * losses["regular"]
        )
        if adversarial and (step - recipe.adversarial_from) % recipe.adversarial_every == 0:
            whole, independent = self.pictured(batch.clean, made)
            score_whole, score_apart = self.scores(cameras)
            losses["generator"] = generator_loss(score_whole, whole) + generator_loss(
                score_apart, independent
            )
            total = total + recipe.adversarial * losses["generator"]
        update("generator", _reaching(total, model.parameters()))
        return {name: loss.detach() for name, loss in losses.items()}

    def criticise(self, batch: Batch, noise: Tensor, made: NoiseSteps, cameras: list[int]) -> Tensor:
        """The loss of both critics."""
        real = noise + (batch.uniform() - 0.5) / self.model.sizes.noise_unit
        whole, independent = self.pictured(batch.clean, made)
        score_whole, score_apart = self.scores(cameras)
        penalty, alpha = self.recipe.penalty, batch.alpha()
        return critic_loss(score_whole, real, whole, alpha, penalty) + critic_loss(
            score_apart, self.apart(real), independent, alpha, penalty
        )

    def scores(self, cameras: list[int]) -> tuple[Score, Score]:
        """The critics of correlated and of independent noise, for patches of these cameras."""
        numbers = torch.tensor(cameras, device=next(self.model.parameters()).device)
        return partial(self.whole, cameras=numbers), partial(self.sub, cameras=numbers)

    def pictured(self, clean: Tensor, made: NoiseSteps) -> tuple[Tensor, Tensor]:
        """Generated noise as its critics see it: correlated, and independent and subsampled; both clipped."""
        sizes = self.model.sizes
        base = clean / sizes.noise_unit
        low, high = -0.5 / sizes.noise_unit, (sizes.levels - 0.5) / sizes.noise_unit
        whole, independent = (
            (values.float() + base).clamp(low, high) - base for values in (made.noise, made.independent)
        )
        return whole, self.apart(independent)

    def apart(self, noise: Tensor) -> Tensor:
        """Pixels at a distance at which real noise is nearly independent."""
        stride = self.recipe.subsampling
        return noise[:, :, ::stride, ::stride]

    @torch.no_grad()
    def settle(self, weights: LearnedModel, patches: Patches, done: int, steps: int) -> None:
        """Stores gains of each camera and ISO: means over groups of patches.

        A photograph's gain is the mean over its area, which varies much less than the gains of its patches do.
        """
        assert isinstance(weights, Neca)
        for condition in weights.vocabulary.known:
            gains = []
            for group in range(GAINS):
                batch = patches.of_condition(condition, GROUP, draw=group)
                cameras = weights.cameras_of(batch.conditions[batch.part])
                gains.append(weights.estimate_gain(batch.noisy, cameras).mean())
            iso, camera = weights.vocabulary.index(condition)
            stored = torch.stack(gains).clamp(min=weights.smallest_gain).log().sort().values
            weights.log_gains[iso * len(weights.vocabulary.cameras) + camera] = stored


def _reaching(loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """The loss, with a gradient of 0 for parameters without one, since processes sum the same list of them."""
    return loss + 0.0 * torch.stack([parameter.sum() for parameter in parameters]).sum()


def local_deviation(noise: Tensor) -> Tensor:
    """Standard deviation of [B, C, H, W] in the window around each pixel, within each channel."""
    mean, square = (
        F.avg_pool2d(values, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)
        for values in (noise, noise.square())
    )
    return (square - mean.square()).clamp(min=0).sqrt()
