"""A process is told from another of its number, and seen to its end whoever had started it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from samovar.drivers import lives
from samovar.drivers.lives import Orphan, birth


@pytest.fixture
def sleeper():
    """A child that leads a session; to be reaped by the test."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def ended(life: Orphan, before: signal.Signals | None = None) -> None:
    async def test() -> None:
        over = asyncio.Event()
        life.watch(asyncio.get_running_loop(), over.set)
        if before is not None:
            assert not over.is_set()
            life.signal(before)
        await asyncio.wait_for(over.wait(), 60)

    asyncio.run(test())


def test_a_birth_is_one_processes_alone(sleeper):
    assert birth(sleeper.pid) == birth(sleeper.pid)
    assert birth(sleeper.pid) != birth(os.getpid())
    assert birth(2**22 + 1) == ""


def test_who_waits_to_be_reaped_is_over(sleeper):
    born = birth(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert birth(sleeper.pid) == ""
    assert Orphan(sleeper.pid, born).is_over


@pytest.mark.parametrize("has_pidfd", [True, False])
def test_the_end_of_an_orphan_is_seen(sleeper, monkeypatch, has_pidfd):
    def refuse(pid: int) -> int:
        raise OSError("forbidden")

    if not has_pidfd:
        monkeypatch.setattr(lives.os, "pidfd_open", refuse)
    life = Orphan(sleeper.pid, birth(sleeper.pid))
    ended(life, signal.SIGTERM)
    assert life.status() is None
    assert sleeper.wait() == -signal.SIGTERM


def test_another_of_its_number_is_not_taken_for_it(sleeper):
    life = Orphan(sleeper.pid, "another")
    life.signal(signal.SIGKILL)
    ended(life)
    assert sleeper.poll() is None


def test_one_that_is_gone_is_over(sleeper):
    life = Orphan(sleeper.pid, birth(sleeper.pid))
    sleeper.kill()
    sleeper.wait()
    life.signal(signal.SIGKILL)
    ended(life)
