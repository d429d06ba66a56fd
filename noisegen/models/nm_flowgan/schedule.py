"""Which network steps when: a pure function of the recipe and the step."""

from __future__ import annotations

from dataclasses import dataclass

from noisegen.models.learning import rate_at
from noisegen.models.nm_flowgan.recipes import NMFlowGANRecipe

__all__ = ["Turn", "generator_begins", "turn_at"]


@dataclass(frozen=True)
class Turn:
    """What one step of the training does.

    Attributes:
        flow, generator, critic: whether this network is updated.
        rate: factor on the learning rates.
    """

    flow: bool
    generator: bool
    critic: bool
    rate: float


def turn_at(config: NMFlowGANRecipe, step: int, steps: int) -> Turn:
    """The turn of step number `step` (from 0) of `steps`.

    The critic takes every step from `adversarial_from` on; flow and generator every `generator_every`-th (section
    III-E). In the "two-stage" strategy the first `flow_share` of the steps are all the flow's, the others the
    generator's and critic's, and the learning rates run through their schedule in each stage.
    """
    has_flow, has_generator = "flow" not in config.without, config.has_generator
    recurring = (step + 1) % config.generator_every == 0
    adversarial = has_generator and config.adversarial > 0 and step >= config.adversarial_from
    if config.strategy == "two-stage":
        first = _first_stage(config, steps)
        if step < first:
            return Turn(True, False, False, rate_at(config.schedule, step, first))
        return Turn(False, recurring, adversarial, rate_at(config.schedule, step - first, steps - first))
    return Turn(
        recurring and has_flow,
        recurring and has_generator,
        adversarial,
        rate_at(config.schedule, step, steps),
    )


def generator_begins(config: NMFlowGANRecipe, steps: int) -> int | None:
    """The step from which a generator trains; None where there is none."""
    if not config.has_generator:
        return None
    return _first_stage(config, steps) if config.strategy == "two-stage" else 0


def _first_stage(config: NMFlowGANRecipe, steps: int) -> int:
    return min(max(round(config.flow_share * steps), 1), steps - 1)
