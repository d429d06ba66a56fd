"""The training loop of every learned type of noise model: steps, validations, resumable state."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from noisegen.conditions import Vocabulary
from noisegen.datasets.pairs import Pair
from noisegen.errors import NoisegenError, UsageError
from noisegen.fitting.draws import ConditionPatches, Draw, draw, initial_draws
from noisegen.fitting.patches import PatchSampler
from noisegen.fitting.validation import Validation, Validator, validation_pictures
from noisegen.models.learning import LearnedModel, Recipe
from noisegen.models.registry import ModelType
from noisegen.progress import Progress
from noisegen.training.averaging import update_average
from noisegen.training.curves import write_curves
from noisegen.training.distributed import Ranks
from noisegen.training.journal import Journal
from noisegen.training.state import load_state, save_state

__all__ = ["Trained", "train_model"]

logger = logging.getLogger(__name__)

SCORES = ("kld_nm", "acf_error")

M = TypeVar("M", bound=nn.Module)

SAVE_EVERY = 200
LOG_EVERY = 20


@dataclass(frozen=True)
class Trained:
    """The outcome of a training.

    Attributes:
        model: in eval mode on the CPU.
        validation: its scores and the step they are of; None where there was no validation.
        seconds: that all sessions spent on steps and validations.
    """

    model: LearnedModel
    validation: Validation | None
    seconds: float


def train_model(
    kind: ModelType,
    pairs: Sequence[Pair],
    recipe: Recipe,
    work: Path,
    *,
    validation: Sequence[Pair] = (),
    curves: Path | None = None,
    channels: int = 3,
    bit_depth: int = 8,
    device: str = "cpu",
    mixed_precision: bool = False,
    ranks: Ranks | None = None,
    quiet: bool = False,
) -> Trained:
    """Trains a model, continuing from `work` if it holds the state of an interrupted run.

    Args:
        kind: a type that is learned.
        pairs: real training pairs; their conditions become the model's vocabulary.
        recipe: one of this type.
        work: folder for `state.safetensors`, `log.csv`, `config.json` and `validation/`.
        validation: pairs to validate on, of which some are taken (see `Recipe`); their conditions must be covered.
        curves: PNG file of the losses and scores, drawn at each validation and at the end.
        channels, bit_depth: of the pictures.
        device: "cpu" or "cuda".
        mixed_precision: bfloat16 autocast where the type allows it.
        ranks: the processes that train together; rank 0 writes.
        quiet: no progress.

    Returns:
        The model (averaged weights if `recipe.ema` is not 0), at the best validation or the end as `recipe.keep` says.

    Raises:
        UsageError: pairs do not fit the model, or `work` belongs to another configuration.
        NoisegenError: a loss became NaN.
    """
    ranks = ranks or Ranks()
    if torch.device(device).type == "cuda":
        torch.backends.cudnn.deterministic = True
    training = _Training(kind, pairs, recipe, channels, bit_depth, device, mixed_precision, ranks)
    record = recipe.to_dict() | {
        "model_type": kind.name,
        "channels": channels,
        "bit_depth": bit_depth,
        "pairs": len(pairs),
        "validation_pairs": len(validation),
    }
    validator = None
    if validation:
        validator = Validator(
            validation_pictures(validation, recipe.validate_pictures),
            crop=recipe.validate_crop,
            folder=work / "validation",
            device=device,
            ranks=ranks,
        )
        training.parts["best"] = training.best
    start = training.start(work / "state.safetensors", record)
    logger.info(
        "training on %s, bfloat16 %s, %d pairs, %d to validate on, steps %d to %d",
        device,
        "on" if mixed_precision else "off",
        len(pairs),
        len(validation),
        start,
        training.steps,
    )
    if ranks.leads:
        work.mkdir(parents=True, exist_ok=True)
        (work / "recipe.json").write_text(json.dumps(record, indent=1) + "\n")

    log = work / "log.csv"
    titles = training.learner.titles
    steps = training.steps
    with (
        Journal(log if ranks.leads else None, start) as journal,
        Progress(steps, "step", "train-noise-model", done=start, quiet=quiet or not ranks.leads) as progress,
    ):

        def draw_curves() -> None:
            journal.flush()
            if curves is not None and ranks.leads:
                best = training.best_validation
                marked = None if best is None else best.step
                write_curves(log, curves, losses=titles, scores=SCORES, best=marked, from_zero=True)

        shown: dict[str, Any] = {}
        for step in range(start, steps):
            losses = training.step(step)
            shown |= {name: round(value, 4) for name, value in losses.items()}
            progress.update(1, pixels=recipe.batch * recipe.patch**2, **shown)
            if step % LOG_EVERY == 0:
                journal.write(step, losses)
            done = step + 1
            if validator is not None and (done % recipe.validate_every == 0 or done == steps):
                scores = training.validate(validator, done)
                shown |= {name: round(value, 4) for name, value in scores.items()}
                progress.update(0, **shown)
                journal.write(step, scores)
                draw_curves()
            if (done % SAVE_EVERY == 0 or done == steps) and ranks.leads:
                journal.flush()
                save_state(work / "state.safetensors", done, training.parts, record, training.notes)
        draw_curves()
    return training.outcome()


class _Training:
    """The networks under training, and what was best so far."""

    def __init__(
        self,
        kind: ModelType,
        pairs: Sequence[Pair],
        recipe: Recipe,
        channels: int,
        bit_depth: int,
        device: str,
        mixed_precision: bool,
        ranks: Ranks,
    ) -> None:
        if kind.learner is None:
            raise UsageError(f"{kind.name} is fitted, not trained step by step")
        torch.manual_seed(recipe.seed)
        self.recipe, self.device, self.ranks = recipe, device, ranks
        vocabulary = Vocabulary.of(pair.condition for pair in pairs)
        sizes = recipe.architecture(channels, bit_depth)
        self.model = _on(kind.model(sizes, vocabulary), device)
        self.learner = kind.learner(self.model, recipe, mixed_precision=mixed_precision)
        for network in self.learner.networks.values():
            _on(network, device)
        self.base_rates = {
            name: [group["lr"] for group in optimizer.param_groups]
            for name, optimizer in self.learner.optimizers.items()
        }
        self.sampler = PatchSampler(
            pairs,
            patch=recipe.patch,
            levels=sizes.levels,
            channels=channels,
            balance=recipe.balance,
            period=self.learner.period,
        )
        self.patches = ConditionPatches(self.sampler, recipe.seed, device)
        self.parts: dict[str, nn.Module | torch.optim.Optimizer] = {"model": self.model}
        self.parts |= {f"network {name}": part for name, part in self.learner.networks.items()}
        self.parts |= {f"optimizer {name}": part for name, part in self.learner.optimizers.items()}
        self.average: LearnedModel | None = None
        if recipe.ema:
            self.average = self.parts["average"] = kind.model(sizes, vocabulary).to(device)
        # what is fitted to the weights goes into a copy: the training goes on as if nothing had been validated
        self.copy = kind.model(sizes, vocabulary).to(device)
        self.best = kind.model(sizes, vocabulary)
        self.best_validation: Validation | None = None
        self.last_validation: Validation | None = None
        self._seconds_before, self._began = 0.0, monotonic()

    @property
    def steps(self) -> int:
        recipe = self.recipe
        if recipe.steps is not None:
            return recipe.steps
        return max(1, recipe.epochs * self.sampler.patches // recipe.batch)

    @property
    def seconds(self) -> float:
        """Spent on this training, in this session and those before."""
        return self._seconds_before + monotonic() - self._began

    @property
    def notes(self) -> dict[str, object]:
        """What the state says beside the weights."""
        results = (("best", self.best_validation), ("last", self.last_validation))
        return {name: result and result.to_dict() for name, result in results} | {"seconds": self.seconds}

    def start(self, state: Path, record: Mapping[str, object]) -> int:
        """Restores the state of an interrupted run or initialises; returns the number of steps done."""
        step, notes = load_state(state, self.parts, record)
        if step == 0:
            draws = initial_draws(self.sampler, self.recipe.seed, self.recipe.batch, self.device)
            self.learner.initialise(draws)
            self.ranks.share_weights(self.model)
            if self.average is not None:
                self.average.load_state_dict(self.model.state_dict())
        else:
            self.best_validation, self.last_validation = (
                notes[name] and Validation.from_dict(notes[name]) for name in ("best", "last")
            )
            self._seconds_before = notes["seconds"]
        return step

    def step(self, step: int) -> dict[str, float]:
        """One step; returns the losses of the whole batch by name."""
        recipe = self.recipe
        if step in self.learner.settles_before(self.steps):
            self.learner.settle(self.average or self.model, self.patches, step, self.steps)
        drawn = draw(self.sampler, recipe.seed, step, recipe.batch, device=self.device, ranks=self.ranks)
        rate = self.learner.rate(step, self.steps)
        for name, optimizer in self.learner.optimizers.items():
            for group, base in zip(optimizer.param_groups, self.base_rates[name], strict=True):
                group["lr"] = base * rate
        losses = self.learner.step(drawn, step, self.steps, lambda name, loss: self.update(name, loss, drawn))
        if not losses:
            return {}
        self.ranks.average_buffers(self.model)
        if self.average is not None:
            update_average(self.average, self.model, recipe.ema, step)
        totals = self.ranks.sum(torch.stack(list(losses.values())) * drawn.share).tolist()
        values = dict(zip(losses, totals, strict=True))
        for name, value in values.items():
            if not math.isfinite(value):
                raise NoisegenError(f"loss {name} is {value} at step {step}; lower the learning rates")
        return values

    def update(self, name: str, loss: Tensor, drawn: Draw) -> None:
        """Gradients of a mean over this rank's patches, as its share of the mean over the whole batch, and a step."""
        optimizer = self.learner.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        (loss * drawn.share).backward()
        self.ranks.sum_gradients([p for group in optimizer.param_groups for p in group["params"]])
        optimizer.step()

    def settled(self, done: int) -> LearnedModel:
        """The weights to validate or keep after so many steps, with what is fitted to them."""
        self.copy.load_state_dict((self.average or self.model).state_dict())
        self.learner.settle(self.copy, self.patches, done, self.steps)
        return self.copy

    def validate(self, validator: Validator, step: int) -> dict[str, float]:
        """Scores the weights after `step` steps, and keeps them if they are the best so far."""
        weights = self.settled(step)
        result = self.last_validation = validator.score(weights, step)
        best = self.best_validation
        if math.isfinite(result.score) and (best is None or result.score < best.score):
            self.best_validation = result
            self.best.load_state_dict(weights.state_dict())
        return {"kld_nm": result.kld_nm, "acf_error": result.acf_error}

    def outcome(self) -> Trained:
        if self.recipe.keep == "best" and self.best_validation is not None:
            return Trained(self.best.eval(), self.best_validation, self.seconds)
        self.best.load_state_dict(self.settled(self.steps).state_dict())
        return Trained(self.best.eval(), self.last_validation, self.seconds)


def _on(module: M, device: str) -> M:
    # torch's stubs leave this form of Module.to out
    placed: M = module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed
