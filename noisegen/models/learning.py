"""How a type of noise model learns: its recipe, and the steps that the trainer has it do."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor, nn

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import UsageError
from noisegen.models.protocol import Randomness
from noisegen.suggestions import did_you_mean

__all__ = ["Batch", "LearnedModel", "Learner", "ModelSizes", "Patches", "Recipe", "Update", "rate_at"]


@dataclass(frozen=True)
class ModelSizes:
    """Architecture of a model; each type adds its own widths and depths, plain values or tuples of such.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        bit_depth: 8 to 16; pixel values lie in 0 .. 2**bit_depth - 1.
    """

    channels: int = 3
    bit_depth: int = 8

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise UsageError(f"channels must be 1 (grey) or 3 (RGB), not {self.channels}")
        if not 8 <= self.bit_depth <= 16:
            raise UsageError(f"bit_depth must be 8 to 16, not {self.bit_depth}")

    @property
    def levels(self) -> float:
        """Number of grey levels."""
        return float(2**self.bit_depth)

    @property
    def grey(self) -> float:
        """Pixel values in one 8-bit grey level."""
        return self.levels / 256.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint's metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The sizes stored in a checkpoint.

        Raises:
            UsageError: a field is unknown or missing, so the file comes from another version.
        """
        if odd := sorted(set(values) ^ {field.name for field in fields(cls)}):
            raise UsageError(
                f"checkpoint configuration does not fit this version of noisegen: {', '.join(odd)}"
            )
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; every value is stored in the checkpoint's card. Each type adds its own.

    Attributes:
        model: the architecture; `sizes` are its fields that are changed, with their values.
        steps: number of training steps; None means `epochs` passes over the patches of a step-48 grid.
        epochs: used when `steps` is None.
        batch: patches per step.
        patch: side of the square training patch in pixels.
        seed: of everything random.
        schedule: of the learning rates, "halve" (every quarter of the training) or "cosine" (to 2 %).
        balance: draw conditions, then pictures, uniformly, instead of patches.
        ema: decay of the averaged weights that are saved; 0 saves the last ones.
        validate_every: steps between two validations; there is one at the end in any case.
        validate_pictures: pictures of a condition that are validated on.
        validate_crop: side of their central square in pixels.
        keep: which weights become the model: the "best" validated or the "last" ones.
    """

    model: ModelSizes
    sizes: tuple[tuple[str, Any], ...] = ()
    steps: int | None = 2000
    epochs: int = 40
    batch: int = 16
    patch: int = 96
    seed: int = 0
    schedule: Literal["cosine", "halve"] = "cosine"
    balance: bool = True
    ema: float = 0.998
    validate_every: int = 200
    validate_pictures: int = 4
    validate_crop: int = 512
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        self.architecture(3, 8)  # refuses sizes that are none

    def architecture(self, channels: int, bit_depth: int) -> ModelSizes:
        """The model's sizes for pictures of `channels` channels and `bit_depth` bits.

        Raises:
            UsageError: a changed size is none of the model's.
        """
        changed: dict[str, Any] = dict(self.sizes)
        known = [field.name for field in fields(self.model) if field.name not in ("channels", "bit_depth")]
        if unknown := sorted(changed.keys() - set(known)):
            hint = did_you_mean(unknown[0], known) or ";"
            raise UsageError(f"{unknown[0]!r} is no size of this model{hint} there are: {', '.join(known)}")
        return replace(self.model, **changed | {"channels": channels, "bit_depth": bit_depth})

    def lasting(self, steps: int) -> Self:
        """The recipe in so many steps; a type moves what begins or recurs at a step in proportion."""
        return replace(self, steps=steps)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain | {"sizes": json.loads(json.dumps(dict(self.sizes)))}


class LearnedModel(nn.Module, ABC):
    """A network that is a `noisegen.models.protocol.NoiseModel`.

    Its constructor takes (sizes, vocabulary) and draws nothing when torch's default device is "meta". Whatever its
    checkpoint must hold is a parameter or a buffer.
    """

    sizes: ModelSizes
    vocabulary: Vocabulary

    @property
    def channels(self) -> int:
        return self.sizes.channels

    @property
    def bit_depth(self) -> int:
        return self.sizes.bit_depth

    @property
    def alignment(self) -> int:
        """See `NoiseModel`; a model that works in squares of pixels overrides it."""
        return 1

    @abstractmethod
    def sample(
        self, clean: Tensor, condition: Sequence[Condition], *, noise: Randomness, strength: float = 1.0
    ) -> Tensor:
        """See `NoiseModel.sample`."""


class Batch(Protocol):
    """One process' part of the patches of a step, and its part of the step's random numbers.

    Attributes:
        noisy, clean: float32 [b, C, patch, patch], pixel values.
        conditions: of the whole batch, in all processes: B of them.
        part: which rows of the batch this is, so that `conditions[part]` are those of `noisy`.
    """

    noisy: Tensor
    clean: Tensor
    conditions: Sequence[Condition]
    part: slice

    def uniform(self) -> Tensor:
        """The next numbers in [0, 1), [b, C, patch, patch]."""
        ...

    def normal(self) -> Tensor:
        """The next standard normal numbers, [b, C, patch, patch]."""
        ...

    def alpha(self) -> Tensor:
        """The next number in [0, 1) for each patch, [b, 1, 1, 1]."""
        ...

    def randomness(self) -> Randomness:
        """The next numbers as `NoiseModel.sample` takes them, with a key of each patch."""
        ...


class Patches(Protocol):
    """Training patches on demand."""

    def of_condition(self, condition: Condition, count: int, *, draw: int = 0) -> Batch:
        """`count` patches of one condition, the same whenever they are asked for; others for another `draw`."""
        ...


Update = Callable[[str, Tensor], None]
"""`update(name, loss)`: one step of the optimizer of this name by the gradients of a mean over this batch's patches."""


def rate_at(schedule: str, step: int, steps: int) -> float:
    """The factor on the learning rates at a step: "halve" every quarter of the steps, or "cosine" to 2 %."""
    if schedule == "halve":
        return 0.5 ** (4 * step // steps)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps))


class Learner(ABC):
    """A model under training. The trainer owns the loop: patches, learning rates, averaging, validation, state.

    Args:
        model: changed in place.
        recipe: of the type's own class.
        mixed_precision: bfloat16 autocast where the type allows it.

    Attributes:
        networks: modules beside the model that the training needs, such as critics; they are part of its state.
        optimizers: by name, with the recipe's learning rates, which the trainer multiplies by its schedule's factor.
        titles: name of a loss -> title of its plot.
    """

    titles: ClassVar[Mapping[str, str]] = {}

    def __init__(self, model: LearnedModel, recipe: Recipe, *, mixed_precision: bool = False) -> None:
        self.model, self.recipe, self.mixed_precision = model, recipe, mixed_precision
        self.networks: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}

    def initialise(self, batches: Iterable[Batch]) -> None:  # noqa: B027 (most need none)
        """Sets the weights that a training starts from, by looking at some whole batches."""

    @property
    def period(self) -> int:
        """1, or 2 where patches must keep the pixels' positions in a mosaic of so many."""
        return 1

    def rate(self, step: int, steps: int) -> float:
        """The factor on the learning rates at a step."""
        return rate_at(self.recipe.schedule, step, steps)

    @abstractmethod
    def step(self, batch: Batch, step: int, steps: int, update: Update) -> dict[str, Tensor]:
        """Step number `step` (from 0) of `steps`: calls ``update(name, loss)`` for each optimizer whose turn it is.

        Returns:
            The losses by name, each a mean over this batch's patches, detached. Empty where nothing was updated.
        """

    def settle(  # noqa: B027 (likewise)
        self, weights: LearnedModel, patches: Patches, done: int, steps: int
    ) -> None:
        """Sets what is not learned by gradients but fitted to the other weights, in `weights`.

        Called when weights (the averaged ones, where there are such) are validated or kept, with a copy, and before the
        steps of `settles_before`, with the ones that are trained on.

        Args:
            weights: changed in place.
            patches: of the training pairs.
            done, steps: steps done, and steps in all.
        """

    def settles_before(self, steps: int) -> Collection[int]:
        """Numbers of the steps, of `steps`, that need what `settle` sets."""
        return ()
