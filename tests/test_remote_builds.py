"""Building from and to a real S3 server: the same bytes as locally, whatever is interrupted, refused or damaged."""

from __future__ import annotations

import fcntl
import functools
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from remote_fixtures import Fault, S3Server, running_server
from synthesis_fixtures import Workplace, command, contents, invoke, make_workplace

from noisegen import stores
from noisegen.errors import NoisegenError, UsageError
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.rank import Rank
from noisegen.synthesis.shards import Shard
from noisegen.synthesis.staging import dataset_at
from noisegen.synthesis.status import dataset_status
from noisegen.synthesis.summary import BuildSummary
from noisegen.synthesis.verify import verify_dataset


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with running_server() as server:
        yield server


@pytest.fixture(autouse=True)
def calm(store: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stores, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store.faults = []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=7, bad_rows=True)


def build(place: Workplace, output: Path | str, **options: object) -> BuildSummary:
    arguments: dict[str, object] = {"model": place.model, "tile_size": 64, "rows_per_shard": 3, "quiet": True}
    return build_dataset(options.pop("manifest", place.manifest), output, **(arguments | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["webdataset", "folders"])
def local(request: pytest.FixtureRequest, place: Workplace) -> tuple[str, dict[str, bytes]]:
    output = place.root / f"local-{request.param}"
    build(place, output, format=request.param)
    found = contents(output)
    shutil.rmtree(output)
    return request.param, found


@pytest.fixture(scope="module")
def webdataset(place: Workplace) -> dict[str, bytes]:
    output = place.root / "local"
    build(place, output)
    found = contents(output)
    shutil.rmtree(output)
    return found


def start(place: Workplace, output: str, staging: Path, *options: str) -> subprocess.Popen[bytes]:
    staging.mkdir(exist_ok=True)
    arguments = place.arguments(output, "--staging", str(staging), "--quiet", "--workers", "2", *options)
    return subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_bucket_holds_the_bytes_of_a_local_build_and_the_staging_folder_nothing(
    store: S3Server, place: Workplace, local: tuple[str, dict[str, bytes]], tmp_path: Path
) -> None:
    output_format, expected = local
    bucket = store.bucket()
    summary = build(place, f"s3://{bucket}/deep/dataset/", format=output_format)
    assert store.contents(bucket, "deep/dataset") == expected
    assert summary.output == f"s3://{bucket}/deep/dataset"
    assert summary.exit_code == 3
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["lock"]


def test_photographs_manifest_and_model_from_s3_give_the_same_bytes(
    store: S3Server, place: Workplace, webdataset: dict[str, bytes]
) -> None:
    bucket = store.bucket()
    store.put(place.root, bucket, "in")
    summary = build(
        place,
        f"s3://{bucket}/out",
        manifest=f"s3://{bucket}/in/manifest.parquet",
        model=f"s3://{bucket}/in/model.safetensors",
    )
    assert summary.failures["missing"] == 1
    assert store.contents(bucket, "out") == webdataset


def test_file_urls_are_local_paths(place: Workplace, webdataset: dict[str, bytes], tmp_path: Path) -> None:
    result = invoke(
        "build-dataset",
        f"file://{place.manifest}",
        *(
            "-o",
            f"file://{tmp_path}/out",
            "--root",
            f"file://{place.root}",
            "--model",
            f"file://{place.model}",
        ),
        *("--tile-size", "64", "--rows-per-shard", "3", "--quiet"),
    )
    assert result.exit_code == 3, result.output
    assert contents(tmp_path / "out") == webdataset
    assert invoke("verify", f"file://{tmp_path}/out").exit_code == 0


def test_a_build_killed_between_uploads_is_completed_from_another_machine(
    store: S3Server, place: Workplace, webdataset: dict[str, bytes], tmp_path: Path
) -> None:
    bucket = store.bucket()
    url = f"s3://{bucket}/dataset"
    process = start(place, url, tmp_path / "one")
    while not store.made("PUT", f"{bucket}/dataset/state/000002"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.kill()
    process.communicate()
    there = {name: data for name, data in store.contents(bucket, "dataset").items() if "done" in name}
    assert there.items() <= webdataset.items()
    begun = len(store.requests)
    assert build(place, url).shards_built == 6 - len(there)
    assert store.contents(bucket, "dataset") == webdataset
    put = [path for verb, path in store.requests[begun:] if verb == "PUT" and "done.json" in path]
    assert len(put) == 6 - len(there)


@pytest.mark.parametrize("part", ["out/shards/000001", "in/photo3.png"])
def test_a_signal_ends_a_build_whose_server_does_not_answer(
    store: S3Server, place: Workplace, tmp_path: Path, part: str
) -> None:
    bucket = store.bucket()
    store.put(place.root, bucket, "in")
    url = f"s3://{bucket}/out"
    store.faults = [Fault(method, f"{bucket}/{part}", 10**6, seconds=60) for method in ("PUT", "HEAD")]
    begun = len(store.requests)
    process = start(place, url, tmp_path / "staging", "--root", f"s3://{bucket}/in")
    while not any(part in path for _, path in store.requests[begun:]):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=25)  # the server keeps its client waiting for 60 seconds
    assert process.returncode == 143
    assert b"the same command resumes" in errors
    assert b"Traceback" not in errors
    assert sum("done" in name for name in store.contents(bucket, "out")) == (part[0] == "o")


def test_refused_requests_are_repeated(
    store: S3Server, place: Workplace, webdataset: dict[str, bytes]
) -> None:
    bucket = store.bucket()
    store.put(place.root, bucket, "in")
    store.faults = [
        Fault("GET", "in/manifest.parquet", 2, "500 Internal Server Error"),
        Fault("HEAD", "in/photo3.png", 3),
        Fault("GET", "in/photo5.png", 3, "429 Too Many Requests"),
        Fault("GET", f"/{bucket}", 1),
        Fault("PUT", "out/shards/000002.tar", 3),
        Fault("PUT", "out/state/000003.done.json", 2),
    ]
    build(place, f"s3://{bucket}/out", manifest=f"s3://{bucket}/in/manifest.parquet")
    assert all(fault.count == 0 for fault in store.faults)
    assert store.contents(bucket, "out") == webdataset


def test_a_photograph_that_cannot_be_had_is_a_recorded_failure(
    store: S3Server, place: Workplace, webdataset: dict[str, bytes], tmp_path: Path
) -> None:
    bucket = store.bucket()
    store.put(place.root, bucket, "in")
    store.faults = [
        Fault("HEAD", "in/photo3.png", 10**6),
        Fault("HEAD", "in/photo4.png", 10**6, "403 Forbidden"),
    ]
    output = tmp_path / "out"
    summary = build(place, output, root=f"s3://{bucket}/in")
    rows = [json.loads(line) for line in (output / "failures.jsonl").read_text().splitlines()]
    told = {row["path"]: (row["reason"], row["message"]) for row in rows}
    assert told["photo3.png"][0] == "unreachable"
    assert f"failed {stores.ATTEMPTS} times" in told["photo3.png"][1]
    assert told["photo4.png"][0] == "forbidden"
    assert "credentials" in told["photo4.png"][1]
    assert len(store.made("HEAD", f"{bucket}/in/photo3.png")) == stores.ATTEMPTS
    assert len(store.made("HEAD", f"{bucket}/in/photo4.png")) == 1
    assert summary.failures["unreachable"] == summary.failures["forbidden"] == 1


def test_a_dead_server_ends_the_build_at_the_limit_of_failures(
    store: S3Server, place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr(stores, "file_system", functools.cache(stores.file_system.__wrapped__))
    with pytest.raises(NoisegenError, match="more than the limit of 3"):
        build(place, tmp_path / "out", root="s3://bucket/in", max_failures=3)
    assert '"unreachable"' in (tmp_path / "out" / "failures.jsonl").read_text()
    with pytest.raises(NoisegenError, match=r"s3://bucket/out.*failed 7 times") as refused:
        build(place, "s3://bucket/out")
    assert refused.value.exit_code == 1


def test_an_upload_that_fails_for_good_ends_the_build_and_leaves_no_marker(
    store: S3Server, place: Workplace, webdataset: dict[str, bytes]
) -> None:
    bucket = store.bucket()
    url = f"s3://{bucket}/out"
    store.faults = [Fault("PUT", "out/shards/000002.tar", 10**6)]
    with pytest.raises(NoisegenError, match=r"000002.tar: failed 7 times"):
        build(place, url)
    assert sum("done" in name for name in store.contents(bucket, "out")) == 2
    store.faults = []
    assert build(place, url).shards_built == 4
    assert store.contents(bucket, "out") == webdataset


def test_verify_finds_a_corrupted_object_and_the_next_build_repairs_it(
    store: S3Server, place: Workplace, local: tuple[str, dict[str, bytes]], tmp_path: Path
) -> None:
    output_format, expected = local
    bucket = store.bucket()
    url = f"s3://{bucket}/dataset"
    build(place, url, format=output_format)
    assert verify_dataset(url).problems == {}
    picture = next(name for name in expected if name.startswith(("shards/000004", "lq/00000012")))
    damaged = bytearray(expected[picture])
    damaged[len(damaged) // 2] ^= 1
    store.client.put_object(Bucket=bucket, Key=f"dataset/{picture}", Body=bytes(damaged))
    store.client.delete_object(Bucket=bucket, Key="dataset/index/000001.parquet")
    result = invoke("verify", url)
    assert result.exit_code == 1
    assert f"000004: {picture} has another content" in result.output
    assert "000001: index/000001.parquet cannot be read" in result.output
    assert "000001, 000004" in invoke("status", url).output
    assert build(place, url, format=output_format).shards_built == 2
    assert store.contents(bucket, "dataset") == expected
    assert verify_dataset(url).exit_code == 0
    assert not any(path.is_file() and path.name != "lock" for path in tmp_path.rglob("*"))


def test_two_builds_at_one_url_write_the_same_bytes(
    store: S3Server, place: Workplace, webdataset: dict[str, bytes], tmp_path: Path
) -> None:
    url = f"s3://{(bucket := store.bucket())}/dataset"
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(build, place, url, staging=tmp_path / name) for name in ("one", "two")]
    assert [future.result().shards for future in both] == [6, 6]
    assert store.contents(bucket, "dataset") == webdataset


def test_two_builds_in_one_staging_folder_are_refused(
    store: S3Server, place: Workplace, tmp_path: Path
) -> None:
    url = f"s3://{(bucket := store.bucket())}/dataset"
    state = dataset_at(url, tmp_path).state
    state.mkdir(parents=True)
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match=f"another command is writing into {url}"):
            build(place, url, staging=tmp_path)
    assert store.contents(bucket, "dataset") == {}


def test_another_configuration_is_refused_before_and_during_a_build(
    store: S3Server, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = store.bucket()
    url = f"s3://{bucket}/dataset"
    build(place, url)
    before = store.contents(bucket, "dataset")
    with pytest.raises(UsageError, match=f"{url} was built with other settings.*config.seed: 0 -> 9"):
        build(place, url, seed=9)
    assert store.contents(bucket, "dataset") == before
    for name in before:
        if name.startswith("state/"):
            store.client.delete_object(Bucket=bucket, Key=f"dataset/{name}")
    upload_all = stores.retried

    def overwritten(url: str, call: object, pause: object) -> object:
        if url.endswith("shards/000001.tar"):
            store.client.put_object(Bucket=bucket, Key="dataset/run.json", Body=b'{"seed": 9}')
        return upload_all(url, call, pause)  # type: ignore[arg-type]

    monkeypatch.setattr("noisegen.remote.retried", overwritten)
    with pytest.raises(UsageError, match="another build with other settings writes to"):
        build(place, url)
    markers = [name for name in store.contents(bucket, "dataset") if "done" in name]
    assert markers == ["state/000000.done.json"]


def test_what_a_killed_build_left_is_cleared_away_and_what_others_left_is_not(
    store: S3Server, place: Workplace, tmp_path: Path
) -> None:
    """Parts of an upload, and a tile that a shard no longer has because its photograph changed."""
    build(place, tmp_path / "local", format="folders", limit=3)
    bucket = store.bucket()
    store.client.put_object(
        Bucket=bucket, Key="dataset/run.json", Body=(tmp_path / "local/run.json").read_bytes()
    )
    store.client.put_object(Bucket=bucket, Key="dataset/noisy/00000002-00-09999-00000.png", Body=b"old")
    for key in ("dataset/noisy/mine.png", "dataset/notes.txt"):
        store.client.put_object(Bucket=bucket, Key=key, Body=b"mine")
    for key in ("dataset/shards/000000.tar", "dataset2/shards/000000.tar"):
        store.client.create_multipart_upload(Bucket=bucket, Key=key)
    build(place, f"s3://{bucket}/dataset", format="folders", limit=3)
    mine = {"noisy/mine.png": b"mine", "notes.txt": b"mine"}
    assert store.contents(bucket, "dataset") == contents(tmp_path / "local") | mine
    left = store.client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [entry["Key"] for entry in left] == ["dataset2/shards/000000.tar"]


def test_a_place_that_is_no_dataset_or_no_bucket_is_refused(store: S3Server, place: Workplace) -> None:
    bucket = store.bucket()
    store.client.put_object(Bucket=bucket, Key="mine/shards/photo.tar", Body=b"mine")
    with pytest.raises(UsageError, match=r"already holds shards but no run.json"):
        build(place, f"s3://{bucket}/mine")
    result = invoke(*place.arguments("s3://no-such-bucket/out"))
    assert result.exit_code == 2
    assert "there is no such bucket; make it first" in result.output
    for verb in ("status", "verify"):
        result = invoke(verb, f"s3://{bucket}/nothing")
        assert result.exit_code == 2
        assert f"s3://{bucket}/nothing holds no dataset" in result.output


def test_shards_are_uploaded_while_the_next_are_made_and_only_two_are_kept(
    store: S3Server, place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noisegen.synthesis.writing import OpenShard

    kept: list[int] = []
    finish = OpenShard.finish

    def counted(shard: OpenShard) -> object:
        marker = finish(shard)
        kept.append(len(list(tmp_path.rglob("shards/*.tar"))))
        return marker

    monkeypatch.setattr(OpenShard, "finish", counted)
    build(place, f"s3://{store.bucket()}/dataset")
    assert len(kept) == 6
    assert max(kept) <= 2


def test_a_profile_goes_up_and_is_not_fetched_with_the_state(store: S3Server, place: Workplace) -> None:
    """A trace may be large, and commands that look at a dataset have no use for it."""
    bucket = store.bucket()
    store.put(place.root, bucket, "in")
    output = f"s3://{bucket}/out"
    profile = build(place, output, root=f"s3://{bucket}/in", profile=True).profile
    assert profile is not None and profile.trace == f"{output}/state/trace.json"
    fetched = next(line for line in profile.spent if line.activity == "fetch")
    assert fetched.threads == "connection" and fetched.calls is not None and fetched.calls >= 7
    sent = {path.rpartition("/")[2] for path in store.made("PUT", "/out/state/")}
    assert {"trace.json", "profile.json"} <= sent
    store.requests.clear()
    assert dataset_status(output).tiles == profile.tiles
    assert store.made("GET", "host.json") and not store.made("GET", "trace.json")


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_at_one_url_in_bad_weather_write_the_bytes_of_one_local_process(
    store: S3Server, place: Workplace, local: tuple[str, dict[str, bytes]], tmp_path: Path, size: int
) -> None:
    """Refused, late and timed-out requests at all stages; the last rank, and it alone, completes the dataset."""
    bucket = store.bucket()
    url = f"s3://{bucket}/out"
    store.faults = [
        Fault("PUT", "out/run.json", 2, "500 Internal Server Error"),
        Fault("PUT", "out/state/000001.done.json", 3, "503 Slow Down"),
        Fault("PUT", "out/index/000002.parquet", 2, "408 Request Timeout", seconds=0.3),
        Fault("GET", "out/run.json", 2, "429 Too Many Requests"),
        Fault("GET", "out/state/000000.done.json", 2, "500 Internal Server Error"),
        Fault("PUT", "out/dataset.json", 2, seconds=0.2),
    ]
    with ThreadPoolExecutor(size) as pool:
        options = {"format": local[0], "world_size": size, "staging": tmp_path}
        ranks = [pool.submit(build, place, url, rank=rank, **options) for rank in range(size)]
        summaries = [rank.result() for rank in ranks]
    assert not any(fault.count for fault in store.faults)
    assert store.contents(bucket, "out") == local[1]
    assert any(summary.complete for summary in summaries)
    made = sum(summary.shards_built for summary in summaries)
    assert made == sum(name.endswith("done.json") for name in local[1])
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith("lock")]
    # nothing is done twice, and nothing is read that does not have to be
    store.requests.clear()
    again = build(place, url, rank=0, **options)
    assert again.complete and not again.shards_built
    own = {f"/{bucket}/out/state/{shard.name}.done.json" for shard in owned(url, tmp_path, size)}
    assert set(store.made("GET", "done.json")) == own


def test_a_rank_that_starts_leaves_the_uploads_of_others_alone(
    store: S3Server, place: Workplace, tmp_path: Path
) -> None:
    bucket = store.bucket()
    build(place, f"s3://{bucket}/out", rank=0, world_size=2)
    shards = owned(f"s3://{bucket}/out", tmp_path, 2)
    others = [f"out/shards/{index:06d}.tar" for index in range(5) if index not in {s.index for s in shards}]
    for key in others:
        store.client.create_multipart_upload(Bucket=bucket, Key=key)
    for shard in shards:
        store.client.delete_object(Bucket=bucket, Key=f"out/state/{shard.name}.done.json")
    assert build(place, f"s3://{bucket}/out", rank=0, world_size=2).shards_built == len(shards)
    left = store.client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert sorted(entry["Key"] for entry in left) == others


def owned(url: str, staging: Path, size: int) -> list[Shard]:
    folder = dataset_at(url, staging)
    folder.pull()
    shards = Rank(0, size).share(folder.shards())
    folder.discard()
    return shards
