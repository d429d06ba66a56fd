"""The errors a user can meet, each with what was wrong, where, and what to do."""

from __future__ import annotations

__all__ = ["InputError", "NoisegenError", "UsageError"]


class NoisegenError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class UsageError(NoisegenError):
    """The request itself cannot be carried out (bad option, manifest, checkpoint or folder): exit code 2."""

    exit_code = 2


class InputError(NoisegenError):
    """One row, picture or pair is bad. It is recorded and the run goes on.

    Args:
        reason: short stable code for tables, for example ``"truncated"`` or ``"unknown_camera"``.
        message: what was wrong, where, and what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
