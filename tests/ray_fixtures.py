"""A Ray cluster of several nodes (raylets) on this machine, and trouble for its processes."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import noisegen

FAILING, DEADLY = "TEST_FAILING_SHARD", "TEST_DEADLY_SHARD"
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@contextmanager
def running_cluster() -> Iterator[Any]:
    """Two nodes of one CPU; their processes import this checkout and the tests' fixtures."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    paths = [str(Path(noisegen.__file__).parents[1]), str(Path(__file__).parent)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        # so that a node that is gone is missed after seconds
        soon = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
        head = NODE | {"include_dashboard": False, "_system_config": soon}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(**NODE)
        yield cluster
        cluster.shutdown()


@contextmanager
def connected(cluster: Any, **trouble: object) -> Iterator[None]:
    """This process is a driver; its processes have `make_trouble` called first."""
    import ray

    environment = {name: str(value) for name, value in trouble.items()}
    hook = {"env_vars": environment, "worker_process_setup_hook": "ray_fixtures.make_trouble"}
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(
        cluster.address,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env=hook if environment else None,
    )
    signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()


def make_trouble() -> None:
    """In a process of the cluster: one shard cannot be written, another one ends the process."""
    from noisegen.errors import NoisegenError
    from noisegen.synthesis.writing import OpenShard

    finish = OpenShard.finish

    def troubled(self: OpenShard) -> Any:
        if self._shard.name == os.environ.get(FAILING):
            raise NoisegenError("no room for this one")
        if self._shard.name == os.environ.get(DEADLY):
            os.kill(os.getpid(), signal.SIGKILL)
        return finish(self)

    OpenShard.finish = troubled  # type: ignore[method-assign]


def makers(cluster: Any) -> list[int]:
    """Process ids of the cluster's processes that make shards."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()}
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in raylets and (path / "cmdline").read_bytes().startswith(b"ray::ShardMaker"):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def finished(output: Path) -> list[Path]:
    """Markers of finished shards."""
    return sorted((output / "state").glob("*.done.json"))


def wait_for(found: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Something happens in another thread, and an error in it comes out here."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]
