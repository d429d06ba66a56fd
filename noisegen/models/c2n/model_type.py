"""C2N among the types of noise models."""

from noisegen.models.c2n.learner import C2NLearner, C2NRecipe
from noisegen.models.c2n.model import C2NModel, C2NSizes
from noisegen.models.registry import ModelType

__all__ = ["C2N"]

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
            # as fast as the critic's the generator's level of noise swings about
            generator_lr=3e-4,
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
