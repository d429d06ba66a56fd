"""The command lines of the job files, run for every rank as their systems would, against an S3 server on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from job_file_fixtures import filled
from remote_fixtures import S3Server, running_server
from synthesis_fixtures import contents, invoke, photograph, save_photograph

from noisegen.cli import main

RANKS = 8


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest and photographs, each a shard: one for each rank."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(RANKS):
        save_photograph(folder / f"{i}.png", photograph(256, 256, seed=i))
    assert invoke("make-manifest", str(folder), "-o", str(folder / "manifest.parquet")).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def alone(photos: Path) -> dict[str, bytes]:
    """The files of a build by one process into a folder."""
    manifest, output = photos / "manifest.parquet", photos.parent / "alone"
    assert invoke("build-dataset", str(manifest), "-o", str(output), *SMALL_SHARDS).exit_code == 0
    return contents(output)


SMALL_SHARDS = ("--rows-per-shard", "1", "--quiet")


def kubernetes(rank: int) -> tuple[list[str], dict[str, str]]:
    job: dict[str, Any] = next(d for d in filled("kubernetes.yaml") if d["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    return container["args"], {**environment, "JOB_COMPLETION_INDEX": str(rank)}


def aws(rank: int) -> tuple[list[str], dict[str, str]]:
    command = filled("aws-batch-job-definition.yaml")[0]["containerProperties"]["command"]
    size = filled("aws-batch-submit.yaml")[0]["arrayProperties"]["size"]
    return command, {"AWS_BATCH_JOB_ARRAY_INDEX": str(rank), "AWS_BATCH_JOB_ARRAY_SIZE": str(size)}


def gcp(rank: int) -> tuple[list[str], dict[str, str]]:
    (group,) = filled("gcp-batch.yaml")[0]["taskGroups"]
    command = group["taskSpec"]["runnables"][0]["container"]["commands"]
    return command, {"BATCH_TASK_INDEX": str(rank), "BATCH_TASK_COUNT": str(group["taskCount"])}


@pytest.mark.parametrize("system", [kubernetes, aws, gcp])
def test_the_ranks_of_a_job_make_the_dataset_of_one_process(
    system: Callable[[int], tuple[list[str], dict[str, str]]],
    store: S3Server,
    photos: Path,
    alone: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a further step: the last rank completes it, and none before."""
    bucket = store.bucket()
    store.put(photos, bucket, "project/photos")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for rank in reversed(range(RANKS)):
        assert "dataset.json" not in store.contents(bucket, "project/dataset")
        arguments, environment = system(rank)
        places = [
            text.replace("s3://my-bucket", f"s3://{bucket}").replace("/staging", str(tmp_path / "staging"))
            for text in arguments
        ]
        done = CliRunner().invoke(main, [*places, *SMALL_SHARDS], env=environment)
        assert done.exit_code == 0, done.output
    assert store.contents(bucket, "project/dataset") == alone
