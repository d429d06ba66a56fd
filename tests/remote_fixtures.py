"""A real S3 server on loopback (moto's), behind a layer that refuses requests when told to."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from noisegen import stores

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class Fault:
    """The next ``count`` requests of a method, whose path holds a text, are answered late and with a status."""

    method: str
    part: str
    count: int
    status: str = "503 Service Unavailable"
    seconds: float = 0.0


@dataclass
class S3Server:
    """Buckets are made by `bucket`; what a test looks at goes through boto3, not through the package."""

    url: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)

    @cached_property
    def client(self) -> Any:
        import boto3

        return boto3.client("s3", endpoint_url=self.url)

    def bucket(self) -> str:
        """A new, empty bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return name

    def put(self, folder: Path, bucket: str, prefix: str) -> None:
        """Copies a folder's files into a bucket."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                self.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())

    def contents(self, bucket: str, prefix: str) -> dict[str, bytes]:
        """As `synthesis_fixtures.contents`: all but what tells when and where a dataset was built."""
        keys = [
            entry["Key"]
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            for entry in page.get("Contents", [])
        ]
        return {
            key[len(prefix) + 1 :]: self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
            for key in keys
            if not key.endswith(("timing.json", "host.json", "profile.json", "trace.json"))
        }

    def made(self, method: str, part: str) -> list[str]:
        """Paths of the requests so far with this method and text, refused ones too."""
        return [path for verb, path in self.requests if verb == method and part in path]

    def answer(self, app: WSGI, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        for fault in self.faults:
            if fault.count > 0 and fault.method == method and fault.part in path:
                fault.count -= 1
                time.sleep(fault.seconds)
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start(fault.status, [("Content-Type", "application/xml"), ("Content-Length", "0")])
                return [b""]
        return app(environ, start)


@contextmanager
def running_server() -> Iterator[S3Server]:
    """Runs a server, with the environment pointing to it, for this process and those it starts."""
    werkzeug_app = pytest.importorskip("moto.moto_server.werkzeug_app")
    pytest.importorskip("s3fs")
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = werkzeug_app.DomainDispatcherApplication(werkzeug_app.create_backend_app)
    store = S3Server("")
    server = make_server("127.0.0.1", 0, lambda e, s: store.answer(app, e, s), threaded=True)
    store.url = f"http://127.0.0.1:{server.port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL_S3", store.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        stores.file_system.cache_clear()
        yield store
    stores.file_system.cache_clear()
    server.shutdown()
