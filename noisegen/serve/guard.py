"""What stands before every request: it must be meant for this server, and come from its own page or from a program."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

# The page loads its own style and scripts, shows pictures that it was sent, and talks to its own server only.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses requests that other web pages make a browser send, and adds headers that shut the page in.

    A page elsewhere can point its own domain name at this machine and so read answers as if they were its own ("DNS
    rebinding"); but then the request's Host is that name. So Host must be a number (an IP address), localhost or the
    name that the server was started with. A POST of another page is told by its Origin; programs send none.

    Args:
        app: what is protected.
        host: the name or address that the server was started with.
    """

    def __init__(self, app: ASGIApp, *, host: str) -> None:
        self._app = app
        self._names = {"localhost", host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(Headers(scope=scope), scope["method"])
        app = self._app if refusal is None else refusal
        await app(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers, method: str) -> JSONResponse | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._knows(hosts[0]):
            return _refused(
                "wrong_host",
                "this address is not the one that noisegen serve was started for; open http://localhost:PORT/, "
                "or the machine's IP address in place of its name",
            )
        if method in ("GET", "HEAD"):
            return None
        origins = headers.getlist("origin")
        if any(urlsplit(origin).netloc != hosts[0] for origin in origins):
            return _refused("wrong_origin", "the request comes from another web page")
        return None

    def _knows(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self._names:
                return True
            ip_address(name)
        except ValueError:
            return False
        return True


def _refused(reason: str, message: str) -> JSONResponse:
    return JSONResponse({"reason": reason, "message": message}, status_code=403)
