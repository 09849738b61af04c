"""Shipped code in containers: the state folder is private, and replicas see the bundle that is theirs."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.journeys import services

from .hosts import SECONDS

PROGRAM = """
import os
import samovar as flyte
import helper
env = flyte.TaskEnvironment("shipped", network="none", reusable=flyte.ReusePolicy(replicas=1, idle_ttl=600))

@env.task
async def look() -> list[str]:
    return [helper.greeting, os.getcwd(), __file__]
"""


@pytest.fixture(params=["temporary", "home"])
def home(request, tmp_path):
    """The state of a service lies in the home of whoever runs it, which images have too, closed to others."""
    if request.param == "temporary":
        yield services.Home(tmp_path, PROGRAM)
        return
    with tempfile.TemporaryDirectory(prefix=".samovar-test-", dir=Path.home()) as folder:
        yield services.Home(Path(folder), PROGRAM)


def test_a_container_runs_code_that_lies_nowhere_else(container_engine, home):
    (home.path / "helper.py").write_text("greeting = 'hello'")
    settings = {"SAMOVAR_CONTAINER_SOCKET": str(container_engine.socket), "SAMOVAR_DRIVER": "container"}
    service, _ = services.begin(home.path, **settings)
    try:
        command = [sys.executable, "-m", "samovar", "run", "-o", "json", str(home.script), "look"]
        gone = home.path / "gone"
        gone.mkdir()
        done = subprocess.run(
            command, env=home.variables, cwd=gone, capture_output=True, text=True, timeout=2 * SECONDS
        )
        assert done.returncode == 0, done.stderr
    finally:
        said = services.end(service)
    greeting, cwd, file = json.loads(done.stdout)
    assert (greeting, cwd, file) == ("hello", str(gone), "/opt/samovar-code/program.py"), said
