"""Where and how precisely networks run."""

from __future__ import annotations

from noisegen.errors import UsageError

__all__ = ["resolve_device", "resolve_precision"]


def resolve_device(device: str) -> str:
    """Turns "auto" into "cuda" where there is one, else "cpu".

    Raises:
        UsageError: CUDA was asked for and there is none, or the name is not known.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.split(":")[0] not in ("cpu", "cuda"):
        raise UsageError(f"unknown device {device!r}; use auto, cpu or cuda")
    if device != "cpu" and not torch.cuda.is_available():
        raise UsageError("this machine has no CUDA device that PyTorch can use; use --device cpu")
    return device


def resolve_precision(precision: str, device: str) -> str:
    """Turns "auto" into bfloat16 on CUDA and on CPUs with matrix units (AMX), else into float32.

    Raises:
        UsageError: the name is not known.
    """
    import torch

    if precision in ("float32", "bfloat16"):
        return precision
    if precision != "auto":
        raise UsageError(f"unknown precision {precision!r}; use auto, float32 or bfloat16")
    if device != "cpu":
        return "bfloat16"
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return "bfloat16" if has_amx() else "float32"
