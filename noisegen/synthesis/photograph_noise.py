"""Noise for single photographs, for looking and for trying out: a model is made ready once and called with pictures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from noisegen.conditions import Condition, Vocabulary
from noisegen.devices import resolve_device
from noisegen.errors import InputError, UsageError
from noisegen.synthesis.engine import synthesize
from noisegen.synthesis.ready_models import ReadyModels

__all__ = ["PhotographNoise", "add_noise"]

# enough for the compact model to leave no seams between the tiles of a photograph (docs/dataset.md)
HALO = 8


class PhotographNoise:
    """A noise model that is ready to draw.

    Args:
        model: "default" or a .safetensors checkpoint.
        noisy_pool: table of real pairs for a model that takes references, see `noisegen.noisy_pool`.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        UsageError: the model, the table or the device cannot be used.
    """

    def __init__(
        self,
        model: str | Path = "default",
        *,
        noisy_pool: str | Path | None = None,
        device: str = "auto",
    ) -> None:
        self.device = resolve_device(device)
        self.model = ReadyModels.open(model, noisy_pool).on(self.device)

    @property
    def vocabulary(self) -> Vocabulary:
        """The cameras and ISO settings that it knows."""
        return self.model.vocabulary

    def add(
        self,
        clean: np.ndarray,
        condition: Condition,
        *,
        seed: int = 0,
        strength: float = 1.0,
        image_id: str = "",
        window: tuple[slice, slice] | None = None,
    ) -> np.ndarray:
        """The photograph with noise, or a part of it.

        Args:
            clean: uint8 or uint16 [H, W, C] of the model's channels and bit depth.
            condition: camera and ISO.
            seed: of the noise, 0 .. 2**63 - 1.
            strength: of the noise, see `noisegen.models.protocol.NoiseModel.sample`.
            image_id: a further seed; photographs of different names get different noise.
            window: rows and columns to make, with the noise that they have in the whole photograph; None for all.

        Returns:
            Shape and type of ``clean``, or of ``clean[window]``.

        Raises:
            UsageError: seed or strength make no sense.
            InputError: the photograph is not one that the model is for, or it does not cover the condition.
        """
        if seed < 0 or not 0 < strength < math.inf:
            raise UsageError(f"seed {seed} must be 0 or more, strength {strength} positive")
        return synthesize(
            self.model,
            clean,
            condition,
            seed=seed,
            image_id=image_id,
            halo=HALO,
            strength=strength,
            device=self.device,
            window=window,
        )


def add_noise(
    clean: np.ndarray,
    *,
    camera: str,
    iso: int,
    model: str | Path = "default",
    noisy_pool: str | Path | None = None,
    seed: int = 0,
    strength: float = 1.0,
    device: str = "auto",
) -> np.ndarray:
    """Gives one photograph the noise of a camera at an ISO setting.

    The model is loaded anew in each call; for many photographs use `noisegen.build_dataset` or
    `noisegen.SynthesisDataset`.

    >>> import numpy as np
    >>> import noisegen
    >>> clean = np.full((64, 96, 3), 90, np.uint8)
    >>> noisy = noisegen.add_noise(clean, camera="S6", iso=800, seed=1)
    >>> noisy.shape, str(noisy.dtype)
    ((64, 96, 3), 'uint8')
    >>> bool((noisy == noisegen.add_noise(clean, camera="S6", iso=800, seed=1)).all())
    True

    Args:
        clean: uint8 or uint16 [H, W, 3] RGB, or [H, W] or [H, W, 1] for a model of grey pictures.
        camera, iso: whose noise; an ISO between two known ones is interpolated.
        model: "default" (comes with the package) or a .safetensors checkpoint.
        noisy_pool: table of real pairs for a model that takes references, see ``docs/dataset.md``.
        seed: of the noise, 0 .. 2**63 - 1; the same arguments give the same noise.
        strength: of the noise; 1 is the camera's own.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        Shape and type of ``clean``.

    Raises:
        UsageError: model, table, device, seed or strength cannot be used.
        InputError: the picture is not one that the model is for, or camera or ISO are not known.
    """
    picture = clean[..., None] if clean.ndim == 2 else clean
    of_type = picture.dtype in (np.uint8, np.uint16)
    if picture.ndim != 3 or picture.shape[2] not in (1, 3) or not picture.size or not of_type:
        raise InputError(
            "shape",
            f"the picture is {clean.dtype} {list(clean.shape)}; give uint8 or uint16 [height, width, 1 or 3]",
        )
    noise = PhotographNoise(model, noisy_pool=noisy_pool, device=device)
    noisy = noise.add(picture, Condition(camera, iso), seed=seed, strength=strength)
    return noisy.reshape(clean.shape)
