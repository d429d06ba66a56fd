"""The compiled kernels of `noisegen.native`: optional, as everything also runs on PyTorch alone."""

from __future__ import annotations

import platform
from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("noisegen/native/src")
# Sums and products are contracted only where the source says so: then every instruction set gives the same bits.
FLAGS = ["-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden"]
INSTRUCTION_SETS = {
    "x86_64": {"avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"], "avx2": ["-march=x86-64-v3"]},
    "aarch64": {"neon": []},
    "arm64": {"neon": []},
}

setup(
    ext_modules=[
        Extension(
            f"noisegen.native._{name}",
            sources=[str(SOURCES / f"{name}.c")],
            depends=[str(path) for path in sorted(SOURCES.glob("*.h"))],
            extra_compile_args=[*FLAGS, *flags],
            optional=True,
        )
        for name, flags in INSTRUCTION_SETS.get(platform.machine(), {}).items()
    ]
)
