"""A small dataset with hostile names and failures, real pairs beside it, and its report."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from synthesis_fixtures import invoke, make_workplace, photograph, save_photograph

from noisegen.report import dataset_noise

HOSTILE = "<script>alert('x')</script>\"&amp;.png"


@dataclass(frozen=True)
class Reported:
    """A dataset with its page."""

    dataset: Path
    pairs: Path
    page: Path
    numbers: str


def build_reported(root: Path, *options: str) -> Reported:
    """Builds a dataset of 12 photographs, nine bad rows and two of hostile names, and writes its page."""
    place = make_workplace(root, photographs=12, bad_rows=True)
    rows = pq.read_table(place.manifest).to_pylist()
    save_photograph(root / HOSTILE.replace("/", ""), photograph(70, 130, seed=99))
    for path, name in [(HOSTILE.replace("/", ""), HOSTILE), (f"absent {HOSTILE}", f"absent {HOSTILE}")]:
        rows.append({"path": path, "id": name, "camera": "N6", "iso": 3200, "scene": "", "ev": 0.0})
    pq.write_table(pa.Table.from_pylist(rows), place.manifest)
    output = root / "out"
    result = invoke(*place.arguments(output, "--split", "train:0.7,val:0.3", *options))
    assert result.exit_code == 3, result.output
    pairs = save_real_pairs(root / "real")
    page = root / "page.html"
    with patch.object(dataset_noise, "CONDITIONS", 2):  # drawing all takes seconds
        result = invoke("report", str(output), "-o", str(page), "--pairs", str(pairs), "--json")
    assert result.exit_code == 0, result.output
    return Reported(output, pairs, page, result.stdout)


def save_real_pairs(folder: Path) -> Path:
    """Two pairs of white noise of std 6, of a camera and ISO that the dataset has."""
    folder.mkdir()
    table = folder / "pairs.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["noisy_path", "clean_path", "camera", "iso"])
        for i in range(2):
            clean = photograph(130, 140, seed=50 + i) // 2 + 64
            noise = np.random.default_rng(i).normal(0, 6, clean.shape)
            save_photograph(folder / f"clean{i}.png", clean)
            save_photograph(
                folder / f"noisy{i}.png", np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)
            )
            writer.writerow([f"noisy{i}.png", f"clean{i}.png", "S6", 100])
    return table
