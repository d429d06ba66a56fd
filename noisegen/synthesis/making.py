"""Making the shards of a build that are not there yet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from noisegen.errors import NoisegenError
from noisegen.progress import Progress
from noisegen.synthesis.duplicates import RepeatedIds
from noisegen.synthesis.events import RowDone, RowFailed, ShardBegins, TilesDone, TilesLeftOut
from noisegen.synthesis.failures import FailureTally, write_failures
from noisegen.synthesis.formats import format_named
from noisegen.synthesis.interrupt import StopRequest
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.pipeline import Pipeline, open_pipeline, thread_counts
from noisegen.synthesis.plan import BuildConfig
from noisegen.synthesis.profile import Profile, Profiler
from noisegen.synthesis.resolve import ResolvedBuild
from noisegen.synthesis.shards import Failure, Marker, Shard
from noisegen.synthesis.stages import StageClock
from noisegen.synthesis.survey import Totals
from noisegen.synthesis.writing import OpenShard, start_over

__all__ = ["Built", "Job", "Pending", "finished_of", "make_pending", "make_shards", "prepare"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What the making of shards needs to know.

    Attributes:
        folder: the dataset.
        config: the settings.
        resolved: photographs and model.
        stop: looked at between tiles.
        called: when the build was called for, in seconds of `time.perf_counter`.
        max_failures: an error comes when more rows than this have failed in the shards to be made.
        profile: whether to measure where the time goes.
        quiet: show no progress.
        repeated: rows that repeat an id, as far as the shards go; None has them looked for.
    """

    folder: DatasetFolder
    config: BuildConfig
    resolved: ResolvedBuild
    stop: StopRequest
    called: float
    max_failures: int | None
    profile: bool
    quiet: bool
    repeated: RepeatedIds | None = None


@dataclass(frozen=True)
class Built:
    """What came of it.

    Attributes:
        totals: of all shards asked for that are there.
        shards: number of those made now.
        lost: rows for whose sake shards were kept as they were.
        profile: where the time went, where that was asked for.
    """

    totals: Totals
    shards: int = 0
    lost: tuple[Failure, ...] = ()
    profile: Profile | None = None


@dataclass(frozen=True)
class Pending:
    """What is to be made.

    Attributes:
        shards: in their order; of those that are not to stay in place until then, nothing is left.
        totals: of the others that were asked for, which are finished.
    """

    shards: tuple[Shard, ...]
    totals: Totals = field(default_factory=Totals)


def make_shards(job: Job, shards: Sequence[Shard], *, marked_only: bool = False) -> Built:
    """Makes those of the shards that are not there yet or marked to be retried; the others are counted only.

    Args:
        job: see there.
        shards: in their order.
        marked_only: leave alone what is not there and not marked either.

    Raises:
        Interrupted: a signal came.
        NoisegenError: too many failures, or the dataset cannot be written.
    """
    pending = prepare(job.folder, job.config, shards, job.stop, marked_only=marked_only)
    if not pending.shards:
        return Built(pending.totals)
    with job.stop.between_steps(), job.folder.outbox(job.stop) as send:
        return make_pending(job, pending, send)


def prepare(
    folder: DatasetFolder,
    config: BuildConfig,
    shards: Sequence[Shard],
    stop: StopRequest,
    *,
    marked_only: bool = False,
) -> Pending:
    """Looks which of the shards are to be made, and removes what is left of broken ones; see `make_shards`.

    Raises:
        Interrupted: a signal came.
    """
    totals = Totals()
    pending: list[Shard] = []
    broken: list[Shard] = []
    retried = folder.notes().retry
    for shard, marker in folder.finished_ones(shards):
        stop.check()
        marked = retried[shard.index]
        if marked or (marker is None and not marked_only):
            pending.append(shard)
        elif marker is not None:
            totals.add(marker)
        if marker is None and (marked or not marked_only):
            broken.append(shard)
    if pending:
        start_over(folder, format_named(config.format), broken)
    return Pending(tuple(pending), totals)


def finished_of(folder: DatasetFolder, shards: Iterable[Shard]) -> tuple[Totals, list[Shard]]:
    """The totals of those shards that are finished and not marked to be retried, and the others."""
    totals, others = Totals(), []
    for shard in shards:
        marker = None if folder.retry_file(shard).exists() else folder.finished(shard)
        if marker is None:
            others.append(shard)
        else:
            totals.add(marker)
    return totals, others


def make_pending(
    job: Job,
    pending: Pending,
    send: Callable[[Marker], None],
    computed: Callable[[], None] = lambda: None,
) -> Built:
    """Makes shards, whatever is there; see `make_shards`.

    Args:
        job: see there.
        pending: what `prepare` has found.
        send: of `DatasetFolder.outbox`; what it was given has arrived when that is left.
        computed: called when nothing is left but to put the last shard in place.
    """
    shards = pending.shards
    repeated = job.repeated or RepeatedIds.of(job.resolved.manifest, shards[-1].stop, job.config.seed)
    profiler = Profiler(
        job.folder,
        job.config,
        thread_counts(job.resolved.workers),
        called=job.called,
        wanted=job.profile,
    )
    with (
        profiler as clock,
        open_pipeline(job.resolved, job.config, job.stop, clock, repeated) as pipeline,
    ):
        built = _write_shards(job, pipeline, clock, pending, send, computed)
    return replace(built, profile=profiler.profile)


def _write_shards(
    job: Job,
    pipeline: Pipeline,
    clock: StageClock,
    pending: Pending,
    send: Callable[[Marker], None],
    computed: Callable[[], None],
) -> Built:
    """Consumes the pipeline's events in order."""
    totals, shards = pending.totals, pending.shards
    logger.info("%d shards are there, %d are made now", totals.shards, len(shards))
    failures = FailureTally()
    failures.record(totals.failures.total())
    output_format = format_named(job.config.format)
    shard: OpenShard | None = None
    lost: list[Failure] = []
    tiles = built = 0
    rows = sum(s.stop - s.start for s in shards)
    with Progress(rows, "photo", "build-dataset", quiet=job.quiet) as progress:
        try:
            for event in pipeline.events(shards):
                if isinstance(event, ShardBegins):
                    shard = OpenShard(job.folder, output_format, event.shard, clock)
                    continue
                assert shard is not None
                if isinstance(event, TilesDone):
                    shard.add(event.tiles)
                    tiles += len(event.tiles)
                    pixels = len(event.tiles) * job.config.tile_size**2
                    progress.update(0, pixels=pixels, tiles=tiles, failed=len(failures))
                elif isinstance(event, TilesLeftOut):
                    shard.leave_out(event.tiles)
                elif isinstance(event, RowDone):
                    progress.update(1)
                elif isinstance(event, RowFailed):
                    shard.fail(event.failure)
                    failures.add(event.failure)
                    progress.update(1, failed=len(failures))
                    _check_failures(job, failures, shards)
                else:
                    if event.shard == shards[-1]:
                        computed()
                    if shard.lost:
                        lost += shard.lost
                        totals.add(shard.keep_standing())
                        shard = None
                    else:
                        marker = shard.finish()
                        built += 1
                        totals.add(marker)
                        shard = None
                        with clock.stage("idle", "wait for upload"):
                            send(marker)
                    failures.shard_finished()
        except BaseException:
            if shard is not None:
                shard.abort()
            raise
    return Built(totals, built, tuple(lost))


def _check_failures(job: Job, failures: FailureTally, shards: Sequence[Shard]) -> None:
    count = len(failures)
    if job.max_failures is None or count <= job.max_failures:
        return
    listed = write_failures(job.folder, shards, failures.unrecorded)
    job.folder.publish()
    last = failures.unrecorded[-1]
    raise NoisegenError(
        f"{count} photographs have failed, more than the limit of {job.max_failures}; the last one, "
        f"row {last.row}: {last.message}. All are listed in {job.folder.place}/"
        f"{listed.relative_to(job.folder.root).as_posix()}; correct them or raise --max-failures, the same command "
        "resumes the build"
    )
