"""Which pictures a noise model takes."""

from __future__ import annotations

import numpy as np

from noisegen.errors import InputError
from noisegen.models.protocol import NoiseModel

__all__ = ["check_picture"]


def check_picture(model: NoiseModel, picture: np.ndarray) -> None:
    """Makes sure that a photograph is of the kind that the model was made for.

    Raises:
        InputError: ``channels`` or ``bit_depth``.
    """
    kinds = {1: "grey", 3: "RGB"}
    has, wants = kinds[picture.shape[2]], kinds[model.channels]
    if has != wants:
        raise InputError(
            "channels",
            f"the photograph is {has} but the model makes {wants} noise; "
            f"convert it to {wants} or use a model trained on {has} pairs",
        )
    bits = 8 * picture.dtype.itemsize
    if bits != (8 if model.bit_depth == 8 else 16):
        raise InputError(
            "bit_depth",
            f"the photograph has {bits} bits a channel but the model makes {model.bit_depth}-bit noise; "
            f"convert the photograph or use a model trained on {bits}-bit pairs",
        )
    if model.bit_depth < bits and picture.max() >= 1 << model.bit_depth:
        raise InputError(
            "bit_depth",
            f"the photograph holds the value {picture.max()} but the model has {model.bit_depth} bits; "
            f"scale the photograph to 0 .. {(1 << model.bit_depth) - 1}",
        )
