"""Whole calls: a real engine in this process, real replica processes, the tasks of ``program``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from samovar.host import EmbeddedHost, open_host


class Seen:
    """What the host reported and what tasks printed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.logs: list[tuple[str, str, str]] = []

    def text(self, stream: str, label: str = "") -> str:
        return "".join(text for who, where, text in self.logs if where == stream and label in who)


_seen = Seen()


@pytest.fixture(scope="session")
def _host() -> Iterator[EmbeddedHost]:
    host = open_host(report=_seen.lines.append, on_log=lambda *log: _seen.logs.append(log))
    yield host
    host.close()


@pytest.fixture
def host(_host: EmbeddedHost) -> EmbeddedHost:
    return _host


@pytest.fixture
def seen(_host: EmbeddedHost) -> Seen:
    _seen.lines.clear()
    _seen.logs.clear()
    return _seen


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for ``condition``; fail when it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
