"""`build_dataset(..., executor="ray")`: the processes of a Ray cluster make the shards that this one hands out.

This process, the driver, needs no GPU and loads no model. It holds the dataset's lock, writes run.json as the first
process on a node describes the build, hands shards out in chunks, and completes the dataset. The others, which are
`noisegen.synthesis.shard_maker`, resolve the build on their own node, so manifest, photographs, model and output have
to be seen there. One that would make other bytes, by other versions for example, ends the build.

What was in the making where a process or node ends is handed out again, and never what is finished. Should the driver
end, the same command continues.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import ray

from noisegen.errors import NoisegenError, UsageError
from noisegen.progress import Progress
from noisegen.synthesis.build import Description, begin
from noisegen.synthesis.chunks import Chunks
from noisegen.synthesis.completion import complete
from noisegen.synthesis.failures import write_failures
from noisegen.synthesis.interrupt import Interrupted, StopRequest, stop_on_signals
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.locks import locked
from noisegen.synthesis.making import Built, Pending, finished_of, prepare
from noisegen.synthesis.plan import differences, stored_rows_per_shard
from noisegen.synthesis.rank import Rank
from noisegen.synthesis.ray_pool import Answer, Needs, Pool
from noisegen.synthesis.resolve import WAITING_WORKERS, request_record
from noisegen.synthesis.shard_maker import Failed, Made, Opened
from noisegen.synthesis.shards import Failure, Shard
from noisegen.synthesis.staging import dataset_at
from noisegen.synthesis.summary import BuildSummary
from noisegen.synthesis.threads import usable_cores
from noisegen.synthesis.writing import disk_errors

__all__ = ["run_on_ray"]

POLL_SECONDS = 0.2
# threads of a process, where nobody says: with more, one thread that writes keeps too many others waiting
THREADS = 4
# processes that end before the first one is ready, and shards that cannot be made, until the build is given up
FALSE_STARTS = 3
FAILED_SHARDS = 20


def run_on_ray(request: Mapping[str, Any]) -> BuildSummary:
    """Builds a dataset, or completes one; see `noisegen.build_dataset`, whose arguments these are.

    Raises:
        UsageError: the request cannot be carried out, here or on a node.
        Interrupted: SIGINT or SIGTERM; the same call resumes.
        NoisegenError: shards could not be made, too many rows failed, or the dataset cannot be written.
    """
    _refuse(request)
    with stop_on_signals() as stop:
        started = time.perf_counter()
        folder = dataset_at(request["output"], request["staging"])
        with locked(folder), _connected(request["ray_address"]), disk_errors(folder):
            # Ray does not stand an error from a signal's handler
            with stop.between_steps(), _Driver(folder, request, stop) as driver:
                config = begin(folder, driver.described).config
                pending = prepare(folder, config, folder.shards(), stop)
                folder.remove_strays()
                built = driver.made(pending)
            folder.pull()
            whole = complete(folder, stop)
            folder.publish()
            folder.remove_leftovers()
            folder.discard()
        driver.raise_failures()
        return BuildSummary.of(folder, config.tile_size, built, Rank(), whole, time.perf_counter() - started)


class _Driver:
    """Hands out shards, as a context that ends the processes that make them."""

    def __init__(self, folder: DatasetFolder, request: Mapping[str, Any], stop: StopRequest) -> None:
        self._folder = folder
        self._request = request
        self._stop = stop
        self._stack = ExitStack()
        self._description: Description | None = None
        self._false_starts = 0
        self._failed: dict[Shard, NoisegenError] = {}
        self._built = 0
        self._lost: list[Failure] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def described(self) -> Description:
        """Starts the processes; what the first one that is ready would build.

        Raises:
            UsageError: the request cannot be carried out there.
            NoisegenError: none can be started.
        """
        needs, settings = _needs(self._request)
        stored = self._request["rows_per_shard"] or stored_rows_per_shard(self._folder)
        request = {**request_record(self._request), **settings, "rows_per_shard": stored}
        self._pool = self._stack.enter_context(Pool(request, needs, quiet=self._request["quiet"]))
        self._chunks = Chunks(())
        while self._description is None:
            self._step(useful=max(1, needs.room()))
        return self._description

    def made(self, pending: Pending) -> Built:
        """Has shards made; of those that cannot be made `raise_failures` tells.

        Raises:
            Interrupted: a signal came.
            UsageError: a node would make other bytes.
            NoisegenError: too many rows or shards failed.
        """
        self._chunks = Chunks(pending.shards)
        self._totals = pending.totals
        rows = sum(shard.stop - shard.start for shard in pending.shards)
        with Progress(rows, "photo", "build-dataset", quiet=self._request["quiet"]) as self._progress:
            while self._chunks or self._pool.chunks:
                for maker in self._pool.takers():
                    suspect = () if maker.calls else self._chunks.take_suspect()
                    if shards := suspect or self._chunks.take(self._pool.ready):
                        self._pool.give(maker, shards, alone=bool(suspect))
                self._step(useful=len(self._chunks) + self._pool.chunks)
        return Built(self._totals, self._built, tuple(self._lost))

    def raise_failures(self) -> None:
        """Raises a NoisegenError that names the shards that could not be made, if there are any."""
        if not self._failed:
            return
        in_order = sorted(self._failed.items(), key=lambda item: item[0].index)
        error = NoisegenError(
            f"{len(in_order)} shards could not be made; finished ones are kept, and the same command tries the others "
            "again\n" + "\n".join(f"shard {shard.name}, {why}" for shard, why in in_order)
        )
        # one traceback says enough
        for note in next((why.__notes__ for _, why in in_order if hasattr(why, "__notes__")), ()):
            error.add_note(note)
        raise error

    def _step(self, useful: int) -> None:
        """Looks for processes and answers."""
        self._stop.check()
        self._pool.fill(useful)
        for answer in self._pool.answers(POLL_SECONDS):
            self._take(answer)

    def _take(self, answer: Answer) -> None:
        if isinstance(answer.value, Opened):
            self._check(answer.value)
        elif isinstance(answer.value, Made):
            self._chunks.took(len(answer.shards), answer.value.seconds)
            self._count(answer.value.built, answer.shards)
        elif answer.shards:
            self._look_again(answer)
        elif answer.value is not None:
            raise answer.value.error()
        else:
            self._false_starts += 1
            if self._false_starts >= FALSE_STARTS and not self._pool.ready:
                raise NoisegenError(
                    f"noisegen cannot be started on the nodes of the Ray cluster: {answer.error}"
                )

    def _check(self, opened: Opened) -> None:
        """Every process has to make the same bytes as the first one."""
        self._false_starts = 0
        if self._description is None:
            self._description = opened.description
        elif changes := differences(self._description.run, opened.description.run):
            raise UsageError(
                f"node {opened.node} would make other bytes than the first node; install the same versions, and let "
                f"all nodes see the same files: {'; '.join(changes)}"
            )

    def _count(self, made: Built, shards: Iterable[Shard]) -> None:
        self._totals.merge(made.totals)
        self._built += made.shards
        self._lost += made.lost
        pixels = made.totals.tiles * self._description.config.tile_size**2 if self._description else 0
        self._progress.update(
            sum(shard.stop - shard.start for shard in shards),
            pixels=pixels,
            tiles=self._totals.tiles,
            failed=self._totals.failures.total(),
            processes=self._pool.ready,
        )
        if made.totals.failures:
            self._check_failures()

    def _look_again(self, answer: Answer) -> None:
        """After an end without all shards: counts the finished ones, and decides about the others."""
        self._folder.look_again(answer.shards)
        totals, left = finished_of(self._folder, answer.shards)
        self._count(Built(totals, totals.shards), {*answer.shards} - {*left})
        if not left:
            return
        if isinstance(answer.value, Failed):
            error = answer.value.error()
            if answer.value.usage:
                raise error
            self._chunks.put_back(left[1:])
            self._failed[left[0]] = error
        elif ended := self._chunks.lost(left, alone=answer.alone):
            self._failed[left[0]] = NoisegenError(
                f"over which {ended} processes have ended, the last one: {answer.error}"
            )
        if len(self._failed) >= FAILED_SHARDS:
            self.raise_failures()

    def _check_failures(self) -> None:
        count, limit = self._totals.failures.total(), self._request["max_failures"]
        if limit is None or count <= limit:
            return
        self._folder.pull()
        write_failures(self._folder, self._folder.shards(), ())
        self._folder.publish()
        raise NoisegenError(
            f"{count} photographs have failed, more than the limit of {limit}. All are listed in "
            f"{self._folder.place}/failures.jsonl; correct them or raise --max-failures, the same command resumes the "
            "build"
        )


def _refuse(request: Mapping[str, Any]) -> None:
    """Refuses what goes with one process only."""
    if request["rank"] is not None or request["world_size"] not in (None, 1):
        raise UsageError(
            "--rank and --world-size do not go with --executor ray, which shares the work out itself"
        )
    if request["profile"]:
        raise UsageError(
            "--profile measures one process; give it to a build of a part, with --limit and without --executor ray"
        )
    if request["device"].startswith("cuda:"):
        raise UsageError(f"Ray chooses the GPUs; use --device cuda instead of {request['device']}")


def _needs(request: Mapping[str, Any]) -> tuple[Needs, dict[str, object]]:
    """What each process takes, and its settings, by what the nodes have that are there."""
    device, gpus, workers = request["device"], request["gpus_per_task"], request["workers"]
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if gpus is None:
        has_gpus = any(node.get("GPU") for node in nodes)
        gpus = 1.0 if device == "cuda" or (device == "auto" and has_gpus) else 0.0
    if gpus < 0 or (gpus > 1 and gpus % 1):
        raise UsageError(f"gpus-per-task is a fraction of one GPU or a whole number, not {gpus:g}")
    if device in ("cpu", "cuda") and (device == "cuda") != bool(gpus):
        raise UsageError(f"--gpus-per-task {gpus:g} does not go with --device {device}")
    device = {"auto": "cuda" if gpus else "cpu"}.get(device, device)
    cores = [
        node["CPU"] * (gpus / node["GPU"] if gpus else 1)
        for node in nodes
        if node.get("CPU", 0) >= 1 and (not gpus or node.get("GPU"))
    ]
    smallest = max(1, int(min(cores, default=THREADS)))
    cpus = workers or (smallest if gpus else smallest // math.ceil(smallest / THREADS))
    # as in a local build, see `noisegen.synthesis.resolve`
    threads = workers or cpus + (WAITING_WORKERS if gpus else 0)
    return Needs(cpus, gpus), {"device": device, "workers": threads}


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connects this process to a cluster, where it is not yet; without any, Ray is started on this machine.

    Raises:
        UsageError: there is no cluster there.
    """
    if ray.is_initialized():
        if address is not None:
            raise UsageError("this process is connected to a Ray cluster already; leave ray_address out")
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if "://" in address:
        raise UsageError(
            f"{address} takes jobs, no processes; submit this command there: ray job submit --address {address} "
            "--no-wait -- noisegen build-dataset ..."
        )
    local: dict[str, Any] = {}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local = {"num_cpus": usable_cores(), "include_dashboard": False}
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"cannot reach a Ray cluster at {address}: {error}") from error
    except SystemExit as error:  # which Ray raises on SIGTERM
        raise Interrupted(signal.SIGTERM) from error
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()
