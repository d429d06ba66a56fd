"""`build_dataset`: from a manifest of clean photographs to a dataset of noisy/clean tiles."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from noisegen.devices import resolve_device, resolve_precision
from noisegen.errors import InputError, NoisegenError, UsageError
from noisegen.images import DEFAULT_MAX_PIXELS
from noisegen.manifest import Manifest
from noisegen.models import checkpoint_sha256, load_noise_model, prepare_for_synthesis
from noisegen.progress import Progress
from noisegen.synthesis.duplicates import RepeatedIds
from noisegen.synthesis.engine import CUDA_BATCH, Engine, keep_freed_memory, tile_threads
from noisegen.synthesis.failures import FailureTally, write_failures
from noisegen.synthesis.files import write_json
from noisegen.synthesis.formats import format_named
from noisegen.synthesis.interrupt import StopRequest, stop_on_signals
from noisegen.synthesis.layout import DatasetFolder, Shard
from noisegen.synthesis.pipeline import Pipeline, RowDone, RowFailed, ShardBegins, TilesDone
from noisegen.synthesis.plan import (
    BuildConfig,
    adopt_run,
    choose_rows_per_shard,
    fingerprint,
    host_record,
    stored_rows_per_shard,
)
from noisegen.synthesis.summary import BuildSummary, write_summary
from noisegen.synthesis.threads import usable_cores, worker_threads
from noisegen.synthesis.writing import OpenShard, disk_errors, start_over

__all__ = ["build_dataset"]


def build_dataset(
    manifest: str | Path,
    output: str | Path,
    *,
    model: str | Path = "default",
    format: str = "webdataset",
    tile_size: int = 256,
    variants: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    camera: str | None = None,
    iso: int | None = None,
    limit: int | None = None,
    root: str | Path | None = None,
    allow_outside: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    rows_per_shard: int | None = None,
    max_failures: int | None = None,
    quiet: bool = False,
) -> BuildSummary:
    """Builds a dataset, or completes one that the same call has begun.

    Every photograph is cut into tiles (see `noisegen.tiles.tile_grid`); a tile's noise is a function of the
    model, camera and ISO, seed, the photograph's id, variant and the tile's place. The files are the same,
    byte for byte, whatever ``batch_size`` and ``workers`` are and however often the build was interrupted.
    The layout is described in `noisegen.synthesis.layout`. A row that cannot be used is recorded, and the rest
    is built.

    Args:
        manifest: Parquet file, see `noisegen.manifest`.
        output: the dataset's folder, made if missing.
        model: "default" or a .safetensors checkpoint.
        format: "webdataset" or "folders".
        tile_size: side of a tile in pixels.
        variants: noisy versions of each photograph.
        seed: of all randomness, 0 .. 2**63 - 1.
        batch_size: tiles given to a worker at once; default 1 on a CPU, 16 on CUDA.
        workers: threads that make tiles; default one for each core.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "float32" or "bfloat16".
        camera, iso: for all rows instead of the manifest's. What neither gives is drawn at random.
        limit: use the manifest's first rows only.
        root: the photographs' folder, where it is not the manifest's.
        allow_outside: lets rows point outside that folder.
        max_pixels: larger photographs are refused.
        rows_per_shard: manifest rows in a shard; default: such that a shard has around a thousand tiles.
        max_failures: stop when more rows than this have failed.
        quiet: show no progress.

    Raises:
        UsageError: the request cannot be carried out; the message says why.
        Interrupted: SIGINT or SIGTERM; the same call resumes.
        NoisegenError: too many failures, or the dataset cannot be written.
    """
    for name, count in (("batch-size", batch_size), ("workers", workers)):
        if count is not None and count < 1:
            raise UsageError(f"{name} must be at least 1, not {count}")
    with stop_on_signals() as stop:
        started = time.perf_counter()
        format_named(format)
        device = resolve_device(device)
        config = BuildConfig(
            format=format,
            tile_size=tile_size,
            variants=variants,
            seed=seed,
            camera=camera,
            iso=iso,
            limit=limit,
            rows_per_shard=1 if rows_per_shard is None else rows_per_shard,
            max_pixels=max_pixels,
            allow_outside=allow_outside,
            device=device.split(":")[0],
            precision=resolve_precision(precision, device),
        )
        photographs = Manifest.open(
            Path(manifest), root=None if root is None else Path(root), allow_outside=allow_outside
        )
        engine = _make_engine(model, config, device)
        folder = DatasetFolder(Path(output))
        with _locked(folder), disk_errors(folder):
            if rows_per_shard is None:
                chosen = stored_rows_per_shard(folder) or choose_rows_per_shard(photographs, config)
                config = replace(config, rows_per_shard=chosen)
            bit_depth = engine.model.bit_depth
            adopt_run(folder, fingerprint(config, photographs, checkpoint_sha256(model), bit_depth))
            workers = workers or usable_cores()
            batch_size = batch_size or (CUDA_BATCH if config.device == "cuda" else 1)
            host = host_record(model=str(model), device=device, workers=workers, batch_size=batch_size)
            write_json(folder.state / "host.json", host)
            folder.remove_leftovers()

            job = _Job(folder, config, photographs, engine, stop, max_failures, quiet)
            built = _build_shards(job, workers, batch_size)
            totals = write_summary(folder, folder.shards(), config)
            folder.remove_leftovers()
        return BuildSummary(
            output=folder.root,
            shards=totals["shards"],
            shards_built=built,
            tiles=totals["tiles"],
            megapixels=totals["megapixels"],
            failures=totals["failures"],
            seconds=time.perf_counter() - started,
        )


@dataclass(frozen=True)
class _Job:
    folder: DatasetFolder
    config: BuildConfig
    manifest: Manifest
    engine: Engine
    stop: StopRequest
    max_failures: int | None
    quiet: bool


def _build_shards(job: _Job, workers: int, batch_size: int) -> int:
    """Builds what is not there yet; returns the number of shards built."""
    failures = FailureTally()
    pending: list[Shard] = []
    for shard in job.folder.shards():
        if marker := job.folder.finished(shard):
            failures.record(len(marker.failures))
        else:
            pending.append(shard)
    last = max((shard.stop for shard in pending), default=0)
    repeated = RepeatedIds.of(job.manifest, last, job.config.seed)
    start_over(job.folder, format_named(job.config.format), pending)
    with (
        job.stop.between_steps(),
        worker_threads(max(1, workers // 4)) as decoders,
        tile_threads(workers) as makers,
    ):
        pipeline = Pipeline(
            job.config,
            job.manifest,
            job.engine,
            decoders=decoders,
            makers=makers,
            batch_size=batch_size,
            in_flight=2 * workers + 2,
            stop=job.stop,
            repeated=repeated,
        )
        try:
            _write_shards(job, pipeline, pending, failures)
        finally:
            job.stop.give_up()
    return len(pending)


def _write_shards(job: _Job, pipeline: Pipeline, pending: Sequence[Shard], failures: FailureTally) -> None:
    """Consumes the pipeline's events in order; ``failures`` has those of the shards already there."""
    output_format = format_named(job.config.format)
    shard: OpenShard | None = None
    tiles = 0
    started = time.perf_counter()
    rows = sum(s.stop - s.start for s in pending)
    with Progress(rows, "photo", "build-dataset", quiet=job.quiet) as progress:
        try:
            for event in pipeline.events(pending):
                if isinstance(event, ShardBegins):
                    shard = OpenShard(job.folder, output_format, event.shard)
                    continue
                assert shard is not None
                if isinstance(event, TilesDone):
                    shard.add(event.tiles)
                    tiles += len(event.tiles)
                    rate = tiles * job.config.tile_size**2 / 1e6 / (time.perf_counter() - started)
                    progress.update(0, tiles=tiles, mp_per_s=round(rate, 2), failed=len(failures))
                elif isinstance(event, RowDone):
                    progress.update(1)
                elif isinstance(event, RowFailed):
                    shard.fail(event.failure)
                    failures.add(event.failure)
                    progress.update(1, failed=len(failures))
                    _check_failures(job, failures)
                else:
                    shard.finish()
                    failures.shard_finished()
                    shard = None
        except BaseException:
            if shard is not None:
                shard.abort()
            raise


def _check_failures(job: _Job, failures: FailureTally) -> None:
    count = len(failures)
    if job.max_failures is None or count <= job.max_failures:
        return
    listed = write_failures(job.folder, failures.unrecorded)
    last = failures.unrecorded[-1]
    raise NoisegenError(
        f"{count} photographs have failed, more than the limit of {job.max_failures}; the last one, "
        f"row {last.row}: {last.message}. All are listed in {listed}; correct "
        "them or raise --max-failures, the same command resumes the build"
    )


def _make_engine(model: str | Path, config: BuildConfig, device: str) -> Engine:
    if device == "cpu":
        keep_freed_memory()
    noise_model = load_noise_model(model, device=device)
    try:
        noise_model.vocabulary.resolve(noise_model.vocabulary.draw(0, "", 0, config.camera, config.iso))
    except InputError as error:
        raise UsageError(f"{error} (asked for by --camera or --iso)") from error
    fast_model = prepare_for_synthesis(noise_model, device=device, precision=config.precision)
    return Engine(fast_model, device=device)


@contextmanager
def _locked(folder: DatasetFolder) -> Iterator[None]:
    """Makes the folder and keeps other builds out of it."""
    try:
        folder.state.mkdir(parents=True, exist_ok=True)
        lock = (folder.state / "lock").open("a")
    except OSError as error:
        raise UsageError(
            f"cannot write into {folder.root}: {error.strerror}; give a folder that can be written with -o"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another build is writing into {folder.root}; wait for it or give another folder"
            ) from error
        except OSError as error:
            raise UsageError(
                f"cannot lock {folder.root}: {error.strerror} (its file system has no flock, so two builds could "
                "not be kept apart); build into a folder on another file system and copy the dataset"
            ) from error
        yield
