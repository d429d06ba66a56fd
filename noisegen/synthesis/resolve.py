"""From the arguments of a build to what it works with: settings, photographs and noise model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from noisegen.condition_draw import ConditionDraw, read_condition_draw
from noisegen.conditions import Condition
from noisegen.devices import cuda_devices, resolve_device
from noisegen.errors import InputError, UsageError
from noisegen.manifest import Manifest
from noisegen.models import (
    checkpoint_licence,
    checkpoint_sha256,
    drawing_precision,
    load_noise_model,
    prepare_for_synthesis,
)
from noisegen.models.protocol import NoiseModel
from noisegen.models.references import resolve_condition
from noisegen.noisy_pool import NoisyPool, read_pool, takes_references, with_pool
from noisegen.remote import as_place, is_url, local_copy, parent_url
from noisegen.synthesis.choices import OutputChoice
from noisegen.synthesis.engine import Engine, keep_freed_memory
from noisegen.synthesis.plan import BuildConfig
from noisegen.synthesis.pool_file import stored_pool
from noisegen.synthesis.splits import parse_split
from noisegen.synthesis.threads import usable_cores

__all__ = ["ResolvedBuild", "request_record", "resolved_build"]

# arguments of `build_dataset` that say which processes build, not what is built
ITS_OWN = ("rank", "world_size", "executor", "ray_address", "gpus_per_task")
# and that name a file or folder
PLACES = ("manifest", "output", "root", "staging", "model", "noisy_pool", "conditions")

# On CUDA so many more workers than cores: those that wait for a device use none.
WAITING_WORKERS = 4


@dataclass(frozen=True)
class ResolvedBuild:
    """What a build works with.

    Attributes:
        config: its settings; ``rows_per_shard`` is 1 where it is still to be chosen.
        manifest: the photographs.
        engine: the noise model on its device.
        checkpoint_sha256, checkpoint_licence: of the noise model.
        pool: of its references; None where it draws without.
        device: the device, or all of them: "cuda:0, cuda:1".
        workers: threads that make tiles.
        batch_size: tiles given to a worker at once, a multiple of those computed together.
    """

    config: BuildConfig
    manifest: Manifest
    engine: Engine
    checkpoint_sha256: str
    checkpoint_licence: str
    pool: NoisyPool | None
    device: str
    workers: int
    batch_size: int


@contextmanager
def resolved_build(
    *,
    manifest: str | Path,
    output: str | Path | None,
    model: str | Path,
    noisy_pool: str | Path | None,
    format: str,
    layout: str | None,
    png_level: str | None,
    tile_size: int,
    variants: int,
    seed: int,
    batch_size: int | None,
    workers: int | None,
    device: str,
    precision: str,
    camera: str | None,
    iso: int | None,
    conditions: str | Path | None,
    strength: float,
    downscale: float,
    overlap: int,
    halo: int,
    min_sharpness: float | None,
    max_flat: float | None,
    max_saturated: float | None,
    split: str | None,
    limit: int | None,
    root: str | Path | None,
    allow_outside: bool,
    max_pixels: int,
    rows_per_shard: int | None,
    license: str,
    **_: object,
) -> Iterator[ResolvedBuild]:
    """Checks the arguments of `noisegen.build_dataset`, others than those named here left aside.

    A manifest and a model behind URLs are kept as temporary files as long as the block lasts.

    Raises:
        UsageError: the request cannot be carried out; the message says why.
    """
    for name, count in (("batch-size", batch_size), ("workers", workers)):
        if count is not None and count < 1:
            raise UsageError(f"{name} must be at least 1, not {count}")
    output_choice = OutputChoice.resolve(format, layout, png_level)
    device = resolve_device(device)
    config = BuildConfig(
        **asdict(output_choice),
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
        precision=precision,
        license=license,
        strength=float(strength),
        downscale=float(downscale),
        overlap=overlap,
        halo=halo,
        min_sharpness=min_sharpness,
        max_flat=max_flat,
        max_saturated=max_saturated,
        split=None if split is None else parse_split(split),
    )
    if root is None and isinstance(place := as_place(manifest), str):
        root = parent_url(place)
    with local_copy(manifest) as manifest_file, local_copy(model) as model_file:
        photographs = Manifest.open(manifest_file, root=root, allow_outside=allow_outside)
        noise_model = _load(model_file, config)
        config = replace(config, precision=drawing_precision(noise_model, precision, device))
        devices = cuda_devices(device) if config.device == "cuda" else [device]
        checkpoint = checkpoint_sha256(model_file)
        pool = _pool(noise_model, noisy_pool, checkpoint, output)
        engine = _make_engine(noise_model, pool, config, devices)
        distribution = _distribution(conditions, engine.model, pool)
        config = replace(config, conditions=None if distribution is None else distribution.to_dict())
        _check_condition(engine.model, config)
        at_once = engine.tiles_at_once(tile_size)
        yield ResolvedBuild(
            config=config,
            manifest=photographs,
            engine=engine,
            checkpoint_sha256=checkpoint,
            checkpoint_licence=checkpoint_licence(model_file),
            pool=pool,
            device=", ".join(devices),
            workers=workers or usable_cores() + (WAITING_WORKERS if config.device == "cuda" else 0),
            batch_size=-(-(batch_size or 1) // at_once) * at_once,
        )


def request_record(request: Mapping[str, object]) -> dict[str, object]:
    """The arguments of `noisegen.build_dataset` as JSON values that mean the same from any working folder."""
    return {name: _recorded(name, value) for name, value in request.items() if name not in ITS_OWN}


def _recorded(name: str, value: object) -> object:
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, str) and name in PLACES and value != "default" and not is_url(value):
        return str(Path(value).absolute())
    return value


def _load(model: str | Path, config: BuildConfig) -> NoiseModel:
    noise_model = load_noise_model(model)
    try:
        noise_model.vocabulary.resolve(noise_model.vocabulary.draw(0, "", 0, config.camera, config.iso))
    except InputError as error:
        raise UsageError(f"{error} (asked for by --camera or --iso)") from error
    return noise_model


def _pool(
    model: NoiseModel, table: str | Path | None, checkpoint: str, output: str | Path | None
) -> NoisyPool | None:
    """What the model takes references from: as the dataset keeps it, or else as the table's pictures show it."""
    if not takes_references(model, table):
        return None
    assert table is not None
    stored = None if output is None else stored_pool(output)
    if stored is not None:
        with local_copy(table) as copy:
            if stored.serves(copy, checkpoint):
                return stored
    return read_pool(table, model, checkpoint)


def _distribution(
    conditions: str | Path | None, model: NoiseModel, pool: NoisyPool | None
) -> ConditionDraw | None:
    """What camera and ISO are drawn from: the file, the pool's settings, or (None) those that the model knows."""
    if conditions is not None:
        return read_condition_draw(Path(conditions), model.vocabulary)
    return None if pool is None else ConditionDraw.uniform(pool.conditions)


def _check_condition(model: NoiseModel, config: BuildConfig) -> None:
    """Makes sure that there is a reference where all photographs are to have one condition."""
    if config.camera is not None and config.iso is not None:
        try:
            resolve_condition(model, Condition(config.camera, config.iso))
        except InputError as error:
            raise UsageError(f"{error} (asked for by --camera and --iso)") from error


def _make_engine(
    model: NoiseModel, pool: NoisyPool | None, config: BuildConfig, devices: Sequence[str]
) -> Engine:
    """The engine on all of the devices."""
    if config.device == "cpu":
        keep_freed_memory()
    first, *further = [
        with_pool(prepare_for_synthesis(model, device=d, precision=config.precision), pool) for d in devices
    ]
    return Engine(
        first,
        device=devices[0],
        further=dict(zip(devices[1:], further, strict=True)),
        halo=config.halo,
        strength=config.strength,
    )
