"""Tries rows that failed again: the shards that hold them are redone, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from noisegen.errors import InputError, UsageError
from noisegen.remote import as_place
from noisegen.synthesis.build import run_build
from noisegen.synthesis.files import read_json
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.resolve import resolved_build
from noisegen.synthesis.row_conditions import ExpectedTiles
from noisegen.synthesis.shards import Failure, Shard
from noisegen.synthesis.summary import BuildSummary

__all__ = ["RetryReport", "retry_failed"]


@dataclass(frozen=True)
class RetryReport:
    """What was tried again, or would be.

    Attributes:
        failures: recorded rows that were looked at, by reason.
        hopeless: those of them that fail as before by manifest or header, by the reason they fail now; they are not
            tried.
        shards: names of the shards to redo.
        tried: rows to try in those shards.
        recovered: of these, the ones that have tiles now.
        build: the outcome of redoing the shards; None in a dry run, or where there is nothing to redo.
    """

    failures: dict[str, int]
    hopeless: dict[str, int]
    shards: tuple[str, ...]
    tried: tuple[Failure, ...]
    recovered: int
    build: BuildSummary | None

    @property
    def exit_code(self) -> int:
        """0 where no failure is left of those looked at, otherwise 3."""
        left = sum(self.failures.values()) - self.recovered
        return 3 if left or (self.build is not None and self.build.lost) else 0

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**asdict(self), "build": self.build and self.build.to_dict()}

    def text(self) -> str:
        """A few lines for people."""
        lines = [f"row {f.row}  {f.reason}  {f.path}" for f in self.tried] if self.build is None else []
        lines.append(_line("failed rows", self.failures))
        lines.append(_line("fail as before by manifest or header", self.hopeless))
        done = "to be redone" if self.build is None else "redone"
        lines.append(f"{len(self.tried)} rows to try in {len(self.shards)} shards {done}")
        if self.build is not None:
            lines.append(f"{self.recovered} rows have tiles now")
            lines.append(self.build.text())
        return "\n".join(lines)


def retry_failed(
    dataset: str | Path,
    *,
    manifest: str | Path | None = None,
    root: str | Path | None = None,
    model: str | Path | None = None,
    noisy_pool: str | Path | None = None,
    reason: str | None = None,
    workers: int | None = None,
    dry_run: bool = False,
    profile: bool = False,
    quiet: bool = False,
) -> RetryReport:
    """Redoes the finished shards in which a failed row may succeed now.

    A row is tried when manifest and header say nothing against it any more. A shard is a function of its rows, so it
    is made as a whole; it stays in place until the new one is ready, and for good where a row that has tiles fails
    now. The settings are those that the build recorded in ``state/host.json``. Interrupted, the same call, or the
    build's, continues.

    Args:
        dataset: folder of a dataset, which may be unfinished; what was never built is left alone.
        manifest, root, model, noisy_pool: where they are now, if not where they were.
        reason: look at failures of this reason only.
        workers: threads; default as in the build.
        dry_run: redo nothing.
        profile: measure where the time goes, see `noisegen.build_dataset`.
        quiet: show no progress.

    Raises:
        UsageError: no dataset, its settings are not recorded, or they do not give this dataset any more.
        Interrupted, NoisegenError: as `noisegen.build_dataset`.
    """
    place = as_place(dataset)
    if not isinstance(place, Path):
        raise UsageError(
            f"{place} is a URL, where only whole builds are made; delete state/SHARD.done.json of the shards that "
            "failures.jsonl points to, and build again"
        )
    folder = DatasetFolder(place)
    request = _recorded_request(folder)
    moved = {"manifest": manifest, "root": root, "model": model, "noisy_pool": noisy_pool, "workers": workers}
    request |= {name: value for name, value in moved.items() if value is not None}
    request |= {"output": folder.root, "profile": profile, "quiet": quiet}
    request |= {
        "executor": "local",
        "ray_address": None,
        "gpus_per_task": None,
        "rank": None,
        "world_size": 1,
    }
    before = _failures(folder)
    looked_at = {
        shard: [f for f in failures if reason in (None, f.reason)] for shard, failures in before.items()
    }
    hopeless: Counter[str] = Counter()
    tried: dict[Shard, list[Failure]] = {}
    with resolved_build(**request) as resolved:
        if resolved.manifest.sha256 != folder.read_run()["manifest_sha256"]:
            raise UsageError(
                f"{resolved.manifest.path} is not the manifest that {folder.root} was built from, or has changed; "
                "give that one with --manifest"
            )
        expected = ExpectedTiles(resolved.config, resolved.engine.model)
        for shard, failures in looked_at.items():
            by_row = {failure.row: failure for failure in failures}
            for row in resolved.manifest.rows(shard.start, shard.stop):
                failure = by_row.get(row.index)
                if failure is None:
                    continue
                if failure.reason == "duplicate_id":  # which only another manifest could change
                    hopeless[failure.reason] += 1
                    continue
                try:
                    expected.count(row)
                    tried.setdefault(shard, []).append(failure)
                except InputError as error:
                    hopeless[error.reason] += 1
    redo = sorted({*tried, *_marked(folder)}, key=lambda shard: shard.index)
    build = run_build(request, redo=redo) if redo and not dry_run else None
    rows = {f.row for failures in tried.values() for f in failures}
    still = {f.row for failures in _failures(folder).values() for f in failures}
    return RetryReport(
        failures=_by_reason([f for failures in looked_at.values() for f in failures]),
        hopeless=dict(sorted(hopeless.items())),
        shards=tuple(shard.name for shard in redo),
        tried=tuple(f for failures in tried.values() for f in failures),
        recovered=len(rows - still),
        build=build,
    )


def _recorded_request(folder: DatasetFolder) -> dict[str, Any]:
    folder.read_run()
    path = folder.state / "host.json"
    advice = "give the build-dataset command again instead"
    if not path.is_file():
        raise UsageError(f"{path} is missing, which says how the dataset was built; {advice}")
    request = read_json(path, advice=advice).get("request")
    if not isinstance(request, dict):
        raise UsageError(f"{path} does not say how the dataset was built; {advice}")
    return request


def _failures(folder: DatasetFolder) -> dict[Shard, list[Failure]]:
    """The failures of each finished shard that has some."""
    found = folder.finished_ones(folder.shards())
    return {shard: list(marker.failures) for shard, marker in found if marker and marker.failures}


def _marked(folder: DatasetFolder) -> list[Shard]:
    """Shards that an interrupted call has left to be redone."""
    retried = folder.notes().retry
    return [shard for shard in folder.shards() if retried[shard.index]]


def _by_reason(failures: list[Failure]) -> dict[str, int]:
    return dict(sorted(Counter(failure.reason for failure in failures).items()))


def _line(what: str, counts: dict[str, int]) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.items())
    return f"{what}: {sum(counts.values())}" + (f" ({reasons})" if reasons else "")
