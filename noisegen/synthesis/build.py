"""`build_dataset`: from a manifest of clean photographs to a dataset of noisy/clean tiles."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from noisegen.errors import UsageError
from noisegen.images import DEFAULT_MAX_PIXELS
from noisegen.native import instruction_set, kernels_on
from noisegen.noisy_pool import NoisyPool
from noisegen.progress import say
from noisegen.synthesis.completion import complete, complete_if_last
from noisegen.synthesis.files import write_json
from noisegen.synthesis.formats import assembly_of
from noisegen.synthesis.interrupt import stop_on_signals
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.locks import locked, one_at_a_time
from noisegen.synthesis.making import Job, make_shards
from noisegen.synthesis.plan import (
    BuildConfig,
    adopt_run,
    choose_rows_per_shard,
    fingerprint,
    host_record,
    stored_rows_per_shard,
)
from noisegen.synthesis.pool_file import keep_pool
from noisegen.synthesis.rank import resolve_rank
from noisegen.synthesis.resolve import ResolvedBuild, request_record, resolved_build
from noisegen.synthesis.shards import Shard
from noisegen.synthesis.staging import dataset_at
from noisegen.synthesis.summary import BuildSummary
from noisegen.synthesis.writing import disk_errors

__all__ = [
    "Description",
    "begin",
    "build_dataset",
    "describe",
    "run_build",
    "run_of",
    "with_rows_per_shard",
]

logger = logging.getLogger(__name__)

WITHOUT_KERNELS = (
    "noisegen was installed without its compiled kernels; installing it again with a C compiler at hand makes noise "
    "about three times as fast on this CPU"
)


def build_dataset(
    manifest: str | Path,
    output: str | Path,
    *,
    model: str | Path = "default",
    noisy_pool: str | Path | None = None,
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
    strength: float = 1.0,
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
    rank: int | None = None,
    world_size: int | None = None,
    executor: str = "local",
    ray_address: str | None = None,
    gpus_per_task: float | None = None,
    profile: bool = False,
    quiet: bool = False,
) -> BuildSummary:
    """Builds a dataset, or completes one that the same call has begun.

    Every photograph is cut into tiles (see `noisegen.tiles.tile_grid`); a tile's noise is a function of the
    model, camera and ISO, seed, the photograph's id, variant and the tile's place. The files are the same,
    byte for byte, whatever ``batch_size`` and ``workers`` are and however often the build was interrupted.
    The layout is described in `noisegen.synthesis.layout`. A row that cannot be used is recorded, and the rest
    is built.

    >>> import tempfile
    >>> import pyarrow as pa, pyarrow.parquet as pq, skimage
    >>> import noisegen
    >>> folder = tempfile.TemporaryDirectory()
    >>> manifest, dataset = f"{folder.name}/manifest.parquet", f"{folder.name}/dataset"
    >>> photograph = f"{skimage.data_dir}/astronaut.png"
    >>> pq.write_table(pa.table({"path": [photograph], "camera": ["S6"], "iso": [800]}), manifest)
    >>> summary = noisegen.build_dataset(manifest, dataset, allow_outside=True, quiet=True)
    >>> summary.tiles, summary.failures
    (4, {})
    >>> folder.cleanup()

    Args:
        manifest: Parquet file or its URL, see `noisegen.manifest`.
        output: the dataset's folder, made if missing, or its URL, see `noisegen.synthesis.staging`.
        model: "default" or a .safetensors checkpoint, which may be a URL.
        noisy_pool: table of real pairs, or its URL, from whose noisy pictures a model that takes references has them,
            see `noisegen.noisy_pool`. What is not given of camera and ISO is then drawn from those of the pool.
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
        strength: of the noise, see `noisegen.models.protocol.NoiseModel.sample`.
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
        max_failures: stop when more rows than this have failed, of a rank's share where there are several.
        rank, world_size: number of this process, from 0, among so many that build the dataset together; None takes
            them from the environment, see `noisegen.synthesis.rank`.
        executor: "local", or "ray" to have the shards made by a Ray cluster, see `noisegen.synthesis.ray_executor`.
        ray_address: of the cluster; None takes it from RAY_ADDRESS, and without that starts Ray on this machine.
        gpus_per_task: of each process of Ray, 0 for none, also a fraction; None chooses by ``device``.
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
    if _on_ray(request):
        from noisegen.synthesis.ray_executor import run_on_ray

        return run_on_ray(request)
    with stop_on_signals() as stop:
        started = time.perf_counter()
        rank = resolve_rank(request["rank"], request["world_size"])
        folder = dataset_at(request["output"], request["staging"], "" if rank.alone else rank.name)
        with resolved_build(**request) as resolved, locked(folder), disk_errors(folder):
            if resolved.device == "cpu" and kernels_on("cpu") == "torch" and not request["quiet"]:
                say(WITHOUT_KERNELS)
            description = begin(folder, partial(describe, resolved, folder, request))
            config = description.config
            logger.info("model %s, sha256 %.12s", request["model"], resolved.checkpoint_sha256)
            logger.info(
                "device %s, %s, kernels %s, %d workers, %d tiles at once",
                resolved.device,
                config.precision,
                description.host["kernels"],
                resolved.workers,
                resolved.batch_size,
            )
            for shard in redo or ():
                write_json(folder.retry_file(shard), {"shard": shard.name})
            job = Job(
                folder=folder,
                config=config,
                resolved=resolved,
                stop=stop,
                called=started,
                max_failures=request["max_failures"],
                profile=request["profile"],
                quiet=request["quiet"],
            )
            built = make_shards(job, rank.share(folder.shards()), marked_only=redo is not None)
            if rank.alone:
                whole = complete(folder, stop)
            else:
                folder.remove(folder.failures_file)
            folder.publish()
            folder.remove_leftovers()
            folder.discard()
        if not rank.alone:
            whole = complete_if_last(folder, stop)
        return BuildSummary.of(folder, config.tile_size, built, rank, whole, time.perf_counter() - started)


def _on_ray(request: Mapping[str, Any]) -> bool:
    """Whether Ray is to make the shards."""
    executor = request["executor"]
    if executor not in ("local", "ray"):
        raise UsageError(f"unknown executor {executor!r}; use local or ray")
    if executor == "local":
        for name in ("ray_address", "gpus_per_task"):
            if request[name] is not None:
                raise UsageError(f"--{name.replace('_', '-')} is for --executor ray only; give that too")
        return False
    if find_spec("ray") is None:
        raise UsageError("--executor ray needs Ray: pip install 'noisegen[ray]'")
    return True


@dataclass(frozen=True)
class Description:
    """What a process would build, and how.

    Attributes:
        config: the settings in full.
        run: for run.json.
        host: for host.json.
        pool: for noisy_pool.json; None where the model draws without references.
    """

    config: BuildConfig
    run: dict[str, Any]
    host: dict[str, object]
    pool: NoisyPool | None


def describe(
    resolved: ResolvedBuild, folder: DatasetFolder | None, request: Mapping[str, Any]
) -> Description:
    """What this process would build into the folder; without one, into a new folder."""
    config = with_rows_per_shard(resolved, folder, request["rows_per_shard"])
    host = host_record(
        device=resolved.device,
        workers=resolved.workers,
        batch_size=resolved.batch_size,
        kernels=instruction_set() if kernels_on(resolved.device) == "native" else "torch",
        request=request_record(request),
    )
    return Description(config, run_of(resolved, config), host, resolved.pool)


def begin(folder: DatasetFolder, described: Callable[[], Description]) -> Description:
    """Makes a dataset, or makes sure that the one that is there is of the same build.

    Args:
        folder: of the dataset.
        described: says what is to be built, once the folder has been looked at.

    Raises:
        UsageError: it is another dataset, or cannot be made here.
    """
    folder.pull()
    with one_at_a_time(folder):
        description = described()
        output_format = description.config.format
        if assembly_of(output_format) and folder.place != str(folder.root):
            raise UsageError(
                f"format {output_format} is put together from all shards, which a URL cannot do; build "
                "webdataset there, or build into a folder"
            )
        adopt_run(folder, description.run)
        if description.pool is not None:
            keep_pool(folder, description.pool)
        write_json(folder.state / "host.json", description.host)
    folder.remove_leftovers()
    folder.publish()
    return description


def run_of(resolved: ResolvedBuild, config: BuildConfig) -> dict[str, Any]:
    """What run.json says of such a build."""
    return fingerprint(
        config,
        resolved.manifest,
        resolved.checkpoint_sha256,
        resolved.checkpoint_licence,
        None if resolved.pool is None else resolved.pool.record(),
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
