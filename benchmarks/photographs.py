"""Photographs for benchmarks, and manifests of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["photographs", "write_manifest"]

BUNDLED = ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "retina.jpg", "rocket.jpg")


def photographs(folder: Path | None) -> list[Path]:
    """Those in a folder, or those that come with scikit-image."""
    if folder is not None:
        return sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif"))
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise SystemExit("scikit-image has no photographs here; give --photos FOLDER")
    return [Path(spec.origin).parent / "data" / name for name in BUNDLED]


def write_manifest(path: Path, photos: list[Path]) -> None:
    """Rows of photographs, some of them several times under other ids."""
    ids = [f"{index:04d}" for index in range(len(photos))]
    pq.write_table(pa.table({"id": ids, "path": [str(photo) for photo in photos]}), path)
