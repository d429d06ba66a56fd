"""Kernels compiled for the CPU: what the noise model computes for each pixel, in vector instructions.

They are built where noisegen is installed with a C compiler at hand; without one the same functions run on PyTorch,
several times slower and with other last bits. One source is compiled for each instruction set, and every operation in
it is exact or correctly rounded lane by lane, so all of them give the same bits.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from importlib.util import find_spec

__all__ = ["compiled", "instruction_set", "kernels_on", "library", "load"]

# CV_CPU_AVX512_SKX and CV_CPU_AVX2, for which OpenCV has no names in Python
_OPENCV_FEATURES = {"avx512": 256, "avx2": 11}


@cache
def library() -> ctypes.CDLL | None:
    """The kernels for the best instruction set that was compiled and that this CPU has; None without any.

    Calls release the interpreter's lock. Arguments are checked by the callers in this package, not in C.
    """
    name = instruction_set()
    return None if name is None else load(name)


def load(name: str) -> ctypes.CDLL:
    """The kernels for one instruction set, which the CPU must have."""
    spec = find_spec(f"noisegen.native._{name}")
    assert spec is not None and spec.origin is not None
    return ctypes.CDLL(spec.origin)


@cache
def instruction_set() -> str | None:
    """What `library` was compiled for, "avx512", "avx2" or "neon"; None where there is none to use."""
    return next(iter(compiled()), None)


def kernels_on(device: str) -> str:
    """Whose kernels make noise on a device, "native" or "torch"; their last bits differ."""
    return "native" if device == "cpu" and library() is not None else "torch"


def compiled() -> list[str]:
    """The instruction sets of this CPU that there are kernels for, best first."""
    return [name for name in _usable() if find_spec(f"noisegen.native._{name}") is not None]


def _usable() -> list[str]:
    """Instruction sets of this CPU, best first."""
    if platform.machine() in ("aarch64", "arm64"):
        return ["neon"]
    if platform.machine() != "x86_64":
        return []
    # OpenCV is loaded sooner than PyTorch, and not every command needs that
    import cv2

    return [name for name, feature in _OPENCV_FEATURES.items() if cv2.checkHardwareSupport(feature)]
