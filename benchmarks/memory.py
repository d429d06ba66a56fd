"""Peak memory of builds by the size and number of photographs.

    python benchmarks/memory.py
    python benchmarks/memory.py --megapixels 12 100 --photographs 1 4 --workers 2

Photographs are gradients with noise, which is what compresses least; each build runs in a process of its own, with an
NM-FlowGAN of few weights, since the size of the model is not the question. The peak is the largest resident set.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from noisegen.conditions import Condition, Vocabulary
from noisegen.models import checkpoint_of_model
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.sizes import PRESETS
from noisegen.png import encode_png

BUILD = """
import sys
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.memory import peak_resident_bytes
manifest, output, model, workers = sys.argv[1:]
summary = build_dataset(manifest, output, model=model, workers=int(workers), quiet=True)
assert summary.tiles and not summary.failures, summary
print(peak_resident_bytes())
"""


def save_model(path: Path, bit_depth: int) -> None:
    torch.manual_seed(0)
    config = replace(PRESETS["compact"], bit_depth=bit_depth, structure_depth=1, structure_width=4)
    model = NMFlowGAN(config, Vocabulary.of([Condition("S6", 100)])).eval()
    write_checkpoint(path, checkpoint_of_model("nm-flowgan", model, {}))


def save_photograph(path: Path, megapixels: float, bits: int) -> None:
    """A square picture, PNG or JPEG by its name."""
    side = round((megapixels * 1e6) ** 0.5)
    noise = np.random.default_rng(0).integers(0, 1 << (bits - 4), (side, 1009, 3))
    slope = np.linspace(0, (1 << bits) * 0.9, side)
    picture = np.empty((side, side, 3), np.uint8 if bits == 8 else np.uint16)
    for x in range(0, side, 1009):
        part = picture[:, x : x + 1009]
        part[:] = slope[:, None, None] + noise[:, : part.shape[1]]
    if path.suffix == ".png":
        path.write_bytes(encode_png(picture))
    else:
        assert cv2.imwrite(str(path), picture)


def peak(folder: Path, photograph: Path, count: int, model: Path, workers: int) -> float:
    """MiB of a build in which the photograph comes so often."""
    manifest = folder / "manifest.parquet"
    names = [photograph.name] * count
    pq.write_table(pa.table({"path": names, "id": [str(i) for i in range(count)]}), manifest)
    with tempfile.TemporaryDirectory(dir=folder) as output:
        arguments = [str(manifest), f"{output}/dataset", str(model), str(workers)]
        run = [sys.executable, "-c", BUILD, *arguments]
        text = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    return int(text.split()[-1]) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 12, 100])
    parser.add_argument("--photographs", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    peaks: list[dict[str, object]] = []
    print("| photographs | megapixels | number | peak MiB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for suffix, bits in ((".jpg", 8), (".png", 8), (".png", 16)):
            model = folder / f"model{bits}.safetensors"
            save_model(model, bits)
            for megapixels in options.megapixels:
                photograph = folder / f"photograph{suffix}"
                save_photograph(photograph, megapixels, bits)
                for count in options.photographs:
                    found = peak(folder, photograph, count, model, options.workers)
                    kind = f"{suffix[1:].upper()}, {bits} bits"
                    print(f"| {kind} | {megapixels:g} | {count} | {found:.0f} |", flush=True)
                    peaks.append({"kind": kind, "megapixels": megapixels, "number": count, "mib": found})
    if options.json:
        options.json.write_text(json.dumps(peaks, indent=1) + "\n")


if __name__ == "__main__":
    main()
