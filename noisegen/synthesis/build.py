"""`build_dataset`: from a manifest of clean photographs to a dataset of noisy/clean tiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from noisegen.errors import NoisegenError, UsageError
from noisegen.images import DEFAULT_MAX_PIXELS
from noisegen.native import instruction_set, kernels_on
from noisegen.progress import Progress, say
from noisegen.synthesis.duplicates import RepeatedIds
from noisegen.synthesis.events import RowDone, RowFailed, ShardBegins, TilesDone, TilesLeftOut
from noisegen.synthesis.failures import FailureTally, write_failures
from noisegen.synthesis.files import write_json
from noisegen.synthesis.formats import assembly_of, format_named
from noisegen.synthesis.interrupt import StopRequest, stop_on_signals
from noisegen.synthesis.layout import DatasetFolder, Failure, Marker, Shard
from noisegen.synthesis.pipeline import Pipeline, open_pipeline, thread_counts
from noisegen.synthesis.plan import (
    BuildConfig,
    adopt_run,
    choose_rows_per_shard,
    fingerprint,
    host_record,
    stored_rows_per_shard,
)
from noisegen.synthesis.profile import Profile, Profiler
from noisegen.synthesis.resolve import ResolvedBuild, request_record, resolved_build
from noisegen.synthesis.stages import StageClock
from noisegen.synthesis.staging import dataset_at
from noisegen.synthesis.summary import BuildSummary, write_summary
from noisegen.synthesis.writing import OpenShard, disk_errors, locked, start_over

__all__ = ["build_dataset", "run_build", "run_of", "with_rows_per_shard"]

WITHOUT_KERNELS = (
    "noisegen was installed without its compiled kernels; installing it again with a C compiler at hand makes noise "
    "about three times as fast on this CPU"
)


def build_dataset(
    manifest: str | Path,
    output: str | Path,
    *,
    model: str | Path = "default",
    format: str = "webdataset",
    layout: str | None = None,
    png_level: str | None = None,
    tile_size: int = 256,
    variants: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    camera: str | None = None,
    iso: int | None = None,
    conditions: str | Path | None = None,
    noise_scale: float = 1.0,
    downscale: float = 1.0,
    overlap: int = 0,
    halo: int = 0,
    min_sharpness: float | None = None,
    max_flat: float | None = None,
    max_saturated: float | None = None,
    split: str | None = None,
    limit: int | None = None,
    root: str | Path | None = None,
    staging: str | Path | None = None,
    allow_outside: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    rows_per_shard: int | None = None,
    license: str = "unknown",
    max_failures: int | None = None,
    profile: bool = False,
    quiet: bool = False,
) -> BuildSummary:
    """Builds a dataset, or completes one that the same call has begun.

    Every photograph is cut into tiles (see `noisegen.tiles.tile_grid`); a tile's noise is a function of the
    model, camera and ISO, seed, the photograph's id, variant and the tile's place. The files are the same,
    byte for byte, whatever ``batch_size`` and ``workers`` are and however often the build was interrupted.
    The layout is described in `noisegen.synthesis.layout`. A row that cannot be used is recorded, and the rest
    is built.

    Args:
        manifest: Parquet file or its URL, see `noisegen.manifest`.
        output: the dataset's folder, made if missing, or its URL, see `noisegen.synthesis.staging`.
        model: "default" or a .safetensors checkpoint, which may be a URL.
        format: "webdataset", "parquet", "folders", "lmdb" or "hdf5", see ``docs/formats.md``.
        layout: of "folders": "basicsr" (default), "nafnet", "restormer" or "kair".
        png_level: "stored", "fast" (default) or "small"; none with "hdf5".
        tile_size: side of a tile in pixels.
        variants: noisy versions of each photograph.
        seed: of all randomness, 0 .. 2**63 - 1.
        batch_size: tiles given to a worker at once; on CUDA rounded up to whole batches of the device.
        workers: threads that make tiles; default one for each core, on CUDA four more.
        device: "auto", "cpu", "cuda" (all visible GPUs) or "cuda:N".
        precision: "auto", "float32", "bfloat16" or "float16", see `noisegen.devices.synthesis_precision`.
        camera, iso: for all rows instead of the manifest's. What neither gives is drawn at random.
        conditions: YAML file of what is drawn how often, see `noisegen.condition_draw`; default: uniformly from
            the (camera, ISO) pairs that the model knows.
        noise_scale: strength of the noise, see `noisegen.models.protocol.NoiseModel.sample`.
        downscale: make photographs smaller by this factor first, see `noisegen.downscaling`.
        overlap: pixels that neighbouring tiles share.
        halo: pixels around each tile that the model sees too, so that noise continues across tiles.
        min_sharpness, max_flat, max_saturated: leave out tiles, see `noisegen.synthesis.selection.TileSelection`.
        split: names and shares of splits, "train:0.9,val:0.1"; a photograph's is drawn by seed and id.
        limit: use the manifest's first rows only.
        root: the photographs' folder or URL, where it is not the manifest's.
        staging: where shards are made that go to a URL; by default the system's folder for temporary files.
        allow_outside: lets rows point outside that folder.
        max_pixels: larger photographs are refused.
        rows_per_shard: manifest rows in a shard; default: such that a shard has around a thousand tiles.
        license: of the dataset, for its card; an identifier such as "cc-by-4.0", or any text.
        max_failures: stop when more rows than this have failed.
        profile: measure where the time goes: the summary has a `noisegen.synthesis.profile.Profile`, and
            ``state/trace.json`` each span of time.
        quiet: show no progress.

    Raises:
        UsageError: the request cannot be carried out; the message says why.
        Interrupted: SIGINT or SIGTERM; the same call resumes.
        NoisegenError: too many failures, or the dataset cannot be written (RemoteError at a URL).
    """
    return run_build(locals())


def run_build(request: Mapping[str, Any], *, redo: Collection[Shard] | None = None) -> BuildSummary:
    """What `build_dataset` and `noisegen.synthesis.retry` do.

    Args:
        request: the arguments of `build_dataset`.
        redo: finished shards to build again, and nothing else; one in which more rows fail than before is kept
            as it was. None builds all that is not there.

    Raises:
        as `build_dataset`.
    """
    with stop_on_signals() as stop:
        started = time.perf_counter()
        folder = dataset_at(request["output"], request["staging"])
        with resolved_build(**request) as resolved, locked(folder), disk_errors(folder):
            if assembly_of(resolved.config.format) and folder.place != str(folder.root):
                raise UsageError(
                    f"format {resolved.config.format} is put together from all shards, which a URL cannot do; build "
                    "webdataset there, or build into a folder"
                )
            folder.pull()
            config = with_rows_per_shard(resolved, folder, request["rows_per_shard"])
            adopt_run(folder, run_of(resolved, config))
            host = host_record(
                device=resolved.device,
                workers=resolved.workers,
                batch_size=resolved.batch_size,
                kernels=instruction_set() if kernels_on(resolved.device) == "native" else "torch",
                request=request_record(request),
            )
            write_json(folder.state / "host.json", host)
            if resolved.device == "cpu" and kernels_on("cpu") == "torch" and not request["quiet"]:
                say(WITHOUT_KERNELS)
            folder.remove_leftovers()
            folder.publish()
            for shard in redo or ():
                write_json(folder.retry_file(shard), {"shard": shard.name})

            job = _Job(
                folder=folder,
                config=config,
                resolved=resolved,
                stop=stop,
                called=started,
                max_failures=request["max_failures"],
                profile=request["profile"],
                quiet=request["quiet"],
            )
            built = _build_shards(job, marked_only=redo is not None)
            if assembly := assembly_of(config.format):
                shards = folder.shards()
                if all(folder.finished(shard) for shard in shards):
                    with stop.between_steps():
                        assembly.assemble(folder, shards, stop.check)
            totals = write_summary(folder)
            folder.publish()
            folder.remove_leftovers()
            folder.discard()
        return BuildSummary(
            output=folder.place,
            shards=totals["shards"],
            shards_built=built.shards,
            lost=tuple(built.lost),
            tiles=totals["tiles"],
            megapixels=totals["megapixels"],
            failures=totals["failures"],
            left_out=totals["left_out"],
            seconds=time.perf_counter() - started,
            profile=built.profile,
        )


@dataclass(frozen=True)
class _Job:
    folder: DatasetFolder
    config: BuildConfig
    resolved: ResolvedBuild
    stop: StopRequest
    called: float
    max_failures: int | None
    profile: bool
    quiet: bool


@dataclass(frozen=True)
class _Built:
    """The number of shards built, the rows for whose sake others were kept as they were, and the time it took."""

    shards: int
    lost: list[Failure]
    profile: Profile | None = None


def run_of(resolved: ResolvedBuild, config: BuildConfig) -> dict[str, Any]:
    """What run.json says of such a build."""
    return fingerprint(
        config,
        resolved.manifest,
        resolved.checkpoint_sha256,
        resolved.checkpoint_licence,
        bit_depth=resolved.engine.model.bit_depth,
        channels=resolved.engine.model.channels,
    )


def with_rows_per_shard(
    resolved: ResolvedBuild, folder: DatasetFolder | None, given: int | None
) -> BuildConfig:
    """The settings with the size of shards that was given, that of a dataset already begun, or a fitting one."""
    if given is not None:
        return resolved.config
    stored = stored_rows_per_shard(folder) if folder else None
    chosen = stored or choose_rows_per_shard(resolved.manifest, resolved.config)
    return replace(resolved.config, rows_per_shard=chosen)


def _build_shards(job: _Job, *, marked_only: bool) -> _Built:
    """Builds what is not there yet or marked to be retried."""
    failures = FailureTally()
    pending: list[Shard] = []
    broken: list[Shard] = []
    for shard in job.folder.shards():
        marker = job.folder.finished(shard)
        marked = job.folder.retry_file(shard).exists()
        if marked or (marker is None and not marked_only):
            pending.append(shard)
        elif marker is not None:
            failures.record(len(marker.failures))
        if marker is None and (marked or not marked_only):
            broken.append(shard)
    last = max((shard.stop for shard in pending), default=0)
    repeated = RepeatedIds.of(job.resolved.manifest, last, job.config.seed)
    start_over(job.folder, format_named(job.config.format), broken)
    profiler = Profiler(
        job.folder,
        job.config,
        thread_counts(job.resolved.workers),
        called=job.called,
        # where there is nothing to do, the last build's profile stays
        wanted=job.profile and bool(pending),
    )
    with (
        job.stop.between_steps(),
        job.folder.outbox(job.stop) as send,
        profiler as clock,
        open_pipeline(job.resolved, job.config, job.stop, clock, repeated) as pipeline,
    ):
        built = _write_shards(job, pipeline, clock, pending, failures, send)
    return replace(built, profile=profiler.profile)


def _write_shards(
    job: _Job,
    pipeline: Pipeline,
    clock: StageClock,
    pending: Sequence[Shard],
    failures: FailureTally,
    send: Callable[[Marker], None],
) -> _Built:
    """Consumes the pipeline's events in order; ``failures`` has those of the shards already there."""
    output_format = format_named(job.config.format)
    shard: OpenShard | None = None
    lost: list[Failure] = []
    tiles = built = 0
    started = time.perf_counter()
    rows = sum(s.stop - s.start for s in pending)
    with Progress(rows, "photo", "build-dataset", quiet=job.quiet) as progress:
        try:
            for event in pipeline.events(pending):
                if isinstance(event, ShardBegins):
                    shard = OpenShard(job.folder, output_format, event.shard, clock)
                    continue
                assert shard is not None
                if isinstance(event, TilesDone):
                    shard.add(event.tiles)
                    tiles += len(event.tiles)
                    rate = tiles * job.config.tile_size**2 / 1e6 / (time.perf_counter() - started)
                    progress.update(0, tiles=tiles, mp_per_s=round(rate, 2), failed=len(failures))
                elif isinstance(event, TilesLeftOut):
                    shard.leave_out(event.tiles)
                elif isinstance(event, RowDone):
                    progress.update(1)
                elif isinstance(event, RowFailed):
                    shard.fail(event.failure)
                    failures.add(event.failure)
                    progress.update(1, failed=len(failures))
                    _check_failures(job, failures)
                else:
                    failures.shard_finished()
                    if shard.lost:
                        lost += shard.lost
                        shard.keep_standing()
                        shard = None
                    else:
                        marker = shard.finish()
                        built += 1
                        shard = None
                        with clock.stage("idle", "wait for upload"):
                            send(marker)
        except BaseException:
            if shard is not None:
                shard.abort()
            raise
    return _Built(built, lost)


def _check_failures(job: _Job, failures: FailureTally) -> None:
    count = len(failures)
    if job.max_failures is None or count <= job.max_failures:
        return
    listed = write_failures(job.folder, failures.unrecorded)
    job.folder.publish()
    last = failures.unrecorded[-1]
    raise NoisegenError(
        f"{count} photographs have failed, more than the limit of {job.max_failures}; the last one, "
        f"row {last.row}: {last.message}. All are listed in {job.folder.place}/{listed.name}; correct "
        "them or raise --max-failures, the same command resumes the build"
    )
