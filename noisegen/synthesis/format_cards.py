"""What a dataset's card and Croissant file say about each output format."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FormatCard", "format_card"]


@dataclass(frozen=True)
class FormatCard:
    """How others find the pictures of a format.

    Attributes:
        files: name of a set of files -> (pattern relative to the dataset, MIME type).
        data_files: the pattern that Hugging Face `datasets` reads as pictures; None where it reads none.
        reading: Python that reads pairs.
    """

    files: dict[str, tuple[str, str]]
    data_files: str | None
    reading: str


_WEBDATASET = FormatCard(
    {"shards": ("shards/*.tar", "application/x-tar")},
    "shards/*.tar",
    """\
from pathlib import Path
import webdataset as wds

shards = sorted(map(str, Path("DATASET/shards").glob("*.tar")))
pairs = wds.WebDataset(shards, shardshuffle=False).decode("rgb8").to_tuple("noisy.png", "clean.png", "json")

# or
from datasets import load_dataset
pairs = load_dataset("DATASET", split="train")  # columns noisy.png, clean.png, json""",
)
_FOLDERS = FormatCard(
    {"noisy": ("noisy/*.png", "image/png"), "clean": ("clean/*.png", "image/png")},
    None,
    """\
from pathlib import Path
from PIL import Image

for noisy in sorted(Path("DATASET/noisy").glob("*.png")):
    pair = Image.open(noisy), Image.open(Path("DATASET/clean") / noisy.name)""",
)
_CARDS = {"webdataset": _WEBDATASET, "folders": _FOLDERS}


def format_card(name: str) -> FormatCard:
    """The entry of an output format."""
    return _CARDS[name]
