"""Who may ask, in front of all that is answered: an ASGI application round another one.

A browser lets any page on the net send requests to an address of this machine. So the Host must be a name of ours (a
page that lets its own name point here is refused), and whatever changes something must come from a page of ours, or
from no page. Off loopback whoever asks for more than the pages' own files needs a token as well.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from samovar.errors import InitializationError
from samovar.host.tokens import digest_of
from samovar.web.problems import Problem, answer_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from samovar.host.tokens import Watch

MAX_BODY = 64 * 1024
"""Bytes of a request."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def _own_script() -> str:
    """The hash by which a browser knows the one script that stands in the page itself."""
    page = (Path(__file__).parent / "static" / "index.html").read_bytes()
    script = page.partition(b"<script>")[2].partition(b"</script>")[0]
    return base64.b64encode(hashlib.sha256(script).digest()).decode()


HEADERS = {
    "content-security-policy": f"default-src 'self'; script-src 'self' 'sha256-{_own_script()}'; style-src 'self'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""Of every answer."""

_NEEDS_TOKEN = ("/api/", "/metrics", "/openapi.json")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """``host``: the address that is listened at. ``watch``: the tokens, one of which is needed; None: none is."""

    def __init__(self, app: ASGIApp, host: str, watch: Watch | None = None) -> None:
        self._app = app
        self._watch = watch
        self._names = {*_LOCAL, host}
        if watch is not None:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("cache-control", "no-cache" if is_file(scope["path"]) else "no-store")
            await send(message)

        problem = self._problem(scope)
        if problem is not None:
            await answer_of(problem)(scope, receive, send_guarded)
        else:
            await self._app(scope, _Bounded(receive), send_guarded)

    def _problem(self, scope: Scope) -> Problem | None:
        """Why it is not answered; None: it is."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return Problem(421, "the Host of the request is no name of this service; use the address that it has said")
        if scope["method"] not in SAFE and (problem := _foreign(headers, hosts[0])) is not None:
            return problem
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length) > MAX_BODY:
            return Problem(413, f"the request is larger than {MAX_BODY} bytes")
        if self._watch is not None and scope["path"].startswith(_NEEDS_TOKEN):
            return self._stranger(self._watch, headers)
        return None

    def _is_ours(self, host: str) -> bool:
        """The port may be another one: of a tunnel. Off loopback any plain address is ours: no name leads to it."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        return name in self._names or (self._watch is not None and _is_address(name))

    def _stranger(self, watch: Watch, headers: Headers) -> Problem | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return Problem(401, "a token is needed, as `Authorization: Bearer TOKEN`; `samovar token` makes one")
        try:
            watch.look()
        except InitializationError as error:
            return Problem(503, f"the tokens cannot be read: {error}")
        why = watch.why_not(digest_of(token.strip()))
        return Problem(401, f"{why}; `samovar token` makes one") if why else None


class _Bounded:
    """Of a body that does not say how long it is no more is read than of one that does."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = MAX_BODY

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        return message if self._left >= 0 else {"type": "http.disconnect"}


def _foreign(headers: Headers, host: str) -> Problem | None:
    """Whether a page of somebody else has sent this. Whoever is no browser says nothing of pages."""
    origin = headers.get("origin")
    is_same = origin is None or origin in (f"http://{host}", f"https://{host}")
    if is_same and headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return None
    return Problem(403, "the request comes from a page of another origin; open the pages of this service itself")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_file(path: str) -> bool:
    """Whether it is one of the pages' own, or nothing."""
    return not path.startswith((*_NEEDS_TOKEN, "/healthz", "/readyz"))
