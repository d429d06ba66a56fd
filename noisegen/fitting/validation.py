"""Validation during training: the scores of `noisegen eval-noise` on a few pictures of each condition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from noisegen.conditions import Condition
from noisegen.datasets.pairs import Pair, load_pair
from noisegen.errors import InputError, UsageError
from noisegen.evaluation.noise_eval import central_crop, evaluate_noise
from noisegen.models import prepare_for_synthesis
from noisegen.models.learning import LearnedModel
from noisegen.noisy_pool import needs_references
from noisegen.png import encode_png
from noisegen.training.distributed import Ranks

__all__ = ["Validation", "Validator", "validation_pictures"]


@dataclass(frozen=True)
class Validation:
    """Scores at one moment of the training; lower is better.

    Attributes:
        step: steps done.
        kld_nm, acf_error: means over conditions, see `noisegen.evaluation.noise_eval.NoiseScore`.
        conditions: (camera, ISO, kld_nm, acf_error) of each.
    """

    step: int
    kld_nm: float
    acf_error: float
    conditions: tuple[tuple[str, int, float, float], ...]

    @property
    def score(self) -> float:
        """What the best weights are chosen by."""
        return self.kld_nm + self.acf_error

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them."""
        return asdict(self) | {"conditions": [list(row) for row in self.conditions]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Validation:
        """The inverse of `to_dict`."""
        rows = tuple((str(c), int(iso), float(k), float(a)) for c, iso, k, a in values["conditions"])
        return cls(values["step"], values["kld_nm"], values["acf_error"], rows)


def validation_pictures(pairs: Sequence[Pair], pictures: int) -> list[Pair]:
    """At most `pictures` pairs of each condition and dataset, evenly over the table, in its order."""
    groups: dict[tuple[str | None, Condition], list[int]] = defaultdict(list)
    for index, pair in enumerate(pairs):
        groups[pair.dataset, pair.condition].append(index)
    kept = set()
    for members in groups.values():
        count = min(pictures, len(members))
        kept |= {members[(2 * index + 1) * len(members) // (2 * count)] for index in range(count)}
    return [pairs[index] for index in sorted(kept)]


class Validator:
    """Scores a model on the central squares of pairs, which are kept as small files between validations.

    A model that needs references has each pair's own noisy picture for one.

    Args:
        pairs: pictures to score on; conditions that the model covers.
        crop: side of the central square in pixels.
        folder: for the squares.
        device: where to make the noise.
        ranks: each of these processes scores some of the conditions.

    Raises:
        UsageError: a pair cannot be read.
    """

    def __init__(self, pairs: Sequence[Pair], *, crop: int, folder: Path, device: str, ranks: Ranks) -> None:
        self.device, self.ranks = device, ranks
        if ranks.leads:
            folder.mkdir(parents=True, exist_ok=True)
        squares = []
        for index, pair in enumerate(pairs):
            square = replace(
                pair,
                noisy_path=folder / f"{index:04d}_noisy.png",
                clean_path=folder / f"{index:04d}_clean.png",
            )
            squares.append(square)
            if ranks.leads:
                try:
                    pictures = load_pair(pair)
                except InputError as error:
                    raise UsageError(f"validation pair {pair.name}: {error}") from error
                for picture, path in zip(pictures, (square.noisy_path, square.clean_path), strict=True):
                    path.write_bytes(encode_png(central_crop(picture, crop)))
        ranks.wait()
        conditions = sorted({(square.dataset or "", square.condition) for square in squares})
        mine = set(conditions[ranks.rank :: ranks.size])
        self.pairs = [square for square in squares if (square.dataset or "", square.condition) in mine]

    def score(self, model: LearnedModel, step: int) -> Validation:
        """The scores of a model after `step` steps, the same on every rank.

        Raises:
            UsageError: a condition could not be scored.
        """
        with _training_goes_on(model):
            prepared = prepare_for_synthesis(model.eval(), device=self.device)
            mine = evaluate_noise(
                prepared, self.pairs, crop=0, device=self.device, paired=needs_references(prepared)
            )
        rows = [row for part in self.ranks.gather(mine) for row in part]
        rows.sort(key=lambda row: (row.dataset, row.condition))
        scored = [(row, row.score) for row in rows if row.score is not None]
        if len(scored) < len(rows):
            problems = "; ".join(problem for row in rows if row.score is None for problem in row.problems)
            raise UsageError(f"validation: {problems}; choose other rows by --validate-split, '' for none")
        return Validation(
            step,
            sum(score.kld_nm for _, score in scored) / len(scored),
            sum(score.acf_error for _, score in scored) / len(scored),
            tuple((r.condition.camera, r.condition.iso, s.kld_nm, s.acf_error) for r, s in scored),
        )


@contextmanager
def _training_goes_on(model: LearnedModel) -> Iterator[None]:
    """Puts back what synthesis sets for the sake of its own reproducibility, and the model's mode."""
    cudnn, training = torch.backends.cudnn, model.training
    before = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = before
        model.train(training)
