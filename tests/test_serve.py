"""`noisegen serve`: what it answers, what it refuses, and that it keeps nothing."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import httpx
import numpy as np
import pytest
from browser_fixtures import browser_page
from PIL import Image
from playwright.sync_api import Page
from synthesis_fixtures import command, invoke, photograph, save_tiny_model

from noisegen.conditions import Condition
from noisegen.png import decode_png, encode_png
from noisegen.serve import Limits
from noisegen.serve.server import listen, make_server
from noisegen.synthesis.photograph_noise import PhotographNoise

CHOICES = {"camera": "S6", "iso": "300", "seed": "7", "strength": "1.5"}
LIMITS = Limits(upload_bytes=2_000_000, pixels=500_000, upload_seconds=1.0, requests=2)


@dataclass(frozen=True)
class Service:
    """A server in this process."""

    noise: PhotographNoise
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, path: str, body: object, **settings: object) -> httpx.Response:
        options: dict[str, object] = {"params": CHOICES, "timeout": 30} | settings
        return httpx.post(f"{self.url}{path}", content=body, **options)  # type: ignore[arg-type]


@contextmanager
def running(model: Path) -> Iterator[Service]:
    with listen("127.0.0.1", 0) as listening:
        noise = PhotographNoise(model)
        server = make_server(noise, LIMITS, host="127.0.0.1")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Service(noise, listening.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture(scope="module")
def service(model: Path) -> Iterator[Service]:
    with running(model) as started:
        yield started


def noisy_of(service: Service, picture: np.ndarray) -> np.ndarray:
    return service.noise.add(picture, Condition("S6", 300), seed=7, strength=1.5)


def parts_of(response: httpx.Response) -> dict[str, bytes]:
    """The parts of a view, by name."""
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + response.content).get_payload()
    assert isinstance(parts, list)
    return {
        str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)  # type: ignore[misc]
        for part in parts
    }


def test_the_same_request_gives_the_same_bytes_and_the_noise_of_the_python_api(service: Service) -> None:
    picture = photograph(200, 300)
    answers = [service.post("/noisy", encode_png(picture)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    assert np.array_equal(decode_png(answers[0].content), noisy_of(service, picture))


def test_a_view_is_a_part_of_the_noisy_photograph(service: Service) -> None:
    picture = photograph(300, 400)
    noisy = noisy_of(service, picture)
    place = {"x": "240", "y": "9999", "width": "128", "height": "64"}  # too far down is moved up
    parts = parts_of(service.post("/view", encode_png(picture), params=CHOICES | place))
    numbers = json.loads(parts["numbers"])
    assert numbers["window"] == [240, 236, 128, 64]
    assert (numbers["width"], numbers["height"]) == (400, 300)
    assert numbers["rule"].startswith("log-iso 100..800")
    there = np.s_[236:300, 240:368]
    assert np.array_equal(decode_png(parts["clean"]), picture[there])
    assert np.array_equal(decode_png(parts["noisy"]), noisy[there])
    assert numbers["noise_std"] == pytest.approx(
        np.std(noisy[there].astype(float) - picture[there]), rel=1e-5
    )
    assert max(decode_png(parts["overview"]).shape) == 320
    assert "overview" not in parts_of(service.post("/view", encode_png(picture)))


def test_sixteen_bit_grey_is_downloaded_as_it_is_and_shown_in_eight_bits(tmp_path: Path) -> None:
    picture = photograph(100, 120, channels=1, bits=12).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(picture[..., 0]).save(file, "tiff")
    with running(save_tiny_model(tmp_path / "grey.safetensors", channels=1, bit_depth=12)) as service:
        noisy = decode_png(service.post("/noisy", file.getvalue()).content)
        assert np.array_equal(noisy, noisy_of(service, picture))
        shown = decode_png(parts_of(service.post("/view", file.getvalue()))["clean"])
        assert np.array_equal(shown, (picture >> 4).astype(np.uint8))
        example = decode_png(httpx.get(f"{service.url}/example").content)
        assert (example.dtype, example.shape[2]) == (np.uint16, 1)
        assert service.post("/noisy", encode_png(example[:200, :200])).status_code == 200


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 60000 x 60000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(10**6))
    chunks = [
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


SMALL = encode_png(photograph(40, 50))


@pytest.mark.parametrize(
    ("body", "choices", "status", "reason"),
    [
        (bytes(LIMITS.upload_bytes + 1), {}, 413, "upload_too_large"),
        (encode_png(np.zeros((1000, 501, 3), np.uint8)), {}, 413, "too_large"),
        (bomb(), {}, 413, "too_large"),
        (b"", {}, 422, "empty_file"),
        (b"<svg onload='alert(1)'/>", {}, 422, "unreadable"),
        (SMALL[:-300], {}, 422, "truncated"),
        (encode_png(photograph(40, 50, channels=1)), {}, 422, "channels"),
        (SMALL, {"camera": "S7"}, 422, "unknown_camera"),
        (SMALL, {"iso": "99"}, 422, "iso_out_of_range"),
        (SMALL, {"iso": "many"}, 422, "bad_iso"),
        (SMALL, {"strength": "nan"}, 422, "bad_strength"),
        (SMALL, {"seed": "-1"}, 422, "bad_seed"),
        (SMALL, {"width": "100000"}, 422, "bad_width"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_done_is_refused_with_a_reason(
    service: Service, body: bytes, choices: dict[str, str], status: int, reason: str
) -> None:
    answer = service.post("/view", body, params=CHOICES | choices)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert len(answer.json()["message"]) > 20


def test_a_body_without_a_length_is_cut_off_at_the_limit(service: Service) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 100 * LIMITS.upload_bytes:
            sent += 50_000
            yield bytes(50_000)

    # where the connection is closed before all of the body is sent, the client may miss the answer
    with suppress(httpx.WriteError, httpx.ReadError):
        assert service.post("/noisy", endless()).status_code == 413
    assert sent < 100 * LIMITS.upload_bytes


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2fapp.py",
        "/style.css/../../app.py",
        "/page/index.html",
        "//etc/passwd",
        "/serve.js%00.css",
    ],
)
def test_nothing_but_the_pages_own_files_can_be_had(service: Service, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port)  # sends the path as it is
    connection.request("GET", path)
    assert connection.getresponse().status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example:80"}, 403),
        ({"host": "[::1"}, 403),
        ({"host": "localhost:9000"}, 200),  # through a tunnel
        ({"host": "192.0.2.7:80"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"host": "localhost:9000", "origin": "http://localhost:9000"}, 200),
    ],
)
def test_other_web_pages_cannot_use_it(service: Service, headers: dict[str, str], status: int) -> None:
    answer = service.post("/noisy", SMALL, headers=headers)
    assert answer.status_code == status
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_few_may_wait_and_a_slow_upload_loses_its_place(service: Service) -> None:
    head = "POST /noisy?camera=S6&iso=100 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx"
    with (
        socket.create_connection(("127.0.0.1", service.port)) as first,
        socket.create_connection(("127.0.0.1", service.port)) as second,
    ):
        for slow in (first, second):
            slow.sendall(head.encode())
        deadline = time.monotonic() + 5
        while (busy := service.post("/noisy", SMALL)).status_code == 200 and time.monotonic() < deadline:
            pass
        assert (busy.status_code, busy.json()["reason"]) == (503, "busy")
        assert b" 408 " in first.recv(100)
        assert b" 408 " in second.recv(100)
    assert service.post("/noisy", SMALL).status_code == 200


def test_no_file_is_written(service: Service) -> None:
    written: list[object] = []
    watching = True

    def watch(event: str, details: tuple[object, ...]) -> None:
        if watching and event == "open":
            path, mode, flags = details
            if (isinstance(mode, str) and set("wax+") & set(mode)) or int(flags) & (os.O_WRONLY | os.O_RDWR):  # type: ignore[call-overload]
                written.append(path)

    sys.addaudithook(watch)
    answer = service.post(
        "/view", encode_png(np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8))
    )
    watching = False
    assert answer.status_code == 200
    assert written == []


# ---- the page in a browser


def ready(page: Page) -> None:
    page.wait_for_selector("#result[aria-busy=false] figure.live")


def test_the_page_shows_a_photograph_and_downloads_what_the_server_gives(
    service: Service, tmp_path: Path
) -> None:
    picture = photograph(600, 500)[:400]
    (tmp_path / "night.png").write_bytes(encode_png(picture))
    with browser_page(360, 740) as (page, complaints):
        page.goto(service.url)
        ready(page)
        assert "an example, 840" in page.inner_text("#name")
        assert page.evaluate("document.documentElement.scrollWidth <= 360")

        page.set_input_files("#file", tmp_path / "night.png")
        page.wait_for_selector("#name:has-text('night.png, 500 × 400')")
        page.select_option("#camera", "S6")
        page.fill("#iso", "300")
        page.fill("#strength", "1.5")
        page.fill("#seed", "7")
        page.wait_for_selector("#status:has-text('S6, ISO 300 (between the known 100 and 800)')")
        ready(page)

        before = page.get_attribute(".picture.right:not([hidden]) img", "src")
        page.focus("#across")
        page.keyboard.press("End")
        page.wait_for_selector(f"figure.live:not(:has(img[src='{before}']))")
        ready(page)
        page.focus("figure.live input[type=range]")
        page.keyboard.press("End")
        assert (
            page.get_attribute("figure.live input[type=range]", "aria-valuetext")
            == "100 % clean, the rest noisy"
        )
        page.click("button[aria-label='Zoom in']")
        assert page.inner_text("output[aria-label=Zoom]") == "2:1"
        page.click("button:text-is('noise')")
        assert page.is_visible("img[alt^='The noise alone']")

        with page.expect_download() as download:
            page.click("#download")
        assert download.value.suggested_filename == "night-S6-iso300-seed7.png"
        saved = Path(download.value.path()).read_bytes()
        assert saved == service.post("/noisy", (tmp_path / "night.png").read_bytes()).content
        ready(page)
        assert complaints.console == []

        page.evaluate(
            "() => { const data = new DataTransfer(); data.items.add(new File(['no picture'], 'notes.txt'));"
            "window.dispatchEvent(new DragEvent('drop', { dataTransfer: data, cancelable: true })); }"
        )
        page.wait_for_selector("[role=alert]:has-text('“notes.txt”: not a PNG')")
        page.click("#example")
        page.wait_for_selector("#name:has-text('an example, 840')")
        assert page.is_hidden("[role=alert]")
        page.fill("#iso", "5000")
        page.wait_for_selector("[role=alert]:has-text('outside what is known of camera S6 (100, 800)')")
        # the browser notes refused requests, and nothing else happened
        assert all("status of 422" in line for line in complaints.console)
        assert complaints.requests == []


# ---- the command


def test_signals_end_it_and_an_open_address_is_warned_of(model: Path) -> None:
    options = ["serve", "--model", str(model), "--port", "0", "--no-open"]
    processes = [
        subprocess.Popen(
            command(*options, *further), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for further in ([], ["--host", "0.0.0.0"])
    ]
    for process, number in zip(processes, (signal.SIGINT, signal.SIGTERM), strict=True):
        assert process.stdout is not None
        url = re.search(r"http://\S+/", process.stdout.readline())
        assert url is not None
        assert httpx.get(f"{url[0]}model").json()["bit_depth"] == 8
        process.send_signal(number)
    said = [process.communicate(timeout=30)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert said[0] == ""
    assert "everybody" in said[1]


def test_a_taken_port_and_missing_packages_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    with listen("127.0.0.1", 0) as taken:
        done = invoke("serve", "--port", str(taken.getsockname()[1]))
    assert done.exit_code == 2
    assert "--port 0" in done.output
    assert invoke("serve", "--host", "no such host").exit_code == 2
    for name in [name for name in sys.modules if name.startswith(("noisegen.serve", "starlette"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    done = invoke("serve")
    assert done.exit_code == 2
    assert "pip install 'noisegen[ui]'" in done.output
