"""The classifier of the two-sample test: a small CNN that weighs second moments of what its filters see."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PatchClassifier", "train_classifier"]

WIDTHS = (12, 24)
HIDDEN = 64
BATCH = 100
LEARNING_RATE = 5e-3
WARM_UP = 0.2
WEIGHT_DECAY = 1e-2
SETTLING_BATCHES = 20


class PatchClassifier(nn.Module):
    """Tells synthetic noise from real noise on one patch.

    Two stages of two 3x3 convolutions, the first at full resolution without pooling, so that the highest
    frequencies count. The mean and the log variance over the patch of every filter's output go to a small
    perceptron: noise gives itself away by variances and correlations, which filter, square and mean measure
    in one step, where a CNN with ReLU and mean alone has to build squares from kinks.

    Args:
        channels: of the noise; the clean patch has as many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (2 * channels, *WIDTHS)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, width, 3, stride=1 if stage == 0 else 2, padding=1),
                nn.LeakyReLU(0.1),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for stage, (before, width) in enumerate(zip(widths, WIDTHS, strict=False))
        )
        moments = 2 * sum(WIDTHS)
        self.normalisation = nn.BatchNorm1d(moments)
        self.head = nn.Sequential(nn.Linear(moments, HIDDEN), nn.LeakyReLU(0.1), nn.Linear(HIDDEN, 1))

    def forward(self, noise: Tensor, clean: Tensor) -> Tensor:
        """Log odds [N] that noise [N, C, H, W], of deviation about 1, on clean (0 to 1) is synthetic.

        The mean of the noise over the patch is taken out, so drift in brightness between two shots does not
        give the real side away.
        """
        noise = noise - noise.mean(dim=(2, 3), keepdim=True)
        features = torch.cat([noise, clean - 0.5], dim=1)
        moments = []
        for stage in self.stages:
            features = stage(features)
            moments += [features.mean(dim=(2, 3)), features.var(dim=(2, 3)).add(1e-4).log()]
            features = F.leaky_relu(features, 0.1)
        odds: Tensor = self.head(self.normalisation(torch.cat(moments, dim=1))).squeeze(1)
        return odds


def train_classifier(
    classifier: PatchClassifier,
    batch_of: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]],
    patches: int,
    *,
    epochs: int,
    seed: int,
    advance: Callable[[], object],
) -> None:
    """AdamW on the cross-entropy, with one cycle of the learning rate; the order and flips come from the seed.

    Flips are drawn for a batch, both classes alike. There are no turns, for rows and columns of a sensor
    differ, and so may its noise.

    Args:
        classifier: trained in place, left in eval mode.
        batch_of: gives (noise, clean, label) of the patches of these numbers.
        patches: how many there are.
        epochs: how often each is seen.
        seed: of the order and the flips.
        advance: called after each epoch.
    """
    classifier.train()
    batches = max(patches // BATCH, 1)
    weights = [parameter for parameter in classifier.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in classifier.parameters() if parameter.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
        lr=LEARNING_RATE,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=epochs * batches, pct_start=WARM_UP
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(patches, generator=generator)
        for numbers in order[: batches * BATCH].split(BATCH):
            noise, clean, label = batch_of(numbers)
            flips = [axis for axis in (2, 3) if torch.randint(2, (), generator=generator)]
            odds = classifier(noise.flip(flips), clean.flip(flips))
            loss = F.binary_cross_entropy_with_logits(odds, label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        advance()
    _settle(classifier, batch_of, order)
    classifier.eval()


@torch.no_grad()
def _settle(
    classifier: PatchClassifier, batch_of: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]], order: Tensor
) -> None:
    """Takes the normalisation's statistics anew with the final weights, which running means lag behind."""
    norm = classifier.normalisation
    norm.reset_running_stats()
    norm.momentum = None  # the mean over all batches
    for numbers in order.split(BATCH)[:SETTLING_BATCHES]:
        noise, clean, _ = batch_of(numbers)
        classifier(noise, clean)
