"""What a dataset's card and Croissant file say about each output format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from noisegen.synthesis.choices import LAYOUTS

__all__ = ["FormatCard", "format_card"]

TAR, PARQUET, PNG = "application/x-tar", "application/x-parquet", "image/png"
LMDB, HDF5 = "application/octet-stream", "application/x-hdf5"


@dataclass(frozen=True)
class FormatCard:
    """How others find the pictures of a dataset.

    Attributes:
        files: name of a set of files -> (pattern relative to the dataset, MIME type).
        data_files: split -> the pattern that Hugging Face `datasets` reads as pictures; empty where it reads none.
        reading: Python that reads pairs.
    """

    files: dict[str, tuple[str, str]]
    data_files: dict[str, str]
    reading: str


def format_card(config: Mapping[str, Any]) -> FormatCard:
    """The card of a dataset with these settings (``config`` of run.json)."""
    name = config["format"]
    sides = LAYOUTS[config["layout"]] if config["layout"] else ("", "")
    patterns = {
        "webdataset": {"shards": ("shards/*.tar", TAR)},
        "parquet": {"shards": ("shards/*.parquet", PARQUET)},
        "folders": {side: (f"{side}/*.png", PNG) for side in sides},
        "lmdb": {side: (f"{side}.lmdb/data.mdb", LMDB) for side in ("lq", "gt")},
        "hdf5": {"hdf5": ("hdf5/*.hdf5", HDF5)},
    }[name]
    splits = sorted(config.get("split") or ()) or [""]
    files = {
        f"{split}-{key}" if split else key: (f"splits/{split}/{pattern}" if split else pattern, kind)
        for split in splits
        for key, (pattern, kind) in patterns.items()
    }
    data_files = (
        {split or "train": files[f"{split}-shards" if split else "shards"][0] for split in splits}
        if name in ("webdataset", "parquet")
        else {}
    )
    place = f"DATASET/splits/{splits[0]}" if splits[0] else "DATASET"
    reading = _READING[name].replace("PLACE", place).replace("NOISY", sides[0]).replace("CLEAN", sides[1])
    return FormatCard(files, data_files, reading)


_READING = {
    "webdataset": """\
from pathlib import Path
import webdataset as wds

shards = sorted(map(str, Path("PLACE/shards").glob("*.tar")))
pairs = wds.WebDataset(shards, shardshuffle=False).decode("rgb8").to_tuple("noisy.png", "clean.png", "json")

# or
from datasets import load_dataset
pairs = load_dataset("DATASET", split="train")  # columns noisy.png, clean.png, json""",
    "parquet": """\
from datasets import load_dataset

pairs = load_dataset("DATASET", split="train")  # columns noisy and clean are pictures""",
    "folders": """\
from pathlib import Path
from PIL import Image

for noisy in sorted(Path("PLACE/NOISY").glob("*.png")):
    pair = Image.open(noisy), Image.open(Path("PLACE/CLEAN") / noisy.name)""",
    "lmdb": """\
import cv2, lmdb, numpy as np

sides = [lmdb.open(f"PLACE/{name}.lmdb", readonly=True, lock=False).begin() for name in ("lq", "gt")]
for line in open("PLACE/lq.lmdb/meta_info.txt"):
    key = line.split(".png")[0].encode()
    noisy, clean = (cv2.imdecode(np.frombuffer(side.get(key), np.uint8), cv2.IMREAD_UNCHANGED) for side in sides)""",
    "hdf5": """\
from pathlib import Path
import h5py

for path in sorted(Path("PLACE/hdf5").glob("*.hdf5")):
    with h5py.File(path) as file:
        pairs = [(file[f"noisy/{i}"][:], file[f"clean/{i}"][:]) for i in range(len(file["clean"]))]""",
}
