"""Finds out what a report is asked of, and has the page made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noisegen.errors import UsageError
from noisegen.models.checkpoint import FORMAT, resolve_checkpoint
from noisegen.report.options import ReportOptions
from noisegen.webpages.page import Page

__all__ = ["report_page"]

WANTED = "give the folder or URL of a built dataset, or the .safetensors file of a noise model or a denoiser"
_PICTURES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def report_page(thing: Path | str, options: ReportOptions) -> Page:
    """The page of a dataset, noise model ("default" is the one that comes with the package) or denoiser.

    Args:
        thing: a folder, a file, or the URL of a dataset.
        options: what the page should show.

    Raises:
        UsageError: the thing is none of these, or damaged; the message says what it seems to be.
        RemoteError: the URL cannot be read.
    """
    if isinstance(thing, str):
        from noisegen.report.dataset_page import dataset_page

        return dataset_page(thing, options)
    path = resolve_checkpoint(thing) if str(thing) == "default" and not thing.exists() else thing
    if not path.exists():
        raise UsageError(f"{path} does not exist; {WANTED}")
    if path.is_dir():
        if not (path / "run.json").is_file():
            raise UsageError(f"{path} {_kind_of_folder(path)}")
        from noisegen.report.dataset_page import dataset_page

        return dataset_page(path, options)
    if path.suffix != ".safetensors":
        raise UsageError(f"{path} {_kind_of_file(path)}")
    if _description(path)["kind"] == "dncnn":
        from noisegen.report.denoiser_page import denoiser_page

        return denoiser_page(path, options)
    from noisegen.report.model_page import model_page

    return model_page(path, options)


def _description(path: Path) -> Mapping[str, Any]:
    """What the header of a checkpoint says, without its weights.

    Raises:
        UsageError: the file is none of noisegen's.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {}).get("noisegen", "null"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is damaged, or no safetensors file ({error}); give the file that train-noise-model or "
            "train-denoiser wrote"
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT or "kind" not in header:
        raise UsageError(
            f"{path} is a safetensors file, but neither a noise model nor a denoiser of noisegen; {WANTED}"
        )
    return header


def _kind_of_folder(path: Path) -> str:
    """What a folder without a dataset seems to be, and what to give instead."""
    if (path / "dataset.json").is_file() or (path / "index").is_dir():
        return "was a dataset, but its run.json is gone; the same build-dataset command writes it anew"
    if inside := sorted(path.glob("*/run.json")):
        return f"is a folder around a dataset; give {inside[0].parent}"
    if inside := sorted(path.glob("*.safetensors")):
        return f"is a folder of checkpoints; give one of them, such as {inside[0]}"
    if any(file.suffix.lower() in _PICTURES for file in path.iterdir()):
        return (
            "is a folder of pictures; build a dataset of them first (noisegen make-manifest, then build-dataset) "
            "and give that"
        )
    return f"holds no dataset of noisegen (no run.json); {WANTED}"


def _kind_of_file(path: Path) -> str:
    """What a file of another suffix seems to be, and what to give instead."""
    suffix = path.suffix.lower()
    if (path.parent / "run.json").is_file():
        return f"is a file of a dataset; give its folder, {path.parent}"
    if suffix in _PICTURES:
        return "is a picture; `noisegen preview` shows the noise that it would get"
    if suffix in (".csv", ".parquet"):
        return "is a table; to compare with its real pairs give it with --pairs, and first what to report on"
    if suffix in (".pth", ".pt", ".ckpt"):
        return "is a PyTorch file; `noisegen import-checkpoint` makes a .safetensors file of the authors' weights"
    return f"is nothing that noisegen can report on; {WANTED}"
