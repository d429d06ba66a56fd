"""Checkpoints as methods to score, with the references that some types of noise models take."""

from __future__ import annotations

from pathlib import Path

from noisegen.errors import UsageError
from noisegen.models import checkpoint_sha256, load_noise_model
from noisegen.models.protocol import NoiseModel, ReferencedModel
from noisegen.noisy_pool import needs_references, read_pool, with_pool

__all__ = ["PAIRED", "load_method"]

# before a checkpoint: each pair's own noisy picture is its reference
PAIRED = "paired:"


def load_method(
    source: str, *, noisy_pool: str | Path | None, pairs: Path, fit_split: str, device: str
) -> NoiseModel:
    """A noise model that can be scored.

    Args:
        source: "default" or a checkpoint. After `PAIRED` it comes as it is, to be named in `paired` of
            `noisegen.evaluation.noise_eval.evaluate_methods`.
        noisy_pool: table of pairs whose noisy pictures models that take references have for such; None for the rows
            `fit_split` of `pairs`, and only for models that need references.
        pairs, fit_split: the scored table, and the split of it that methods are fitted on ("" for all).
        device: where to put it.

    Raises:
        UsageError: it cannot be loaded, takes no references after `PAIRED`, or the pool cannot be used.
    """
    file = source.removeprefix(PAIRED)
    model = load_noise_model(file, device=device)
    if source != file:
        if not isinstance(model, ReferencedModel):
            raise UsageError(f"{source}: this noise model takes no references; leave {PAIRED} out")
        return model
    if not isinstance(model, ReferencedModel) or (noisy_pool is None and not needs_references(model)):
        return model
    on_cpu, checkpoint = load_noise_model(file), checkpoint_sha256(file)
    if noisy_pool is None:
        return with_pool(model, read_pool(pairs, on_cpu, checkpoint, split=fit_split))
    return with_pool(model, read_pool(noisy_pool, on_cpu, checkpoint))
