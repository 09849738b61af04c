"""Whole calls: real engines, real replica processes, the tasks of ``program``.

Each journey is made twice: with an engine in this process, and as a client of a service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from samovar.host import Host
from samovar.host.embedded import EmbeddedHost
from samovar.host.remote import RemoteHost
from samovar.sdk import run as sdk_run

from .services import SECONDS, Home, running


class Seen:
    """What the host reported and what tasks printed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.logs: list[tuple[str, str, str]] = []

    def text(self, stream: str, label: str = "") -> str:
        return "".join(text for who, where, text in self.logs if where == stream and label in who)


_seen = Seen()


def _hear(label: str, stream: str, text: str) -> None:
    _seen.logs.append((label, stream, text))


@pytest.fixture(scope="session")
def _embedded() -> Iterator[Host]:
    host = EmbeddedHost(_seen.lines.append, _hear)
    yield host
    host.close()


@pytest.fixture(scope="session")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with running(tmp_path_factory.mktemp("service")) as address:
        host = RemoteHost(address, _seen.lines.append, _hear)
        yield host
        host.close()


@pytest.fixture(params=["_embedded", "_service"])
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The host of this process, for as long as a test."""
    chosen: Host = request.getfixturevalue(request.param)
    monkeypatch.setattr(sdk_run, "_opened", chosen)
    return chosen


@pytest.fixture
def seen(host: Host) -> Seen:
    _seen.lines.clear()
    _seen.logs.clear()
    return _seen


def until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait for ``condition``; fail when it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def served(home: Home) -> Iterator[Home]:
    """A service of the module's ``home``."""
    with running(home.path):
        yield home
