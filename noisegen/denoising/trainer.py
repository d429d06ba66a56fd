"""The training loop of denoisers: steps, validations, resumable state."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from noisegen.datasets.pairs import Pair
from noisegen.denoising.config import DenoiserConfig
from noisegen.denoising.dncnn import DnCNN
from noisegen.denoising.memory import out_of_memory
from noisegen.denoising.sources import Source
from noisegen.denoising.steps import Optimisation
from noisegen.denoising.stream import PatchBatch, PatchStream
from noisegen.denoising.validation import DenoiserValidation, DenoiserValidator
from noisegen.errors import NoisegenError
from noisegen.models.protocol import NoiseModel
from noisegen.progress import Progress
from noisegen.training.averaging import update_average
from noisegen.training.curves import write_curves
from noisegen.training.distributed import Ranks
from noisegen.training.journal import Journal
from noisegen.training.state import load_state, save_state

__all__ = ["TrainedDenoiser", "train_dncnn"]

logger = logging.getLogger(__name__)

LOSSES = {"loss": "loss (units of 2**bit_depth grey levels)", "train_psnr": "PSNR of training patches, dB"}
SCORES = ("psnr",)
SAVE_EVERY = 500
LOG_EVERY = 20


@dataclass(frozen=True)
class TrainedDenoiser:
    """The outcome of a training.

    Attributes:
        model: in eval mode on the CPU.
        validation: its scores; None where there was no validation.
    """

    model: DnCNN
    validation: DenoiserValidation | None


def train_dncnn(
    sources: Sequence[Source],
    config: DenoiserConfig,
    work: Path,
    *,
    channels: int,
    bit_depth: int,
    noise_model: NoiseModel | None = None,
    validation: Sequence[Pair] = (),
    curves: Path | None = None,
    device: str = "cpu",
    mixed_precision: bool = False,
    workers: int | None = None,
    ranks: Ranks | None = None,
    quiet: bool = False,
) -> TrainedDenoiser:
    """Trains a DnCNN, continuing from `work` if it holds the state of an interrupted training.

    Args:
        sources: pictures to train on.
        config: the recipe.
        work: folder for `state.safetensors`, `log.csv` and `config.json`.
        channels, bit_depth: of the pictures.
        noise_model: draws the noise of clean sources, on `device`.
        validation: real pairs.
        curves: PNG file of loss and PSNR, drawn at each validation and at the end.
        device: "cpu" or "cuda".
        mixed_precision: bfloat16 autocast of the network.
        workers: threads that read patches; None for what the machine has, up to 8.
        ranks: the processes that train together; rank 0 writes.
        quiet: no progress.

    Returns:
        The denoiser (averaged weights if `config.ema` is not 0), at the best validation or the end as `config.keep`
        says.

    Raises:
        UsageError: pictures do not fit, or `work` belongs to another configuration.
        NoisegenError: the loss became NaN, or the memory does not hold a batch.
    """
    ranks = ranks or Ranks()
    if torch.device(device).type == "cuda":
        torch.backends.cudnn.deterministic = True
    stream = PatchStream(
        sources,
        patch=config.patch,
        batch=config.batch,
        seed=config.seed,
        balance=config.balance,
        magnify=config.magnify,
        ranks=ranks,
    )
    steps = config.steps or max(1, config.epochs * stream.patches // config.batch)
    training = _Training(config, steps, channels, bit_depth, noise_model, device, mixed_precision, ranks)
    validator = None
    if validation:
        validator = DenoiserValidator(
            validation,
            crop=config.validate_crop,
            channels=channels,
            bit_depth=bit_depth,
            device=device,
            ranks=ranks,
        )
    record = config.to_dict() | {
        "channels": channels,
        "bit_depth": bit_depth,
        "pictures": sum(source.record["pictures"] for source in sources),
        "validation_pairs": len(validation),
    }
    start = training.start(work / "state.safetensors", record)
    if ranks.leads:
        work.mkdir(parents=True, exist_ok=True)
        (work / "config.json").write_text(json.dumps(record, indent=1) + "\n")
    logger.info(
        "training on %s, bfloat16 %s, steps %d to %d",
        device,
        "on" if mixed_precision else "off",
        start,
        steps,
    )
    log = work / "log.csv"
    workers = workers or max(1, min(8, (os.cpu_count() or 1) // ranks.size))
    with (
        Journal(log if ranks.leads else None, start) as journal,
        Progress(steps, "step", "train-denoiser", done=start, quiet=quiet or not ranks.leads) as progress,
        closing(stream.batches(start, steps, workers=workers)) as batches,
    ):
        shown: dict[str, Any] = {}
        for batch in batches:
            with out_of_memory(training.optimisation, batch):
                training.step(batch)
            done = batch.step + 1
            ends = done == steps
            validates = validator is not None and (ends or done % config.validate_every == 0)
            saves = ends or done % SAVE_EVERY == 0
            if batch.step % LOG_EVERY == 0 or validates or saves:
                losses = training.losses()
                journal.write(batch.step, losses)
                shown |= {name: float(f"{value:.4g}") for name, value in losses.items()}
            progress.update(1, pixels=config.batch * config.patch**2, **shown)
            if validates:
                assert validator is not None
                scores = training.validate(validator, done)
                shown["psnr"] = scores.psnr
                progress.update(0, **shown)
                journal.write(batch.step, {"psnr": scores.psnr})
            if saves and ranks.leads:
                journal.flush()
                save_state(work / "state.safetensors", done, training.parts, record, training.notes)
            if (validates or ends) and curves is not None and ranks.leads:
                journal.flush()
                best = training.best_validation
                marked = None if best is None else best.step
                write_curves(log, curves, losses=LOSSES, scores=SCORES, best=marked)
    return training.outcome()


class _Training:
    """The network under training, and what was best so far."""

    def __init__(
        self,
        config: DenoiserConfig,
        steps: int,
        channels: int,
        bit_depth: int,
        noise_model: NoiseModel | None,
        device: str,
        mixed_precision: bool,
        ranks: Ranks,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.ranks = config, ranks

        def network() -> DnCNN:
            return DnCNN(channels, config.layers, config.width, bit_depth)

        # torch's stubs leave this form of Module.to out
        self.model: DnCNN = network().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.identity:
            for values in self.model.body[-1].parameters():
                nn.init.zeros_(values)
        self.optimisation = Optimisation(
            self.model,
            config,
            steps,
            noise_model=noise_model,
            device=device,
            mixed_precision=mixed_precision,
            ranks=ranks,
        )
        self.parts: dict[str, nn.Module | torch.optim.Optimizer] = {
            "model": self.model,
            "optimizer": self.optimisation.optimizer,
        }
        self.average: DnCNN | None = None
        if config.ema:
            self.average = self.parts["average"] = network().to(device)
            self.average.load_state_dict(self.model.state_dict())
        self.best = self.parts["best"] = network()
        self.sums, self.summed = torch.zeros(2, device=device), 0
        self.best_validation: DenoiserValidation | None = None
        self.last_validation: DenoiserValidation | None = None

    @property
    def shown(self) -> DnCNN:
        """The weights that are validated and kept."""
        return self.model if self.average is None else self.average

    @property
    def notes(self) -> dict[str, Any]:
        validations = {"best": self.best_validation, "last": self.last_validation}
        return {name: value.to_dict() for name, value in validations.items() if value is not None}

    def start(self, state: Path, record: dict[str, Any]) -> int:
        """Restores an interrupted training; the number of steps that it had done."""
        step, notes = load_state(state, self.parts, record)
        read = {name: DenoiserValidation.of_dict(value) for name, value in notes.items()}
        self.best_validation, self.last_validation = read.get("best"), read.get("last")
        self.ranks.share_weights(self.model)
        return step

    def step(self, batch: PatchBatch) -> None:
        self.sums += self.optimisation.step(batch)
        self.summed += 1
        if self.average is not None:
            update_average(self.average, self.model, self.config.ema, batch.step)

    def losses(self) -> dict[str, float]:
        """Means over all ranks and the steps since this was last asked: the loss, and PSNR in dB of the patches.

        Raises:
            NoisegenError: one of the steps was not finite.
        """
        bad = min(self.ranks.gather(float(self.optimisation.bad_step)))
        if not math.isinf(bad):
            raise NoisegenError(
                f"the loss became NaN or infinite at step {int(bad)}; the state before it is kept; choose a lower "
                "--learning-rate, or look for pictures with broken values"
            )
        loss, squared = (self.ranks.sum(self.sums) / self.summed).tolist()
        self.sums, self.summed = torch.zeros_like(self.sums), 0
        return {"loss": loss, "train_psnr": -10 * math.log10(squared)}

    def validate(self, validator: DenoiserValidator, done: int) -> DenoiserValidation:
        self.last_validation = scores = validator(self.shown, done)
        if self.best_validation is None or scores.psnr > self.best_validation.psnr:
            self.best_validation = scores
            self.best.load_state_dict(self.shown.state_dict())
        return scores

    def outcome(self) -> TrainedDenoiser:
        if self.config.keep == "best" and self.best_validation is not None:
            return TrainedDenoiser(self.best.eval(), self.best_validation)
        return TrainedDenoiser(self.shown.cpu().eval(), self.last_validation)
