"""Where and how precisely networks run."""

from __future__ import annotations

import re

from noisegen.errors import UsageError

__all__ = ["cuda_devices", "resolve_device", "resolve_precision", "synthesis_precision"]


def resolve_device(device: str) -> str:
    """Turns "auto" into "cuda" where there is one, else "cpu".

    Raises:
        UsageError: CUDA, or a certain device of it, was asked for and there is none, or the name is not known.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", device):
        raise UsageError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N")
    if device == "cpu":
        return device
    if not torch.cuda.is_available():
        raise UsageError("this machine has no CUDA device that PyTorch can use; use --device cpu")
    if device not in ("cuda", *cuda_devices("cuda")):
        raise UsageError(f"this machine has no {device}; use {' or '.join(cuda_devices('cuda'))}")
    return device


def cuda_devices(device: str) -> list[str]:
    """The CUDA devices that a name stands for: "cuda" for all that are visible, "cuda:N" for itself."""
    import torch

    return [f"cuda:{index}" for index in range(torch.cuda.device_count())] if device == "cuda" else [device]


def synthesis_precision(precision: str, device: str, *, latent: bool) -> str:
    """`resolve_precision` for drawing noise, which may be "float16" too.

    "auto" is float16 on CUDA, as fast as bfloat16 and with an eighth of its rounding. Elsewhere it is bfloat16 only
    where that stays within the bounds of ``docs/cuda.md``: rounded noise of a generator in the published order is off
    by more.

    Args:
        precision: "auto", "float32", "bfloat16" or "float16".
        device: "cpu", "cuda" or "cuda:N".
        latent: whether the model's generator, if it has one, works on latents.

    Raises:
        UsageError: the name is not known.
    """
    if precision == "float16":
        return precision
    resolved = resolve_precision(precision, device)
    if precision == "auto" and device != "cpu":
        return "float16"
    return "float32" if precision == "auto" and not latent else resolved


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
