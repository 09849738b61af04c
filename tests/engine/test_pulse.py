"""Whether a replica that does not beat works."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

from samovar.engine.pulse import LOOK, SILENT, Pulse, process_of, ticks_used
from tests.journeys.conftest import until


class Bench:
    def __init__(self) -> None:
        self.now = 100.0
        self.used = 0
        self.heard = 0
        self.link: Any = SimpleNamespace(heard_at=100.0, used=-1, socket=None)
        self.pulse = Pulse(self.hear, lambda: self.now, lambda _: self.used)

    def hear(self, link: Any) -> None:
        self.heard += 1

    def look(self, seconds: float, used: int) -> int:
        """How often it has been heard so far, ``seconds`` later, with as much used."""
        self.now += seconds
        self.used = used
        self.pulse.take([self.link])
        return self.heard


def test_one_that_beats_is_not_looked_at(monkeypatch: Any) -> None:
    monkeypatch.setattr("samovar.engine.pulse.process_of", lambda _: 1)
    bench = Bench()
    assert [bench.look(LOOK, used) for used in (1, 2)] == [0, 0]


def test_one_that_works_is_alive_and_one_that_stands_still_is_not(monkeypatch: Any) -> None:
    monkeypatch.setattr("samovar.engine.pulse.process_of", lambda _: 1)
    bench = Bench()
    assert bench.look(SILENT, used=10) == 0, "there is nothing to compare it with"
    assert bench.look(LOOK, used=11) == 1
    assert bench.look(LOOK / 2, used=12) == 1, "it was looked at just now"
    assert bench.look(LOOK, used=12) == 2
    assert bench.look(LOOK, used=12) == 2
    bench.link.heard_at = bench.now
    assert bench.look(LOOK, used=20) == 2
    assert bench.look(SILENT, used=30) == 2, "what it used while it beat does not count"


def test_what_a_process_uses() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        until(lambda: ticks_used(process.pid) > 2)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert ticks_used(process.pid) == ticks_used(process.pid)
        process.kill()
    assert ticks_used(process.pid) == 0


def test_who_has_connected() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert process_of(here) == os.getpid()
    assert process_of(here) == 0
