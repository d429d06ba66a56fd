"""The dataset's card: README.md with the header that Hugging Face reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from noisegen.synthesis.format_cards import format_card

__all__ = ["TITLE", "builds_of", "dataset_card", "description"]

TITLE = "Noisy/clean pairs made by noisegen"
# an identifier as Hugging Face lists them, such as cc-by-4.0; anything else is a name of its own
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_LISTED_CONDITIONS = 200
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")


def dataset_card(run: Mapping[str, Any], table: Mapping[str, Any]) -> bytes:
    """README.md of a finished dataset.

    Args:
        run: contents of run.json.
        table: contents of dataset.json.
    """
    parts = [
        f"---\n{_header(run, table)}---",
        f"# {TITLE}",
        description(run, table),
        "![clean, noisy and amplified noise of a few tiles](contact_sheet.png)" if table["tiles"] else "",
        "## Content\n\n" + "\n".join(_counts(run, table)),
        "## Noise by camera and ISO\n\n" + "\n".join(_conditions(table["conditions"])),
        "## Reading it\n\n```python\n" + format_card(run["config"]).reading + "\n```",
        _RECORDS,
        "## Provenance\n\n" + "\n".join(_provenance(run)),
        "## Limits\n\n" + _LIMITS,
    ]
    return ("\n\n".join(part for part in parts if part) + "\n").encode("utf-8", "backslashreplace")


def description(run: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    """One sentence on what the dataset holds."""
    size = table["tile_size"]
    cameras = len({condition["camera"] for condition in table["conditions"]})
    return (
        f"{table['tiles']} pairs of {size} x {size} pixels, {run['bit_depth']} bits a channel: tiles of clean "
        f"photographs, and the same with synthetic camera noise of {_count(cameras, 'camera')} "
        f"({_count(len(table['conditions']), 'camera and ISO setting')})."
    )


def _header(run: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    license_name = run["config"]["license"]
    header: dict[str, Any] = {"pretty_name": TITLE}
    if _IDENTIFIER.fullmatch(license_name):
        header["license"] = license_name
    else:
        header |= {"license": "other", "license_name": license_name}
    header |= {
        "task_categories": ["image-to-image"],
        "size_categories": [_SIZES[max(0, min(len(str(table["tiles"])) - 3, len(_SIZES) - 1))]],
        "tags": ["image", "image-denoising", "synthetic", "noise", "noisegen"],
    }
    pictures = format_card(run["config"]).data_files
    sets = ({"pairs": pictures} if pictures else {}) | {"index": {"train": "index/*.parquet"}}
    if table["tiles"]:
        header["configs"] = [
            {
                "config_name": name,
                "data_files": [{"split": split, "path": path} for split, path in files.items()],
                **({"default": True} if not i else {}),
            }
            for i, (name, files) in enumerate(sets.items())
        ]
    return str(yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000))


def _counts(run: Mapping[str, Any], table: Mapping[str, Any]) -> Iterator[str]:
    failed = sum(table["failures"].values())
    rows = [
        ("pairs", table["tiles"]),
        ("megapixels", f"{table['megapixels']:.1f}"),
        ("photographs used", run["rows"] - failed),
        ("photographs left out", f"{failed}, see `failures.jsonl`" if failed else 0),
        *([("noisy versions of each", run["config"]["variants"])] if "variants" in run["config"] else []),
        ("format", run["config"]["format"]),
        ("shards", table["shards"]),
    ]
    yield "| | |"
    yield "|---|---|"
    for name, value in rows:
        yield f"| {name} | {value} |"


def _conditions(conditions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "Deviation of noisy - clean in grey levels, over all tiles of the setting."
    yield ""
    yield "| camera | ISO | pairs | noise std |"
    yield "|---|---:|---:|---:|"
    for c in conditions[:_LISTED_CONDITIONS]:
        yield f"| {_cell(c['camera'])} | {c['iso']} | {c['tiles']} | {c['noise_std']:.2f} |"
    if len(conditions) > _LISTED_CONDITIONS:
        yield ""
        yield f"{len(conditions) - _LISTED_CONDITIONS} more are in `dataset.json`."


def _provenance(run: Mapping[str, Any]) -> Iterator[str]:
    builds = list(builds_of(run))
    if builds != [run]:
        yield f"Made by `noisegen {run['command']}` from what these builds gave:"
        yield ""
    for build in builds:
        yield "| | |"
        yield "|---|---|"
        yield f"| noise model (SHA-256) | `{build['checkpoint_sha256']}` |"
        yield f"| terms of its training data | {_cell(build['checkpoint_licence'])} |"
        if pool := build.get("noisy_pool"):
            yield f"| noisy pictures that it took references from | {pool['pictures']} |"
        yield f"| manifest of the photographs (SHA-256) | `{build['manifest_sha256']}` |"
        yield f"| seed | {build['config']['seed']} |"
        for name, version in sorted(build["versions"].items()):
            yield f"| {_cell(name)} | {_cell(version)} |"
        yield ""
    yield "Settings (all of them are in `run.json`):"
    yield ""
    yield "```json"
    yield json.dumps(run["config"], indent=1, sort_keys=True, ensure_ascii=False)
    yield "```"


def builds_of(run: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The builds that a dataset goes back to; itself, where nothing was copied."""
    if "sources" not in run:
        yield run
    for source in run.get("sources", ()):
        yield from builds_of(source["run"])


_RECORDS = """\
`index/*.parquet` has a row for each pair: key, photograph, place, camera, ISO, seed, deviation of the noise and
hashes. `noisegen verify DATASET` checks every file."""

_LIMITS = """\
- The noise is synthetic: it is as close to a camera's as the noise model is, for the settings listed above.
- The clean side is what the photographs were; noise and compression that they had are on both sides.
- Tiles of one photograph may overlap, and have variants: split into training and test by photograph (`id`), not by
  pair.
- The licence above is what the builder stated. Terms of the photographs and of the noise model's training data may
  bind the use as well."""


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _cell(value: object) -> str:
    """Text that stays within its cell of a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
