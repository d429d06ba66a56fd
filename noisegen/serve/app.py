"""The page and what it asks for: a picture and choices in, pictures out; nothing is kept."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from noisegen.errors import InputError, NoisegenError
from noisegen.images import EncodedPicture
from noisegen.png import encode_png
from noisegen.serve.choices import MAX_SIDE, read_choices, read_window
from noisegen.serve.example import example_picture
from noisegen.serve.guard import Guard
from noisegen.serve.limits import Limits, Refused, Turns, read_upload
from noisegen.serve.views import View, make_noisy, make_view
from noisegen.synthesis.photograph_noise import PhotographNoise

__all__ = ["make_app"]

Endpoint = Callable[[Request], Awaitable[Response]]

# address -> package, file, type; nothing else is ever read for a request
ASSETS = {
    "/": ("noisegen.serve", "page/index.html", "text/html"),
    "/serve.css": ("noisegen.serve", "page/serve.css", "text/css"),
    "/serve.js": ("noisegen.serve", "page/serve.js", "text/javascript"),
    "/icon.svg": ("noisegen.serve", "page/icon.svg", "image/svg+xml"),
    "/style.css": ("noisegen.webpages", "style.css", "text/css"),
    "/compare.js": ("noisegen.webpages", "compare.js", "text/javascript"),
}
# where the fault is not the picture's
STATUS = {"too_large": 413, "memory": 503}


def make_app(noise: PhotographNoise, limits: Limits, *, host: str) -> Starlette:
    """The application.

    ==============  ===================================================================================================
    GET /           the page
    GET /model      JSON: what the model knows and what may be sent
    GET /example    a picture to begin with, as PNG
    POST /noisy     body: a picture's file; query: see `read_choices`. The noisy picture as PNG
    POST /view      the same with `read_window`: multipart/form-data with ``numbers`` (JSON) and PNG pictures of 8 bits,
                    see `View`
    ==============  ===================================================================================================

    Errors are JSON with ``reason`` and ``message``.

    Args:
        noise: the model.
        limits: of each request.
        host: the name or address that the server was started with, see `Guard`.
    """
    turns = Turns(limits.requests)
    model = noise.model
    example = encode_png(example_picture(model.channels, model.bit_depth))
    facts = _facts(noise, limits)

    async def answer(request: Request, make: Callable[[EncodedPicture], Response]) -> Response:
        with turns.inside():
            try:
                upload = EncodedPicture("the picture", await read_upload(request, limits))
                return await turns.work(request, lambda: make(upload)) or _gone()
            except ClientDisconnect:
                return _gone()

    async def noisy(request: Request) -> Response:
        choices = read_choices(request.query_params, noise.vocabulary)

        def make(upload: EncodedPicture) -> Response:
            return Response(make_noisy(noise, upload, choices, limits.pixels), media_type="image/png")

        return await answer(request, make)

    async def view(request: Request) -> Response:
        choices = read_choices(request.query_params, noise.vocabulary)
        window = read_window(request.query_params)

        def make(upload: EncodedPicture) -> Response:
            return _in_parts(make_view(noise, upload, choices, window, limits.pixels))

        return await answer(request, make)

    return Starlette(
        routes=[
            *(
                Route(path, _fixed(_read(package, file), kind))
                for path, (package, file, kind) in ASSETS.items()
            ),
            Route("/model", _fixed(json.dumps(facts).encode(), "application/json")),
            Route("/example", _fixed(example, "image/png")),
            Route("/noisy", noisy, methods=["POST"]),
            Route("/view", view, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, host=host)],
        exception_handlers={
            InputError: _bad_input,
            Refused: _refused,
            HTTPException: _no_such_thing,
            NoisegenError: _failed,
            Exception: _fault,
        },
    )


def _facts(noise: PhotographNoise, limits: Limits) -> dict[str, Any]:
    vocabulary = noise.vocabulary
    return {
        "cameras": {camera: vocabulary.isos_of(camera) for camera in vocabulary.cameras},
        "channels": noise.model.channels,
        "bit_depth": noise.model.bit_depth,
        "max_upload": limits.upload_bytes,
        "max_pixels": limits.pixels,
        "max_side": MAX_SIDE,
    }


def _read(package: str, file: str) -> bytes:
    return resources.files(package).joinpath(file).read_bytes()


def _fixed(content: bytes, media_type: str) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return endpoint


def _in_parts(view: View) -> Response:
    """What `Response.formData` of a browser reads."""
    parts = [("numbers", "application/json", json.dumps(view.numbers).encode())]
    pictures = {"clean": view.clean, "noisy": view.noisy, "noise": view.noise, "overview": view.overview}
    parts += [(name, "image/png", data) for name, data in pictures.items() if data is not None]
    boundary = hashlib.sha256(b"".join(data for _, _, data in parts)).hexdigest()
    return Response(
        _multipart(parts, boundary.encode()), media_type=f"multipart/form-data; boundary={boundary}"
    )


def _multipart(parts: Sequence[tuple[str, str, bytes]], boundary: bytes) -> bytes:
    pieces: list[bytes] = []
    for name, media_type, data in parts:
        head = (
            f'Content-Disposition: form-data; name="{name}"; filename="{name}"\r\nContent-Type: {media_type}'
        )
        pieces += [b"--", boundary, b"\r\n", head.encode(), b"\r\n\r\n", data, b"\r\n"]
    return b"".join([*pieces, b"--", boundary, b"--\r\n"])


def _gone() -> Response:
    """For nobody."""
    return Response(status_code=400)


async def _bad_input(request: Request, error: Exception) -> Response:
    assert isinstance(error, InputError)
    hint = ", or start noisegen serve with a larger --max-pixels" if error.reason == "too_large" else ""
    return _error(STATUS.get(error.reason, 422), error.reason, f"{error}{hint}")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    # whatever is still being sent is not wanted; to be busy passes, and there the rest is read and dropped
    headers = {"Retry-After": "1"} if error.status == 503 else {"Connection": "close"}
    return _error(error.status, error.reason, str(error), headers)


async def _no_such_thing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, "no_such_address", error.detail)


async def _failed(request: Request, error: Exception) -> Response:
    return _error(500, "failed", str(error))


async def _fault(request: Request, error: Exception) -> Response:
    traceback.print_exception(error)
    return _error(500, "fault", "a fault of noisegen; the terminal where it runs says more")


def _error(status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"reason": reason, "message": message}, status_code=status, headers=headers)
