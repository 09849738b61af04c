"""A service ends within its time, whatever hangs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from . import services
from .conftest import until

PROGRAM = """
import asyncio, pathlib, signal
import samovar
env = samovar.TaskEnvironment(name="stubborn", reusable=samovar.ReusePolicy(replicas=1, idle_ttl=600))

@env.task
def stays(path: str) -> None:
    import ctypes
    libc = ctypes.CDLL(None)
    libc.signal(signal.SIGTERM, ctypes.c_void_p(1))  # ignored, whatever Python thinks of it
    (pathlib.Path(path) / "began").touch()
    libc.sleep(600)

@env.task
async def quick() -> int:
    return 1
"""


def ended(service: subprocess.Popen[str]) -> str:
    """What it has said, when it has ended."""
    _, said = service.communicate(timeout=services.SECONDS)
    return said


@pytest.fixture
def home(tmp_path: Path) -> services.Home:
    return services.Home(tmp_path, PROGRAM)


def test_a_replica_that_ignores_sigterm(home: services.Home) -> None:
    service, _ = services.begin(home.path)
    client = home.begin("stays", "--path", str(home.path))
    until(lambda: (home.path / "began").exists())
    assert len(services.replicas(home.path)) == 1
    assert home.samovar("stop", "--grace", "0").stdout == "stopped\n"
    assert "given up" not in ended(service)
    assert service.returncode == 0
    assert services.replicas(home.path) == []
    client.communicate(timeout=services.SECONDS)


def test_a_database_that_does_not_answer(home: services.Home, postgres_server: Any) -> None:
    service, address = services.begin(home.path, SAMOVAR_JOURNAL=postgres_server.database())
    assert home.samovar("run", "-q", str(home.script), "quick").stdout == "1\n"
    assert len(services.replicas(home.path)) == 1
    with postgres_server.frozen():
        client = home.samovar("run", "-q", str(home.script), "quick")
        assert client.stdout == "1\n", client.stderr  # it works on, and what happens waits to be written
        service.terminate()
        until(lambda: not Path(address).exists())  # it is ending
        service.terminate()
        said = ended(service)
    assert "the journal is closed and these are lost" in said or "closing the journal: not done" in said
    assert said.endswith("samovar: ended\n")
    assert services.replicas(home.path) == []
