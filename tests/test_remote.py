"""URLs: what they name, what may be repeated, what a manifest may point to, and pictures as bytes."""

from __future__ import annotations

import functools
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from remote_fixtures import Fault, S3Server, running_server
from synthesis_fixtures import invoke, photograph, save_photograph, tiny_model

from noisegen import remote, stores
from noisegen.denoising.sources import open_source, parse_source
from noisegen.errors import InputError, UsageError
from noisegen.images import EncodedPicture, probe, read_exif, read_image
from noisegen.manifest import BadRow, Manifest, ManifestRow
from noisegen.manifest_scan import ScannedPhoto, SkippedFile, scan_folder
from noisegen.photographs import get_photograph, look_ahead
from noisegen.remote_scan import scan_url
from noisegen.stores import RemoteError
from noisegen.synthesis.fetching import Coming, Photographs
from noisegen.synthesis.interrupt import StopRequest
from noisegen.synthesis.stages import StageClock


class FlakyFileSystem(MemoryFileSystem):
    """A memory file system that raises what it was given before it answers."""

    protocol = "flaky"
    errors: list[Exception] = []  # noqa: RUF012
    calls = 0

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **options: object
    ) -> bytes:
        type(self).calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return MemoryFileSystem.cat_file(self, path, start, end, **options)


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


class HttpError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__("an answer")
        self.status = status


@pytest.fixture(autouse=True)
def flaky(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    monkeypatch.setattr(stores, "FIRST_PAUSE", 0.0)
    FlakyFileSystem.errors, FlakyFileSystem.calls = [], 0
    FlakyFileSystem.store.clear()
    FlakyFileSystem().pipe_file("flaky://a.png", b"content")


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with running_server() as server:
        yield server


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("photos/a.png", Path("photos/a.png")),
        ("file:///photos/a b%20.png", Path("/photos/a b%20.png")),
        ("LOCAL://photos", Path("photos")),
        ("S3://Bucket/photos//", "s3://Bucket/photos"),
        ("s3:/bucket", Path("s3:/bucket")),
        ("C:\\photos", Path("C:\\photos")),
    ],
)
def test_a_place_is_a_path_or_a_url(given: str, place: Path | str) -> None:
    assert remote.as_place(given) == place


@pytest.mark.parametrize(
    "error",
    [TimeoutError(), ConnectionResetError(), OSError(16, "slow down"), HttpError(429), HttpError(503)],
)
def test_passing_errors_are_repeated_until_the_last_attempt(error: Exception) -> None:
    FlakyFileSystem.errors = [error] * (stores.ATTEMPTS - 1)
    assert remote.fetch("flaky://a.png") == b"content"
    FlakyFileSystem.errors = [error] * stores.ATTEMPTS
    with pytest.raises(RemoteError, match="failed 7 times") as found:
        remote.fetch("flaky://a.png")
    assert found.value.reason == "unreachable"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError("a"), "missing"),
        (HttpError(404), "missing"),
        (PermissionError("a"), "forbidden"),
        (HttpError(401), "forbidden"),
        (HttpError(400), "bad_url"),
        (ValueError("a"), "bad_url"),
    ],
)
def test_lasting_errors_are_reported_at_once(error: Exception, reason: str) -> None:
    FlakyFileSystem.errors = [error]
    with pytest.raises(RemoteError) as found:
        remote.fetch("flaky://a.png")
    assert (found.value.reason, FlakyFileSystem.calls) == (reason, 1)
    assert found.value.exit_code == 2


def test_pauses_double_and_stay_below_the_stated_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "FIRST_PAUSE", 0.5)
    FlakyFileSystem.errors = [TimeoutError()] * stores.ATTEMPTS
    pauses: list[float] = []
    with pytest.raises(RemoteError):
        remote.fetch("flaky://a.png", pause=pauses.append)
    assert all(0.25 * 2**i <= pause <= 0.5 * 2**i for i, pause in enumerate(pauses))
    assert len(pauses) == stores.ATTEMPTS - 1
    assert len({pause / 2**i for i, pause in enumerate(pauses)}) > 1


def test_nobody_waits_for_attempts_that_were_given_up() -> None:
    FlakyFileSystem.errors = [TimeoutError()] * stores.ATTEMPTS
    with pytest.raises(RemoteError, match="failed 1 times"):
        remote.fetch("flaky://a.png", pause=lambda seconds: True)


def test_fewer_bytes_than_announced_count_as_a_failed_attempt() -> None:
    with pytest.raises(RemoteError, match="7 bytes of 8 came"):
        remote.fetch("flaky://a.png", size=8)
    assert FlakyFileSystem.calls == stores.ATTEMPTS


@pytest.mark.parametrize(
    ("url", "advice"),
    [("gs://b/a", r"pip install 'noisegen\[gcs\]'"), ("nonsense://b/a", "not known to fsspec")],
)
def test_a_url_of_an_unknown_kind_or_without_its_package_says_what_to_do(url: str, advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        remote.fetch(url)


def test_without_s3fs_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(scheme: str) -> type:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", absent)
    with pytest.raises(UsageError, match=r"pip install 'noisegen\[s3\]'"):
        remote.fetch("s3://bucket/a")


def rows_of(tmp_path: Path, *paths: str, **options: object) -> list[str]:
    """Where each path leads, or the reason why it is refused."""
    pq.write_table(pa.table({"path": list(paths)}), tmp_path / "manifest.parquet")
    manifest = Manifest.open(tmp_path / "manifest.parquet", **options)  # type: ignore[arg-type]
    rows = manifest.rows(0, len(paths))
    return [row.reason if isinstance(row, BadRow) else str(row.path) for row in rows]


def test_rows_below_a_url_lead_nowhere_else(tmp_path: Path) -> None:
    root = "flaky://photos/set"
    inside = ["a.png", "deep/b c.png", "flaky://photos/set/c.png", "x::file:///etc/hostname"]
    assert rows_of(tmp_path, *inside, root=root) == [
        "flaky://photos/set/a.png",
        "flaky://photos/set/deep/b c.png",
        "flaky://photos/set/c.png",
        "flaky://photos/set/x::file:///etc/hostname",
    ]
    outside = [
        "../other/a.png",
        "deep/%2E%2e/a.png",
        "flaky://photos/set/../other.png",
        "flaky://photos/settle/a.png",
        "flaky://other/a.png",
        "/etc/hostname",
        "file:///etc/hostname",
    ]
    assert rows_of(tmp_path, *outside, root=root) == ["outside_root"] * len(outside)
    free = rows_of(tmp_path, *outside, root=root, allow_outside=True)
    assert free[4:] == [
        "flaky://other/a.png",
        os.path.realpath("/etc/hostname"),
        os.path.realpath("/etc/hostname"),
    ]


def test_urls_in_a_local_manifest_are_outside_and_file_urls_are_judged_as_paths(tmp_path: Path) -> None:
    paths = ["flaky://photos/a.png", f"file://{tmp_path}/a.png", f"file://{tmp_path}/../a.png"]
    assert rows_of(tmp_path, *paths) == ["outside_root", str(tmp_path / "a.png"), "outside_root"]
    assert rows_of(tmp_path, paths[0], allow_outside=True) == ["flaky://photos/a.png"]


def test_a_chained_url_opens_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    with pytest.raises(RemoteError) as found:
        remote.fetch(f"flaky://photos/x::file://{tmp_path}/secret.png")
    assert found.value.reason == "missing"


def test_a_file_too_large_for_any_picture_is_refused_unread() -> None:
    FlakyFileSystem().pipe_file("flaky://large.png", b"\0" * (66 << 20))
    with pytest.raises(InputError, match="more than the limit of") as found:
        get_photograph("flaky://large.png", max_pixels=1000)
    assert (found.value.reason, FlakyFileSystem.calls) == ("too_large", 0)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp"])
def test_a_picture_is_the_same_from_bytes_as_from_a_path(tmp_path: Path, suffix: str) -> None:
    path = save_photograph(tmp_path / f"photo.{suffix}", photograph(40, 50))
    picture = EncodedPicture("s3://bucket/photo", path.read_bytes())
    assert probe(picture) == probe(path)
    assert np.array_equal(read_image(picture), read_image(path))
    assert dict(read_exif(picture)) == dict(read_exif(path))
    cut = EncodedPicture("s3://bucket/photo", path.read_bytes()[:-200])
    path.write_bytes(cut.data)
    failures = []
    for source in (cut, path):
        with pytest.raises(InputError) as found:
            read_image(source)
        failures.append((found.value.reason, str(found.value).removeprefix(f"{source}: ")))
    assert failures[0] == failures[1]


def test_an_empty_object_is_named_as_an_empty_file_is() -> None:
    with pytest.raises(InputError, match="s3://b/a: the file has 0 bytes") as found:
        read_image(EncodedPicture("s3://b/a", b""))
    assert found.value.reason == "empty_file"


def test_looking_ahead_is_bounded_by_weight() -> None:
    taken: list[int] = []
    ahead = look_ahead((taken.append(i) or i for i in range(100)), lambda i: 10, limit=35)
    assert [next(ahead), next(ahead)] == [0, 1]
    assert len(taken) == 5
    assert list(ahead) == list(range(2, 100))


def test_photographs_are_fetched_side_by_side_and_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    together, most, lock = 0, 0, threading.Lock()

    def slow(url: str, **options: object) -> bytes:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        time.sleep(0.02)
        with lock:
            together -= 1
        return url.encode()

    monkeypatch.setattr("noisegen.photographs.fetch", slow)
    monkeypatch.setattr("noisegen.photographs.file_size", lambda url, **options: 5)
    rows = [ManifestRow(i, f"flaky://{i}.png", str(i), None, None, {}) for i in range(40)]
    with remote.Connections() as connections:
        photographs = Photographs(connections, 10**6, StopRequest(), StageClock(1))
        coming = list(photographs.ahead(["begin", *rows, "end"]))
        names = [
            c.source.result().name for c in coming if isinstance(c, Coming) and not isinstance(c.source, Path)
        ]
    assert names == [row.path for row in rows]
    assert (coming[0], coming[-1]) == ("begin", "end")
    assert most > 4


def test_a_scan_of_a_bucket_finds_what_a_scan_of_the_folder_finds(store: S3Server, tmp_path: Path) -> None:
    for name in ("b.png", "a/c.PNG", "a/d.jpg", "Z/e.tif", ".hidden/f.png", "a/.g.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
        if not name.endswith("txt"):
            save_photograph(tmp_path / "photo.png", photograph(30, 40)).replace(tmp_path / name)
    (tmp_path / "a" / "broken.png").write_bytes(b"no picture")
    bucket = store.bucket()
    store.put(tmp_path, bucket, "photos")
    url = f"s3://{bucket}/photos"
    store.faults = [Fault("GET", "a/d.jpg", 2)]
    local = list(scan_folder(tmp_path, base=tmp_path, include=["*.png", "a/*"]))
    found = list(scan_url(url, include=["*.png", "a/*"]))
    assert [(type(row), row.id) for row in found if isinstance(row, ScannedPhoto)] == [
        (type(row), row.id) for row in local if isinstance(row, ScannedPhoto)
    ]
    assert [row.path for row in found if isinstance(row, ScannedPhoto)] == [
        f"{url}/b.png",
        f"{url}/a/c.PNG",
        f"{url}/a/d.jpg",
    ]
    assert [(row.path, row.reason) for row in found if isinstance(row, SkippedFile)] == [
        (f"{url}/a/broken.png", "unreadable")
    ]


def test_a_manifest_made_from_a_bucket_is_built_with_its_url_as_root(store: S3Server, tmp_path: Path) -> None:
    save_photograph(tmp_path / "a.png", photograph(64, 64))
    bucket = store.bucket()
    store.put(tmp_path, bucket, "photos")
    url = f"s3://{bucket}/photos"
    manifest = tmp_path / "manifest.parquet"
    made = invoke("make-manifest", url, "-o", str(manifest), "--conditions", "draw")
    assert made.exit_code == 0, made.output
    assert f"--root {url}" in made.output
    assert rows_of_file(manifest) == ["outside_root"]
    assert rows_of_file(manifest, root=url) == [f"{url}/a.png"]


def rows_of_file(path: Path, root: str | None = None) -> list[str]:
    manifest = Manifest.open(path, root=root)
    return [
        row.reason if isinstance(row, BadRow) else str(row.path)
        for row in manifest.rows(0, manifest.num_rows)
    ]


def test_keys_that_would_leave_the_folder_are_not_listed(store: S3Server) -> None:
    bucket = store.bucket()
    for key in (
        "set/state/1.json",
        "set/../../up.json",
        "set//double.json",
        "set/./dot.json",
        "settle/a.json",
    ):
        store.client.put_object(Bucket=bucket, Key=key, Body=b"{}")
    assert remote.list_files(f"s3://{bucket}/set") == {"state/1.json": 2}


def test_a_copy_of_a_url_lasts_as_long_as_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with remote.local_copy("flaky://a.png") as path:
        assert (path.name, path.read_bytes()) == ("a.png", b"content")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="no such file"), remote.local_copy("flaky://b.png"):
        pass


def test_training_says_that_it_reads_local_photographs_only(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["s3://bucket/a.png"]}), tmp_path / "manifest.parquet")
    with pytest.raises(UsageError, match=r"s3://bucket/a.png: training reads local files only"):
        open_source(
            parse_source(str(tmp_path / "manifest.parquet")),
            split=None,
            noise_model=tiny_model(),
            max_failures=0,
        )


def test_photographs_come_over_http_too(tmp_path: Path) -> None:
    save_photograph(tmp_path / "a b.png", photograph(30, 40))
    handler = functools.partial(SilentHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        picture = get_photograph(f"{url}/a b.png", 10**6)
        assert np.array_equal(read_image(picture), read_image(tmp_path / "a b.png"))
        with pytest.raises(InputError, match="no such file"):
            get_photograph(f"{url}/b.png", 10**6)
        server.shutdown()
