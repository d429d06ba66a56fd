"""What every noise model offers, and the randomness it is handed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from noisegen.conditions import Condition, Vocabulary

if TYPE_CHECKING:
    import torch

__all__ = ["BatchedModel", "NoiseModel", "PreparedModel", "Randomness", "ReferencedModel"]


@dataclass(frozen=True)
class Randomness:
    """Random numbers for one batch, made outside the model (see `noisegen.synthesis.randomness`).

    Attributes:
        normal: float32 [B, C, H, W], standard normal.
        uniform: float32 [B, C, H, W] in [0, 1), independent of `normal`.
        key: int64 [B, 2], each below 2**32, the same for all parts of one noisy picture: what
            `noisegen.models.picture_randomness` makes random numbers of the whole picture from. None where only models
            are asked that use none.
    """

    normal: torch.Tensor
    uniform: torch.Tensor
    key: torch.Tensor | None = None


class NoiseModel(Protocol):
    """An object that turns clean pictures into noisy ones.

    Attributes:
        vocabulary: the cameras and ISO settings it knows.
        channels: 1 (grey) or 3 (RGB).
        bit_depth: 8 to 16; pixel values lie in 0 .. 2**bit_depth - 1.
        alignment: side in pixels of the squares that it works in (a mosaic's, or those of pooling), 1 for none. Parts
            of a photograph that are to fit together start at multiples of it.
    """

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def channels(self) -> int: ...

    @property
    def bit_depth(self) -> int: ...

    @property
    def alignment(self) -> int: ...

    def sample(
        self,
        clean: torch.Tensor,
        condition: Sequence[Condition],
        *,
        noise: Randomness,
        strength: float = 1.0,
    ) -> torch.Tensor:
        """Draws noisy pictures.

        Args:
            clean: float32 [B, C, H, W], integer values in 0 .. 2**bit_depth - 1.
            condition: one (camera, ISO) for each picture of the batch.
            noise: the random numbers to use; the result is a pure function of the arguments.
            strength: positive factor of the noise's standard deviation. It acts where the model makes the noise,
                before the camera's tone curve (where the model has one), before clipping and before rounding.

        Returns:
            float32 [B, C, H, W], integer values in 0 .. 2**bit_depth - 1.

        Raises:
            InputError: a camera or ISO that the model does not cover.
        """
        ...


@runtime_checkable
class BatchedModel(NoiseModel, Protocol):
    """A noise model that draws several pictures at once on a CPU, each the same to the last bit as alone."""

    def pictures_at_once(self, height: int, width: int) -> int:
        """How many pictures of a size to draw together."""
        ...


@runtime_checkable
class PreparedModel(NoiseModel, Protocol):
    """A noise model whose work on the device needs no word from the host, so that a CUDA graph can hold it.

    ``sample(clean, condition, noise=noise, strength=strength)`` is up to rounding
    ``render(clean, noise, prepare(condition_rows(condition), strength))``.
    """

    def condition_rows(self, condition: Sequence[Condition]) -> torch.Tensor:
        """The conditions as numbers, float64 [B, 3], on the host.

        Raises:
            InputError: a camera or ISO that the model does not cover.
        """
        ...

    def prepare(self, rows: torch.Tensor, strength: float) -> Any:
        """What the conditions (on the device) and the strength contribute; the form is the model's own."""
        ...

    def render(self, clean: torch.Tensor, noise: Randomness, prepared: Any) -> torch.Tensor:
        """Draws noisy pictures, as `NoiseModel.sample`."""
        ...


@runtime_checkable
class ReferencedModel(NoiseModel, Protocol):
    """A noise model that can take what it does not know of the camera from a noisy picture, the reference.

    What it wants to know of it is a few numbers, its description. They are taken once of each reference, and then
    handed to `sample` with every picture that is to get noise like the reference's.

    Attributes:
        needs_reference: whether it can draw no noise without.
    """

    @property
    def needs_reference(self) -> bool: ...

    def describe(
        self, noisy: torch.Tensor, clean: torch.Tensor, condition: Sequence[Condition]
    ) -> torch.Tensor:
        """The descriptions of references.

        Args:
            noisy, clean: float32 [B, C, H, W], integer values in 0 .. 2**bit_depth - 1.
            condition: their cameras and ISO settings.

        Returns:
            float32 [B, K].

        Raises:
            InputError: a camera or ISO that the model does not cover.
        """
        ...

    def sample(
        self,
        clean: torch.Tensor,
        condition: Sequence[Condition],
        *,
        noise: Randomness,
        strength: float = 1.0,
        reference: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """As `NoiseModel.sample`, with noise like that of the references of these descriptions [B, K], where given.

        Raises:
            InputError: ``no_reference``: none is given to a model that needs one.
        """
        ...
