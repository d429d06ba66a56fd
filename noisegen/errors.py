"""The errors a user can meet, each with what was wrong, where, and what to do."""

from __future__ import annotations

__all__ = ["InputError", "NoisegenError", "UsageError"]


class NoisegenError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one line and exits with `exit_code`.

    >>> import noisegen
    >>> try:
    ...     noisegen.load_noise_model("no-such-file.safetensors")
    ... except noisegen.NoisegenError as error:
    ...     print(error.exit_code)
    2
    """

    exit_code = 1


class UsageError(NoisegenError):
    """The request itself cannot be carried out (bad option, manifest, checkpoint or folder): exit code 2.

    >>> import noisegen
    >>> noisegen.SynthesisDataset([], patch=64)
    Traceback (most recent call last):
    noisegen.errors.UsageError: there are no photographs to give noise to
    """

    exit_code = 2


class InputError(NoisegenError):
    """One row, picture or pair is bad. Runs over many record it and go on; asked for the one, functions raise it.

    >>> import numpy as np
    >>> import noisegen
    >>> try:
    ...     noisegen.add_noise(np.zeros((8, 8, 3), np.uint8), camera="S6", iso=51200)
    ... except noisegen.InputError as error:
    ...     print(error.reason)
    iso_out_of_range

    Args:
        reason: short stable code for tables, for example ``"truncated"`` or ``"unknown_camera"``.
        message: what was wrong, where, and what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
