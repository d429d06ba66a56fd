"""A tiny NM-FlowGAN with random weights, and photographs, for tests of building."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from click.testing import CliRunner, Result

from noisegen.cli import main
from noisegen.conditions import Condition, Vocabulary
from noisegen.models import checkpoint_of_model
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.sizes import PRESETS

VOCABULARY = Vocabulary.of(
    [Condition("S6", 100), Condition("S6", 800), Condition("N6", 400), Condition("N6", 3200)]
)


def tiny_model(*, seed: int = 0, channels: int = 3, bit_depth: int = 8) -> NMFlowGAN:
    """A compact NM-FlowGAN of random weights whose noise has a few grey levels."""
    config = replace(
        PRESETS["compact"], channels=channels, bit_depth=bit_depth, structure_depth=1, structure_width=4
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = NMFlowGAN(config, VOCABULARY)
        for name, parameter in model.named_parameters():
            parameter.data.normal_(0, 0.15)
            # Curves and tails are exponentials, and the last layer sets the level: 256 / e^3.5 grey levels.
            if name.endswith(("log_gamma", "log_toe", "log_tail")):
                parameter.data.mul_(0.3)
        model.flow.layers[-1].get_parameter("log_scale").data.add_(3.5)
    return model.eval()


def save_tiny_model(path: Path, *, seed: int = 0, channels: int = 3, bit_depth: int = 8) -> Path:
    """Writes the checkpoint of `tiny_model`."""
    model = tiny_model(seed=seed, channels=channels, bit_depth=bit_depth)
    write_checkpoint(path, checkpoint_of_model("nm-flowgan", model, {"training": "none, random weights"}))
    return path


def photograph(height: int, width: int, *, seed: int = 0, channels: int = 3, bits: int = 8) -> np.ndarray:
    """A picture of slopes and edges, uint8 or uint16 [H, W, C]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(y / a + c) + np.cos(x / b) for a, b, c in generator.uniform(3, 40, (channels, 3))]
    scaled = (np.stack(waves, axis=-1) + 2) / 4 * ((1 << bits) - 1)
    return scaled.astype(np.uint8 if bits == 8 else np.uint16)


def save_photograph(path: Path, picture: np.ndarray) -> Path:
    """Writes a PNG by another encoder than the package's own."""
    bgr = picture[..., ::-1] if picture.shape[2] == 3 else picture
    assert cv2.imwrite(str(path), np.ascontiguousarray(bgr))
    return path


@dataclass(frozen=True)
class Workplace:
    """A folder with photographs, a manifest of them, and a checkpoint; datasets are built beside."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.parquet"

    @property
    def model(self) -> Path:
        return self.root / "model.safetensors"

    def arguments(self, output: Path | str, *options: str) -> list[str]:
        """The command line of a build with small tiles and shards."""
        fixed = ["--model", str(self.model), "--tile-size", "64", "--rows-per-shard", "3"]
        return ["build-dataset", str(self.manifest), "-o", str(output), *fixed, *options]


def make_workplace(root: Path, *, photographs: int, bad_rows: bool = False) -> Workplace:
    """Photographs of different sizes, some with camera and ISO, some without."""
    place = Workplace(root)
    rows: list[dict[str, object]] = []
    for i in range(photographs):
        save_photograph(root / f"photo{i}.png", photograph(64 + 17 * (i % 4), 150 + 31 * (i % 3), seed=i))
        camera, iso = [("S6", 100), ("S6", 400), (None, None), ("N6", None)][i % 4]
        rows.append(
            {"path": f"photo{i}.png", "camera": camera, "iso": iso, "scene": f"scene {i}", "ev": float("nan")}
        )
    if bad_rows:
        (root / "zero.png").write_bytes(b"")
        (root / "cut.png").write_bytes((root / "photo0.png").read_bytes()[:2000])
        save_photograph(root / "pixel.png", photograph(1, 1))
        save_photograph(root / "grey.png", photograph(100, 100, channels=1))
        save_photograph(root / "deep.png", photograph(100, 100, bits=16))
        for path, camera, iso in [
            ("zero.png", "S6", 100),
            ("cut.png", "S6", 100),
            ("pixel.png", "S6", 100),
            ("grey.png", "S6", 100),
            ("deep.png", "S6", 100),
            ("absent.png", "S6", 100),
            ("photo1.png", "S6", -100),
            ("photo1.png", "X9", 100),
            ("photo1.png", "S6", 6400),
        ]:
            row = {
                "path": path,
                "camera": camera,
                "iso": iso,
                "scene": "bad",
                "ev": 0.0,
                "id": f"bad {len(rows)}",
            }
            rows.insert(2 * len(rows) % 7, row)
    for i, row in enumerate(rows):
        row.setdefault("id", f"picture {i}")
    pq.write_table(pa.Table.from_pylist(rows), place.manifest)
    save_tiny_model(place.model)
    return place


# where the pictures of a format's shards lie, as a pattern for `Path.glob`
PICTURES = {
    "webdataset": "shards/*.tar",
    "parquet": "shards/*.parquet",
    "folders": "lq/*.png",
    "lmdb": "shards/*.tar",
    "hdf5": "hdf5/*.hdf5",
}


def command(*arguments: str) -> list[str]:
    """A command line of the tool in a process of its own."""
    return [sys.executable, "-c", "from noisegen.cli import main; main()", *arguments]


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the tool to its end."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120, check=False)


def invoke(*arguments: str) -> Result:
    """Runs the tool in this process, which spares the start of another."""
    return CliRunner().invoke(main, arguments)


def contents(output: Path) -> dict[str, bytes]:
    """All files of a dataset but those that tell when and where it was built."""
    told = ("timing.json", "profile.json", "trace.json", "host.json", "lock")
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and not path.name.endswith(told)
    }
