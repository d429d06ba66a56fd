"""Whether the noise of a dataset is what its checkpoint gives: a few tiles of each condition are made again."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from noisegen.conditions import Condition
from noisegen.devices import resolve_device
from noisegen.errors import UsageError
from noisegen.models import checkpoint_sha256, load_noise_model, prepare_for_synthesis
from noisegen.noisy_pool import with_pool
from noisegen.synthesis.engine import Engine, TileJob, tile_threads
from noisegen.synthesis.files import read_json
from noisegen.synthesis.formats import format_named
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.plan import installed_versions
from noisegen.synthesis.pool_file import kept_pool
from noisegen.synthesis.randomness import tile_key
from noisegen.synthesis.records import noise_std, read_index
from noisegen.synthesis.shards import Shard
from noisegen.synthesis.threads import usable_cores

__all__ = ["ConditionCheck", "NoiseCheck", "check_noise"]

COLUMNS = ("key", "id", "variant", "y", "x", "camera", "iso", "seed", "noise_std")
TILES_PER_CONDITION = 8
# Another processor may change a few pixels by one level; another version of PyTorch, or precision, a few more.
DIFFERENT_PIXELS = 1e-3
STD_TOLERANCE, STD_SLACK_LEVELS = 0.03, 0.05


@dataclass(frozen=True)
class ConditionCheck:
    """The noise of one camera and ISO; deviations in grey levels, root mean squares over tiles.

    Attributes:
        camera, iso: the condition.
        tiles: in the dataset.
        noise_std: over all of them, as the index says.
        sampled: tiles that were made again from their clean side.
        sample_std: of these, as they are in the dataset.
        model_std: of these, as the checkpoint gives them.
        equal: of these, how many came out equal in every pixel.
        agrees: whether the dataset's noise is the checkpoint's.
    """

    camera: str
    iso: int
    tiles: int
    noise_std: float
    sampled: int
    sample_std: float
    model_std: float
    equal: int
    agrees: bool


@dataclass(frozen=True)
class NoiseCheck:
    """What comes of making tiles again.

    Attributes:
        skipped: why nothing was compared; None where it was.
        exact: whether pixels were compared; otherwise deviations only, because versions, device or precision are not
            those of the build.
        conditions: sampled ones, sorted.
        foreign: (shard, key) of tiles whose pixels are not the checkpoint's; empty where only deviations were
            compared.
    """

    skipped: str | None
    exact: bool = False
    conditions: tuple[ConditionCheck, ...] = ()
    foreign: tuple[tuple[Shard, str], ...] = ()

    @property
    def problems(self) -> list[str]:
        """One for each condition that does not agree."""
        return [
            f"{c.camera} ISO {c.iso}: noise std {c.sample_std:.3f} in {c.sampled} tiles, {c.model_std:.3f} by the "
            f"checkpoint, {c.equal} tiles equal in every pixel"
            for c in self.conditions
            if not c.agrees
        ]

    def text(self) -> str:
        """One line for people."""
        if self.skipped is not None:
            return f"noise not compared with the checkpoint: {self.skipped}"
        sampled, equal = sum(c.sampled for c in self.conditions), sum(c.equal for c in self.conditions)
        how = "pixel by pixel" if self.exact else "by deviation (other versions or device than in the build)"
        return (
            f"{sampled} tiles of {len(self.conditions)} conditions made again and compared {how}: {equal} equal, "
            f"{len(self.problems)} conditions disagree"
        )


class _Sample(NamedTuple):
    order: int
    shard: Shard
    row: dict[str, Any]


@dataclass(frozen=True)
class _Remade:
    """Deviation of a tile's noise in the dataset and made again, and whether the two are the same."""

    shard: Shard
    key: str
    condition: Condition
    before: float
    again: float
    equal: bool
    close: bool


def check_noise(
    folder: DatasetFolder, shards: Iterable[Shard], *, tiles: int, model: str | Path | None = None
) -> NoiseCheck:
    """Makes a fixed sample of tiles again from their clean side and compares.

    The seed, the photograph's id and the tile's place are in the index, so the same random numbers come back: with
    the build's versions, device and precision the pixels must be the same, but for a few that another processor
    changes by one level. With others the deviations of a condition must agree within 3 % and 0.05 grey levels.

    Args:
        folder: the dataset.
        shards: finished ones, known to be whole.
        tiles: how many to make again at most, in turns from all conditions.
        model: the checkpoint; None takes the one that the build recorded.
    """
    run = folder.read_run()
    if "checkpoint_sha256" not in run:
        return NoiseCheck("the dataset is a copy; verify what it was copied from")
    try:
        source = _checkpoint(folder, run, model)
        engine, exact = _engine(folder, run, source)
    except UsageError as error:
        return NoiseCheck(str(error))
    samples, counts, squares = _draw(folder, shards, tiles)
    if not samples:
        return NoiseCheck("there are no tiles to compare")
    remade: list[_Remade] = []
    for shard in sorted({sample.shard for sample in samples}, key=lambda shard: shard.index):
        rows = [sample.row for sample in samples if sample.shard == shard]
        remade += _remake(folder, run["config"]["format"], shard, rows, engine)
    grouped: dict[Condition, list[_Remade]] = {}
    for tile in remade:
        grouped.setdefault(tile.condition, []).append(tile)
    return NoiseCheck(
        None,
        exact,
        tuple(
            _judge(condition, counts[condition], squares[condition], found, exact)
            for condition, found in sorted(grouped.items())
        ),
        tuple((tile.shard, tile.key) for tile in remade if exact and not tile.close),
    )


def _checkpoint(folder: DatasetFolder, run: Mapping[str, Any], model: str | Path | None) -> str | Path:
    """The file that the dataset was made with.

    Raises:
        UsageError: it is not at hand.
    """
    if model is None:
        host = folder.state / "host.json"
        model = (read_json(host).get("request") or {}).get("model") if host.is_file() else None
    if model is None:
        raise UsageError("where the checkpoint lies is not recorded; give it with --model")
    try:
        same = checkpoint_sha256(model) == run["checkpoint_sha256"]
    except OSError as error:
        raise UsageError(
            f"{model} cannot be read ({error.strerror}); give the checkpoint with --model"
        ) from error
    if not same:
        raise UsageError(f"{model} is another checkpoint than the build's; give that one with --model")
    return model


def _engine(folder: DatasetFolder, run: Mapping[str, Any], model: str | Path) -> tuple[Engine, bool]:
    """The model as in the build, as far as that can be had here, and whether it is the same in all respects."""
    config = run["config"]
    if config["halo"]:
        raise UsageError("its tiles were made with a halo, and what lay around them is not in the dataset")
    try:
        device, precision = resolve_device(config["device"]), config["precision"]
    except UsageError:
        device, precision = "cpu", "float32"
    noise_model = prepare_for_synthesis(
        load_noise_model(model, device=device), device=device, precision=precision
    )
    if run.get("noisy_pool"):
        noise_model = with_pool(noise_model, kept_pool(folder))
    same = (device, precision) == (config["device"], config["precision"])
    engine = Engine(noise_model, device=device, strength=config["strength"])
    return engine, same and run["versions"] == installed_versions(config["format"], config["device"])


def _draw(
    folder: DatasetFolder, shards: Iterable[Shard], tiles: int
) -> tuple[list[_Sample], Counter[Condition], dict[Condition, float]]:
    """Samples, and of each condition the number of tiles and the sum of their squared deviations.

    Only a few shards' tables are read for each condition; which ones follows from the shards' names.
    """
    counts: Counter[Condition] = Counter()
    squares: dict[Condition, float] = {}
    places: dict[Condition, list[tuple[int, Shard]]] = {}
    for marker in folder.markers(shards):
        place = (crc32(marker.shard.name.encode()), marker.shard)
        for total in marker.conditions:
            condition = Condition(total.camera, total.iso)
            counts[condition] += total.tiles
            squares[condition] = squares.get(condition, 0.0) + total.squares
            known = {*places.get(condition, []), place}
            places[condition] = heapq.nsmallest(TILES_PER_CONDITION, known, key=lambda known: known[0])
    candidates: dict[Condition, list[_Sample]] = {}
    for shard in {shard for found in places.values() for _, shard in found}:
        with folder.at_hand(shard, [folder.index_file(shard)]):
            rows = read_index(folder.index_file(shard), COLUMNS)
        for row in rows:
            sample = _Sample(crc32(row["key"].encode()), shard, row)
            candidates.setdefault(Condition(row["camera"], row["iso"]), []).append(sample)
    in_turns = sorted(
        (
            (turn, sample)
            for found in candidates.values()
            for turn, sample in enumerate(
                heapq.nsmallest(TILES_PER_CONDITION, found, key=lambda sample: sample.order)
            )
        ),
        key=lambda pair: (pair[0], pair[1].order),
    )
    return [sample for _, sample in in_turns[:tiles]], counts, squares


def _remake(
    folder: DatasetFolder, format_name: str, shard: Shard, rows: Sequence[dict[str, Any]], engine: Engine
) -> list[_Remade]:
    with folder.at_hand(shard), closing(format_named(format_name).open_tiles(folder, shard)) as reader:
        pairs = [reader.read(row["key"]) for row in rows]
    jobs = [
        TileJob(
            clean,
            Condition(row["camera"], row["iso"]),
            tile_key(row["seed"], row["id"], row["variant"]),
            row["y"],
            row["x"],
        )
        for row, (_, clean) in zip(rows, pairs, strict=True)
    ]
    groups = [jobs] if engine.device.type == "cuda" else [[job] for job in jobs]
    with tile_threads(usable_cores()) as pool:
        again = [tile for group in pool.map(engine.run, groups) for tile in group]
    remade = []
    for row, job, (noisy, clean), tile in zip(rows, jobs, pairs, again, strict=True):
        difference = np.abs(noisy.astype(np.int64) - tile)
        close = difference.max() <= 1 and np.count_nonzero(difference) <= DIFFERENT_PIXELS * difference.size
        remade.append(
            _Remade(
                shard,
                row["key"],
                job.condition,
                noise_std(noisy, clean),
                noise_std(tile, clean),
                equal=not difference.any(),
                close=bool(close),
            )
        )
    return remade


def _judge(
    condition: Condition, tiles: int, squares: float, found: Sequence[_Remade], exact: bool
) -> ConditionCheck:
    before, again = (
        math.sqrt(sum(value**2 for value in values) / len(found))
        for values in ([tile.before for tile in found], [tile.again for tile in found])
    )
    near = abs(before - again) <= STD_TOLERANCE * again + STD_SLACK_LEVELS
    return ConditionCheck(
        condition.camera,
        condition.iso,
        tiles,
        round(math.sqrt(squares / tiles), 4),
        len(found),
        round(before, 4),
        round(again, 4),
        sum(tile.equal for tile in found),
        all(tile.close for tile in found) if exact else near,
    )
