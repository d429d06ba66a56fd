"""A checkpoint's noise model in the form in which noise is drawn, on whatever device and in whatever process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisegen.models import (
    checkpoint_sha256,
    drawing_precision,
    load_noise_model,
    prepare_for_synthesis,
)
from noisegen.models.learning import LearnedModel
from noisegen.models.protocol import NoiseModel
from noisegen.noisy_pool import NoisyPool, read_pool, takes_references, with_pool

__all__ = ["ReadyModels"]


@dataclass
class ReadyModels:
    """The same model on several devices; each is made ready once in a process. It can be sent to other processes.

    Attributes:
        source: "default" or a .safetensors checkpoint.
        pool: of the model's references; None where it draws without.
    """

    source: str | Path
    pool: NoisyPool | None
    _loaded: LearnedModel | None = None
    _ready: dict[str, NoiseModel] = field(default_factory=dict)

    @classmethod
    def open(cls, source: str | Path, noisy_pool: str | Path | None) -> ReadyModels:
        """Reads the pool of a model that takes references.

        Args:
            source: "default" or a .safetensors checkpoint.
            noisy_pool: table of real pairs, see `noisegen.noisy_pool`.

        Raises:
            UsageError: the model or the table cannot be used.
        """
        model, pool = load_noise_model(source), None
        if takes_references(model, noisy_pool):
            assert noisy_pool is not None
            pool = read_pool(noisy_pool, model, checkpoint_sha256(source))
        return cls(source, pool, model)

    def on(self, device: str) -> NoiseModel:
        """The model on a device, "cpu" or "cuda:N"."""
        if device not in self._ready:
            if self._loaded is None:
                self._loaded = load_noise_model(self.source)
            precision = drawing_precision(self._loaded, "auto", device)
            ready = prepare_for_synthesis(self._loaded, device=device, precision=precision)
            self._ready[device] = with_pool(ready, self.pool)
        return self._ready[device]

    def __getstate__(self) -> dict[str, Any]:
        # another process loads and makes ready what it needs
        return vars(self) | {"_loaded": None, "_ready": {}}
