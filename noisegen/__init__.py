"""noisegen: realistic noisy/clean pairs from clean photographs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisegen.conditions import Condition
    from noisegen.datasets.noisy_pair import NoisyPair
    from noisegen.datasets.noisy_pairs import NoisyPairs
    from noisegen.datasets.synthesis_dataset import SynthesisDataset
    from noisegen.datasets.tile_stream import TileStream
    from noisegen.errors import InputError, NoisegenError, UsageError
    from noisegen.models import load_noise_model
    from noisegen.synthesis.build import build_dataset
    from noisegen.synthesis.photograph_noise import add_noise
    from noisegen.synthesis.summary import BuildSummary

__all__ = [
    "BuildSummary",
    "Condition",
    "InputError",
    "NoisegenError",
    "NoisyPair",
    "NoisyPairs",
    "SynthesisDataset",
    "TileStream",
    "UsageError",
    "__version__",
    "add_noise",
    "build_dataset",
    "load_noise_model",
]

__version__ = "0.1.0"

# Imported at first use: torch takes a second, and `import noisegen` should not.
_LAZY = {
    "BuildSummary": "noisegen.synthesis.summary",
    "Condition": "noisegen.conditions",
    "InputError": "noisegen.errors",
    "NoisegenError": "noisegen.errors",
    "NoisyPair": "noisegen.datasets.noisy_pair",
    "NoisyPairs": "noisegen.datasets.noisy_pairs",
    "SynthesisDataset": "noisegen.datasets.synthesis_dataset",
    "TileStream": "noisegen.datasets.tile_stream",
    "UsageError": "noisegen.errors",
    "add_noise": "noisegen.synthesis.photograph_noise",
    "build_dataset": "noisegen.synthesis.build",
    "load_noise_model": "noisegen.models",
}


if not TYPE_CHECKING:  # type checkers would take any name for one of this package's

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            return getattr(importlib.import_module(_LAZY[name]), name)
        raise AttributeError(f"module 'noisegen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
