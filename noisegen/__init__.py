"""noisegen: realistic noisy/clean pairs from clean photographs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisegen.datasets.tile_stream import TileStream
    from noisegen.models import load_noise_model
    from noisegen.synthesis.build import build_dataset

__all__ = ["TileStream", "__version__", "build_dataset", "load_noise_model"]

__version__ = "0.1.0"

# Imported at first use: torch takes a second, and `import noisegen` should not.
_LAZY = {
    "TileStream": "noisegen.datasets.tile_stream",
    "build_dataset": "noisegen.synthesis.build",
    "load_noise_model": "noisegen.models",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'noisegen' has no attribute {name!r}")
