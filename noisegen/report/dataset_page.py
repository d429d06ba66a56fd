"""The page of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from noisegen.progress import Progress
from noisegen.report.dataset_counts import condition_section, split_section
from noisegen.report.dataset_facts import DatasetFacts, read_facts
from noisegen.report.dataset_history import failure_section, provenance_section, throughput_section
from noisegen.report.dataset_noise import DatasetNoise
from noisegen.report.dataset_samples import Samples
from noisegen.report.dataset_tiles import draw_tiles, read_tiles
from noisegen.report.options import ReportOptions
from noisegen.synthesis.card import description
from noisegen.synthesis.format_cards import format_card
from noisegen.synthesis.staging import opened_dataset
from noisegen.synthesis.status import DatasetStatus
from noisegen.webpages.markup import Markup, code_block, facts, fragment, join, number, paragraph
from noisegen.webpages.page import Page, Section

__all__ = ["dataset_page"]


def dataset_page(place: Path | str, options: ReportOptions) -> Page:
    """The page of a dataset, which may be unfinished.

    Args:
        place: its folder or URL.
        options: pairs to compare with, samples and seed.

    Raises:
        UsageError: there is no dataset, or the table of pairs is bad.
        RemoteError: the URL cannot be read.
    """
    pairs = options.read_pairs()
    with opened_dataset(place) as folder:
        found = read_facts(folder)
        notes = folder.notes()
        finished = np.flatnonzero(notes.done & ~notes.bad)
        draw = draw_tiles(folder, folder.shards(), finished, options.seed)
        problems = list(draw.problems)
        samples = Samples(found.run, draw, options.samples)
        noise = DatasetNoise(found.run, draw, options, pairs)
        wanted = samples.wanted | noise.wanted
        with Progress(len(wanted), "tile", "report") as progress:
            for tile, noisy, clean in read_tiles(folder, wanted.values(), problems):
                samples.see(tile, noisy, clean)
                noise.see(tile, noisy, clean)
                progress.update(pixels=noisy.shape[0] * noisy.shape[1])
    measured = noise.measured(problems)
    sections = [
        _overview(found),
        samples.section(),
        condition_section(found),
        split_section(found),
        noise.section(measured),
        failure_section(found, problems),
        throughput_section(found),
        provenance_section(found),
        _reading(found),
    ]
    numbers = {
        "dataset": str(place),
        "complete": found.complete,
        "status": found.status.to_dict() | {"newest": None},
        "shards_counted": found.counted,
        "totals": dict(found.table),
        "splits": dict(found.splits),
        "bytes": found.size,
        "noise": [
            {"camera": condition.camera, "iso": condition.iso}
            | {name: side.to_dict() for name, side in sides.items()}
            for condition, sides in measured.items()
        ],
    }
    name = place.resolve().name if isinstance(place, Path) else place
    return Page(f"Dataset {name}", _lead(found), sections, numbers)


def _lead(found: DatasetFacts) -> Markup:
    lines = [fragment('<p class="lead">{}</p>', description(found.run, found.table))]
    if not found.complete:
        lines.append(fragment('<p class="warning"><strong>Not complete.</strong> {}</p>', _unfinished(found)))
    return join(lines)


def _unfinished(found: DatasetFacts) -> str:
    """What is missing, and what to do."""
    status = found.status
    if status.running:
        doing, advice = "A build is running.", "This page shows what there is so far."
    elif status.retried:
        doing, advice = "Failed photographs are being tried again.", "noisegen retry-failed continues."
    else:
        doing, advice = "No build is running.", "The same build-dataset command continues it."
    parts = [f"{status.shards_done} of {status.shards} shards are done.", doing, advice]
    if status.damaged:
        parts.append(f"Damaged or missing: {_listed(status)}.")
    if found.counted < status.shards_done:
        parts.append(f"What is counted here is counted in {found.counted} of these shards.")
    return " ".join(parts)


def _listed(status: DatasetStatus) -> str:
    names: Sequence[str] = status.damaged
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def _overview(found: DatasetFacts) -> Section:
    run, table, config = found.run, found.table, found.run["config"]
    side = config["tile_size"]
    failed = sum(table["failures"].values())
    conditions = table["conditions"]
    pictures = f"{run['bit_depth']} bits, {'RGB' if run['channels'] == 3 else 'grey'}"
    pairs: list[tuple[str, object]] = [
        ("tiles (pairs)", table["tiles"]),
        ("size of a tile", f"{side} × {side} pixels, {pictures}"),
        ("megapixels of noisy tiles", float(table["megapixels"])),
        ("photographs used", found.photographs),
        ("photographs failed", failed),
        ("tiles left out by the selection", sum(table["left_out"].values())),
        ("cameras", len({condition["camera"] for condition in conditions})),
        ("camera and ISO settings", len(conditions)),
        ("format", config["format"] + (f", layout {config['layout']}" if config.get("layout") else "")),
        ("on disk", size_text(found.size)),
        (
            "state",
            "complete" if found.complete else f"{found.status.shards_done} of {found.status.shards} shards",
        ),
        ("licence", config["license"]),
    ]
    return Section("Overview", [facts(pairs)])


def size_text(size: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{number(float(size)) if unit != 'bytes' else round(size)} {unit}"
        size /= 1000
    return f"{number(float(size))} TB"


def _reading(found: DatasetFacts) -> Section:
    return Section(
        "How to read it",
        [
            code_block(format_card(found.run["config"]).reading, name="Python that reads the pairs"),
            paragraph(
                "Or, whatever the format, <code>noisegen train-denoiser DATASET</code>, or "
                "<code>noisegen.TileStream</code> in a training loop of your own. <code>index/*.parquet</code> has a "
                "row for each pair: key, photograph, place, camera, ISO, seed, std of the noise and hashes."
            ),
        ],
    )
