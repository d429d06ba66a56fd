"""How a denoiser is trained: one data class and the recipes that come with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from noisegen.errors import UsageError

__all__ = ["RECIPES", "DenoiserConfig"]


@dataclass(frozen=True)
class DenoiserConfig:
    """Everything that decides a training besides what it trains on.

    Attributes:
        layers, width: of the DnCNN, see `noisegen.denoising.dncnn.DnCNN`.
        identity: start with a last layer of zeros, so that the untrained denoiser changes nothing.
        steps: optimizer steps; None means `epochs` passes over the patches of a grid of step patch / 2.
        epochs: used when `steps` is None.
        batch: patches per step.
        patch: side in pixels.
        loss: "l2" (mean squared error) or "l1", of pixels in units of 2**bit_depth grey levels.
        learning_rate: of Adam.
        schedule: "halve": four equal stages, the rate halved after each; "cosine": from a short linear rise down to
            2 % of the rate.
        balance: draw cameras with their ISO settings uniformly, then pictures; otherwise in proportion to area.
        magnify: range of factors by which photographs of a manifest are enlarged, drawn for each patch. Pictures that
            were made smaller are sharper and finer than what a camera's pixels show.
        ema: decay of the averaged weights that are saved; 0 saves the last ones.
        validate_every: steps between two validations; there is one at the end in any case.
        validate_crop: side of the central square of a picture that is validated on, in pixels; 0 for whole pictures.
        keep: which weights become the denoiser: those of the "best" validation (highest PSNR) or the "last".
        seed: of initialisation, patches and noise.
    """

    layers: int = 10
    width: int = 32
    identity: bool = True
    steps: int | None = 4000
    epochs: int = 40
    batch: int = 16
    patch: int = 64
    loss: Literal["l2", "l1"] = "l2"
    learning_rate: float = 2e-3
    schedule: Literal["cosine", "halve"] = "cosine"
    balance: bool = True
    magnify: tuple[float, float] = (1.0, 1.0)
    ema: float = 0.99
    validate_every: int = 500
    validate_crop: int = 512
    keep: Literal["best", "last"] = "best"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.layers < 3:
            raise UsageError(f"a DnCNN has at least 3 layers, not {self.layers}")
        low, high = self.magnify
        if not 1 <= low <= high:
            raise UsageError(
                f"photographs are enlarged by factors from 1 up, low to high, not {low} to {high}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def changed(self, **given: Any) -> DenoiserConfig:
        """The recipe with the given attributes, where they are not None."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})


RECIPES: dict[str, DenoiserConfig] = {
    "compact": DenoiserConfig(),
    # Section IV: DnCNN of 18 x 64, 40 epochs of 96 x 96 patches with step 48, batch 128, Adam 1e-4 halved every 10
    # epochs. The paper names no loss; this is that of DnCNN (Zhang et al. 2017).
    "paper": DenoiserConfig(
        layers=18,
        width=64,
        identity=False,
        steps=None,
        batch=128,
        patch=96,
        learning_rate=1e-4,
        schedule="halve",
        balance=False,
        ema=0.0,
        validate_every=2000,
    ),
}
