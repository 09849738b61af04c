"""The web server: a thread of the service's process in which uvicorn answers. ``cli`` opens it on a station.

FastAPI is imported in that thread, so nobody waits for it; a process without pages imports nothing of it. Whatever goes
wrong there is said and ends nothing else, and an open stream keeps no service from ending.
"""

from __future__ import annotations

import functools
import importlib.util
import ipaddress
import logging
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from samovar import collector, config, endpoint
from samovar.errors import InitializationError
from samovar.host.entrance import name_for_others, tokens
from samovar.host.premises import OpenWeb, Premises, Web, no_web
from samovar.host.tokens import Watch
from samovar.ports import Report

if TYPE_CHECKING:
    import uvicorn

TRIED_PORTS = 100
"""Ports that are tried, from the usual one on, where none is named."""

_BACKLOG = 128
_SHUT_SECONDS = 1  # that answers which are under way have
_JOIN_SECONDS = 4.0
_PACKAGES = ("fastapi", "prometheus_client", "uvicorn")


def opener(where: str) -> OpenWeb:
    """``where``: HOST:PORT, "none", or "": where there is room on this host."""
    return no_web if where == config.NO_WEB else functools.partial(_open, where)


def why_none() -> str:
    """What is missing for pages, as a line for people; "": nothing."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    return f"no dashboard: {' and '.join(missing)} not installed; pip install 'samovar[web]'" if missing else ""


def _open(where: str, premises: Premises, say: Report) -> Web:
    if why := why_none():
        return NoPages(why)
    listener = _listener(where)
    try:
        return Pages(listener, premises, say)
    except BaseException:
        listener.close()
        raise


def _listener(where: str) -> socket.socket:
    """InitializationError: there is no listening there."""
    if where:
        host, port = endpoint.host_and_port(where, config.WEB_PORT)
        try:
            return _bound(host, port)
        except OSError as error:
            raise InitializationError(
                "InitializationError",
                f"the dashboard cannot be at {where}: {error.strerror or error}; choose another address with --web, or "
                "--web none",
            ) from error
    for port in (*range(config.WEB_PORT, config.WEB_PORT + TRIED_PORTS), 0):
        try:
            return _bound("127.0.0.1", port)
        except OSError:
            continue
    raise InitializationError("InitializationError", "no port of this host is free for the dashboard; try --web none")


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


class NoPages:
    """Implements ``samovar.host.premises.Web`` where the packages are missing."""

    url = url_for_others = ""

    def __init__(self, about: str) -> None:
        self.about = about

    def shut(self) -> None:
        return None


class Pages:
    """Implements ``samovar.host.premises.Web``."""

    def __init__(self, listener: socket.socket, premises: Premises, say: Report) -> None:
        host, port = listener.getsockname()[:2]
        self._is_loopback = ipaddress.ip_address(host).is_loopback
        name = host if self._is_loopback else name_for_others(host)
        self.url = f"http://{endpoint.join(name, port)}"
        self.url_for_others = "" if self._is_loopback else self.url
        self.about = f"dashboard at {self.url}"
        if not self._is_loopback:
            self.about += ", for whoever has a token of `samovar token`; what it says is not encrypted"
        with premises.station.turn:
            premises.station.engine.keep_timeline()  # from here on, not from when all is imported
        self._listener = listener
        self._premises = premises
        self._say = say
        self._server: uvicorn.Server | None = None
        self._closing: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, name="samovar-web", daemon=True)
        self._thread.start()

    def shut(self) -> None:
        if not self._closing.done():
            self._closing.set_result(None)
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(_JOIN_SECONDS)
        self._listener.close()

    def _serve(self) -> None:
        try:
            self._server = server = self._made()
            if not self._closing.done():
                server.run(sockets=[self._listener])
            why = "its server has stopped"
        except BaseException as error:  # this thread has nobody else to tell, and the service goes on
            why = f"{type(error).__name__}: {error}"
        if not self._closing.done():
            self._say(f"the dashboard has ended, and the service goes on: {why}")

    def _made(self) -> uvicorn.Server:
        import uvicorn  # only here: see above

        from samovar.web.app import application
        from samovar.web.guard import Guard

        watch = None if self._is_loopback else Watch(tokens())
        app = application(self._premises, self._closing, functools.partial(Guard, host=self._host, watch=watch))
        collector.spare_what_is_there()
        log = logging.getLogger("uvicorn.error")
        log.handlers, log.propagate = [_Saying(self._say)], False
        log.setLevel(logging.ERROR)
        return uvicorn.Server(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_SHUT_SECONDS,
            )
        )

    @property
    def _host(self) -> str:
        return str(self._listener.getsockname()[0])


class _Saying(logging.Handler):
    """What the server logs is said, in one line."""

    def __init__(self, say: Report) -> None:
        super().__init__(logging.ERROR)
        self._report = say

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        why = f": {type(error).__name__}: {error}" if error is not None else ""
        self._report(f"dashboard: {record.getMessage().strip().partition(chr(10))[0]}{why}")
