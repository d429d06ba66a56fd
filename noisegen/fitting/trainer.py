"""The training loop of NM-FlowGAN: steps, validations, resumable state."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from noisegen.conditions import Vocabulary
from noisegen.datasets.pairs import Pair
from noisegen.errors import NoisegenError
from noisegen.fitting.config import TrainConfig
from noisegen.fitting.correlation import fit_correlation
from noisegen.fitting.draws import draw, initial_draws
from noisegen.fitting.initialisation import initialise_flow
from noisegen.fitting.patches import PatchSampler
from noisegen.fitting.schedule import generator_begins, turn_at
from noisegen.fitting.steps import Optimisation
from noisegen.fitting.validation import Validation, Validator, validation_pictures
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.progress import Progress
from noisegen.training.averaging import update_average
from noisegen.training.curves import write_curves
from noisegen.training.distributed import Ranks
from noisegen.training.journal import Journal
from noisegen.training.state import load_state, save_state

__all__ = ["Trained", "train_nm_flowgan"]

# Plots of the log: name -> title
LOSSES = {
    "nll": "flow: negative log-likelihood (nats per value)",
    "statistics": "generator: second moments",
    "quantiles": "generator: sorted values",
    "generator": "generator: adversarial loss",
    "critic": "critic: loss with gradient penalty",
}
SCORES = ("kld_nm", "acf_error")

SAVE_EVERY = 200
LOG_EVERY = 20


@dataclass(frozen=True)
class Trained:
    """The outcome of a training.

    Attributes:
        model: in eval mode on the CPU, without critic.
        validation: its scores and the step they are of; None where there was no validation.
    """

    model: NMFlowGAN
    validation: Validation | None


def train_nm_flowgan(
    pairs: Sequence[Pair],
    config: TrainConfig,
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
        pairs: real training pairs; their conditions become the model's vocabulary.
        config: the recipe.
        work: folder for `state.safetensors`, `log.csv`, `config.json` and `validation/`.
        validation: pairs to validate on, of which some are taken (see `TrainConfig`); their conditions must be covered.
        curves: PNG file of the losses and scores, drawn at each validation and at the end.
        channels, bit_depth: of the pictures.
        device: "cpu" or "cuda".
        mixed_precision: bfloat16 autocast of the generator; flow, critic and gradient penalty stay float32.
        ranks: the processes that train together; rank 0 writes.
        quiet: no progress.

    Returns:
        The model (averaged weights if `config.ema` is not 0), at the best validation or the end as `config.keep` says.

    Raises:
        UsageError: pairs do not fit the model, or `work` belongs to another configuration.
        NoisegenError: a loss became NaN.
    """
    ranks = ranks or Ranks()
    if torch.device(device).type == "cuda":
        torch.backends.cudnn.deterministic = True
    training = _Training(pairs, config, channels, bit_depth, device, mixed_precision, ranks)
    record = config.to_dict() | {
        "channels": channels,
        "bit_depth": bit_depth,
        "pairs": len(pairs),
        "validation_pairs": len(validation),
    }
    validator = None
    if validation:
        validator = Validator(
            validation_pictures(validation, config.validate_pictures),
            crop=config.validate_crop,
            folder=work / "validation",
            device=device,
            ranks=ranks,
        )
        training.parts["best"] = training.best
    start = training.start(work / "state.safetensors", record)
    if ranks.leads:
        work.mkdir(parents=True, exist_ok=True)
        (work / "config.json").write_text(json.dumps(record, indent=1) + "\n")

    log = work / "log.csv"
    steps = training.steps
    with (
        Journal(log if ranks.leads else None, start) as journal,
        Progress(steps, "step", "train", quiet=quiet or not ranks.leads) as progress,
    ):

        def draw_curves() -> None:
            journal.flush()
            if curves is not None and ranks.leads:
                best = training.best_validation
                marked = None if best is None else best.step
                write_curves(log, curves, losses=LOSSES, scores=SCORES, best=marked, from_zero=True)

        progress.update(start)
        for step in range(start, steps):
            losses = training.step(step)
            progress.update(1, **{name: round(value, 4) for name, value in losses.items()})
            if step % LOG_EVERY == 0:
                journal.write(step, losses)
            done = step + 1
            if validator is not None and (done % config.validate_every == 0 or done == steps):
                scores = training.validate(validator, done)
                progress.update(0, **{name: round(value, 4) for name, value in scores.items()})
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
        pairs: Sequence[Pair],
        config: TrainConfig,
        channels: int,
        bit_depth: int,
        device: str,
        mixed_precision: bool,
        ranks: Ranks,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device, self.ranks = config, device, ranks
        vocabulary = Vocabulary.of(pair.condition for pair in pairs)
        sizes = config.architecture(channels, bit_depth)
        model = NMFlowGAN(sizes, vocabulary, critic=sizes.generator)
        # torch's stubs leave this form of Module.to out
        self.model = model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.sampler = PatchSampler(
            pairs,
            patch=config.patch,
            levels=sizes.levels,
            channels=channels,
            balance=config.balance,
            period=sizes.period,
        )
        self.optimisation = Optimisation(model, config, mixed_precision=mixed_precision, ranks=ranks)
        self.parts: dict[str, nn.Module | torch.optim.Optimizer] = self.optimisation.parts
        # What is validated and kept needs no critic, which judges noise in training only.
        self.average: NMFlowGAN | None = None
        if config.ema:
            self.average = self.parts["average"] = NMFlowGAN(sizes, vocabulary).to(device)
        self.best = NMFlowGAN(sizes, vocabulary)
        self.best_validation: Validation | None = None
        self.last_validation: Validation | None = None

    @property
    def steps(self) -> int:
        config = self.config
        if config.steps is not None:
            return config.steps
        return max(1, config.epochs * self.sampler.patches // config.batch)

    @property
    def notes(self) -> dict[str, object]:
        """What the state says beside the weights."""
        return {
            name: result and result.to_dict()
            for name, result in (("best", self.best_validation), ("last", self.last_validation))
        }

    def start(self, state: Path, record: Mapping[str, object]) -> int:
        """Restores the state of an interrupted run or initialises; returns the number of steps done."""
        step, notes = load_state(state, self.parts, record)
        if step == 0:
            by_condition = "flow" not in self.config.without
            draws = initial_draws(self.sampler, self.config.seed, self.config.batch, self.device)
            initialise_flow(self.model, draws, by_condition=by_condition)
            self.ranks.share_weights(self.model)
            if self.average is not None:
                self.average.load_state_dict(_without_critic(self.model))
        else:
            results = {name: note and Validation.from_dict(note) for name, note in notes.items()}
            self.best_validation, self.last_validation = results.get("best"), results.get("last")
        return step

    def step(self, step: int) -> dict[str, float]:
        """One step; returns the losses of the whole batch by name."""
        config = self.config
        turn = turn_at(config, step, self.steps)
        if not (turn.flow or turn.generator or turn.critic):
            return {}
        if step == generator_begins(config, self.steps):
            self.fit_correlation()
        drawn = draw(self.sampler, config.seed, step, config.batch, device=self.device, ranks=self.ranks)
        losses = self.optimisation.step(turn, drawn)
        if self.average is not None and (turn.flow or turn.generator):
            update_average(self.average, self.model, config.ema, step)
        totals = self.ranks.sum(torch.stack(list(losses.values()))).tolist()
        values = dict(zip(losses, totals, strict=True))
        for name, value in values.items():
            if not math.isfinite(value):
                raise NoisegenError(f"loss {name} is {value} at step {step}; lower the learning rates")
        return values

    def validate(self, validator: Validator, step: int) -> dict[str, float]:
        """Scores the weights after `step` steps, and keeps them if they are the best so far."""
        weights = self.average or self.model
        self.fit_correlation(done=step)
        result = self.last_validation = validator.score(weights, step)
        best = self.best_validation
        if math.isfinite(result.score) and (best is None or result.score < best.score):
            self.best_validation = result
            self.best.load_state_dict(_without_critic(weights))
        return {"kld_nm": result.kld_nm, "acf_error": result.acf_error}

    def fit_correlation(self, done: int = 0) -> None:
        """Fits the filter to the flow as it is now, unless in `done` steps a generator has trained on the last one."""
        begins = generator_begins(self.config, self.steps)
        weights = self.average or self.model
        if weights.correlation is None or (begins is not None and done > begins):
            return
        fit_correlation(weights, self.sampler, self.config.seed)
        assert self.model.correlation is not None
        self.model.correlation.table.copy_(weights.correlation.table)

    def outcome(self) -> Trained:
        if self.config.keep == "best" and self.best_validation is not None:
            return Trained(self.best.eval(), self.best_validation)
        self.fit_correlation(done=self.steps)
        self.best.load_state_dict(_without_critic(self.average or self.model))
        return Trained(self.best.eval(), self.last_validation)


def _without_critic(model: NMFlowGAN) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if not name.startswith("critic.")}
