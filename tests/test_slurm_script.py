"""docker/slurm.sh, run with an srun that does what Slurm's does with one task, and a scontrol that takes notes."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from image_fixtures import DOCKER, ROOT, parsed, tool
from synthesis_fixtures import Workplace, contents, invoke, make_workplace

SCRIPT = DOCKER / "slurm.sh"
SECONDS_TO_END = 10


@dataclass(frozen=True)
class Cluster:
    """A folder with the programs that the script calls."""

    root: Path

    @property
    def notes(self) -> list[str]:
        """The command lines that scontrol was given."""
        path = self.root / "scontrol.log"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    @property
    def scratch(self) -> Path:
        """The node's disk."""
        return self.root / "scratch"

    def program(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def start(self, *arguments: str, task: int, tasks: int, **variables: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.scratch),
            "SLURM_ARRAY_JOB_ID": "7",
            "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_ARRAY_TASK_COUNT": str(tasks),
            "SLURM_ARRAY_TASK_MIN": "0",
            "SLURM_ARRAY_TASK_MAX": str(tasks - 1),
            "SLURM_CPUS_PER_TASK": "2",
            **variables,
        }
        return subprocess.Popen(
            ["bash", str(SCRIPT), *arguments], env=environment, stderr=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str, task: int = 0, tasks: int = 1, **variables: str) -> int:
        with self.start(*arguments, task=task, tasks=tasks, **variables) as script:
            script.communicate(timeout=60)
        return script.returncode


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    made = Cluster(tmp_path / "cluster")
    (made.root / "bin").mkdir(parents=True)
    made.scratch.mkdir()
    # Slurm's passes SIGTERM on to its task and returns the task's exit code
    made.program("srun", '[[ $1 == --cpus-per-task=2 ]] || exit 99\nshift\nexec "$@"')
    made.program("scontrol", f'echo "$*" >>{shlex.quote(str(made.root / "scontrol.log"))}')
    made.program("noisegen", f'exec {shlex.quote(sys.executable)} -m noisegen "$@"')
    return made


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    root = tmp_path / "place"
    root.mkdir()
    return make_workplace(root, photographs=7)


def test_shellcheck_has_nothing_to_say() -> None:
    done = subprocess.run([tool("shellcheck"), str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_slurm_is_asked_for_a_warning_in_time_and_for_ranks_from_0() -> None:
    asked = dict(
        re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    )
    warning = re.fullmatch(r"B:USR1@(\d+)", asked["signal"])
    assert warning and int(warning[1]) > SECONDS_TO_END
    assert asked["array"].startswith("0-")
    assert "requeue" in asked
    assert asked["ntasks"] == "1"


def test_an_array_of_tasks_makes_the_dataset_of_one_process(cluster: Cluster, place: Workplace) -> None:
    _, *arguments = place.arguments(place.root / "array")
    for task in range(3):
        assert not (place.root / "array" / "dataset.json").exists()
        assert cluster.run(*arguments, task=task, tasks=3) == 0
    assert invoke(*place.arguments(place.root / "alone")).exit_code == 0
    assert contents(place.root / "array") == contents(place.root / "alone")
    assert cluster.notes == []
    assert list(cluster.scratch.iterdir()) == []


def stopped_build(cluster: Cluster, place: Workplace, number: int) -> int:
    """The exit code of a task that is sent a signal while its build runs."""
    output = place.root / "stopped"
    _, *arguments = place.arguments(output, "--variants", "5000", "--quiet")
    with cluster.start(*arguments, task=0, tasks=1) as script:
        deadline = time.monotonic() + 30
        while not (output / "run.json").exists():
            assert time.monotonic() < deadline and script.poll() is None
            time.sleep(0.05)
        script.send_signal(number)
        script.communicate(timeout=SECONDS_TO_END)
    assert list(cluster.scratch.iterdir()) == []
    return script.returncode


def test_out_of_time_the_build_ends_in_order_and_is_queued_again(cluster: Cluster, place: Workplace) -> None:
    assert stopped_build(cluster, place, signal.SIGUSR1) == 143
    assert cluster.notes == ["requeue 7_0"]


def test_a_cancelled_task_ends_in_order_and_is_not_queued_again(cluster: Cluster, place: Workplace) -> None:
    assert stopped_build(cluster, place, signal.SIGTERM) == 143
    assert cluster.notes == []


@pytest.mark.parametrize(
    ("code", "restarts", "again"),
    [
        (0, 0, False),
        (2, 0, False),
        (3, 0, False),
        (1, 0, True),
        (137, 2, True),
        (1, 3, False),
        (130, 0, False),
    ],
)
def test_only_crashes_are_tried_again_and_not_for_ever(
    cluster: Cluster, code: int, restarts: int, again: bool
) -> None:
    cluster.program("noisegen", f"exit {code}")
    assert cluster.run("m.parquet", "-o", "out", SLURM_RESTART_COUNT=str(restarts)) == code
    assert bool(cluster.notes) == again


def test_an_apptainer_image_gets_the_same_command_line_and_sees_the_staging_folder(
    cluster: Cluster, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    cluster.program("apptainer", f'printf "%s\\n" "$@" >{shlex.quote(str(said))}')
    assert cluster.run("my photos/m.parquet", "-o", "out", "--seed", "5", NOISEGEN_IMAGE="n.sif") == 0
    head, _, arguments = said.read_text(encoding="utf-8").partition("\nn.sif\nnoisegen\n")
    parameters = parsed(arguments.splitlines())
    assert head.splitlines() == ["exec", "--nv", "--bind", str(parameters["staging"])]
    assert (parameters["manifest"], parameters["seed"]) == (Path("my photos/m.parquet"), 5)
