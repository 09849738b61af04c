"""A service: pools that outlive scripts, and what happens when either end goes away."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.errors import ActionAbortedError, InitializationError, RuntimeSystemError
from samovar.host.remote import RemoteHost
from samovar.model import Phase

from . import services
from .conftest import until
from .program import slow_square, square

PROGRAM = (
    """
import asyncio, os, pathlib
import samovar as flyte
env = flyte.TaskEnvironment(name="kept", reusable=flyte.ReusePolicy(replicas=1, idle_ttl=600))
"""
    + services.KEPT
    + """
if __name__ == "__main__":
    print(flyte.run(load).result())
"""
)


class Home(services.Home):
    def load(self) -> str:
        done = self.python(str(self.script))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.samovar("status", "-o", "json").stdout)
        return found


def is_alive(pid: object) -> bool:
    """Not so for a zombie that nobody has reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, PROGRAM)


def test_a_second_script_meets_a_warm_replica_and_its_state(served: Home) -> None:
    assert [served.load() for _ in range(3)] == ["1", "2", "3"]
    done = served.samovar("run", str(served.script), "load")
    assert done.stdout == "4\n"
    assert "1 task done, 0 cold, 1 warm" in done.stderr
    (pool,) = served.status()["pools"]
    assert (pool["ready"], pool["cold"], pool["done"]) == (1, 1, 4)


def test_changed_code_has_a_pool_of_its_own(served: Home) -> None:
    assert served.load() == "1"
    served.script.write_text(PROGRAM.replace("loads += 1", "loads += 10"))
    assert served.load() == "10"
    served.script.write_text(PROGRAM)
    assert served.load() == "1"  # the first one has ended: its code was old


def test_whoever_wants_an_engine_of_its_own_has_one(served: Home) -> None:
    assert served.load() == "1"
    assert served.python(str(served.script), SAMOVAR_ENDPOINT="none").stdout == "1\n"
    assert served.samovar("run", "--driver", "process", str(served.script), "load").stdout == "1\n"
    assert served.samovar("run", "--endpoint", "none", str(served.script), "load").stdout == "1\n"


def test_an_endpoint_that_is_wrong_or_not_there(home: Home) -> None:
    done = home.samovar("run", "--endpoint", "/nowhere/sock", str(home.script), "load")
    assert done.returncode == 2
    assert "no service answers at /nowhere/sock: No such file or directory" in done.stderr
    assert "start one with `samovar start`" in done.stderr
    done = home.python(str(home.script), SAMOVAR_ENDPOINT="there")
    assert (
        "SAMOVAR_ENDPOINT='there': it must be the path of a Unix socket, samovar://HOST:PORT, or 'none'" in done.stderr
    )
    both = home.samovar("run", "--endpoint", "/s", "--driver", "process", str(home.script), "load")
    assert (both.returncode, "not both" in both.stderr) == (2, True)


def test_start_status_stop(home: Home) -> None:
    assert home.samovar("status").returncode == 3
    assert home.samovar("stop").stdout == "no service runs\n"
    started = home.samovar("start")
    assert started.returncode == 0, started.stderr
    assert started.stdout.startswith("started: process ")
    try:
        again = home.samovar("start")
        assert again.stdout.startswith("runs already: process ")
        late = home.samovar("start", "--driver", "process", "--listen", "127.0.0.1:0", "--web", "127.0.0.1:0")
        unmet = "its driver is auto, not process; it does not listen for other hosts; it has no dashboard"
        assert (again.returncode, late.returncode) == (0, 1)
        assert f"not all is as asked: {unmet}. A service that runs stays as it is: `samovar stop`" in late.stderr
        second = home.samovar("serve")
        assert second.returncode == 1
        assert "a service of this user runs already" in second.stderr
        assert home.load() == "1"
        status = home.samovar("status")
        assert status.returncode == 0
        assert "kept@" in status.stdout
        pid = home.status()["pid"]
    finally:
        assert home.samovar("stop").stdout == "stopped\n"
    until(lambda: not is_alive(pid))
    assert home.samovar("status").returncode == 3
    assert "ended" in (home.path / "state" / "samovar" / "service.log").read_text()


def test_a_service_that_cannot_start_says_why(home: Home) -> None:
    done = home.samovar("start", SAMOVAR_LEASE="soon")
    assert done.returncode == 1
    assert "SAMOVAR_LEASE='soon'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_goes_on_without_its_client(served: Home) -> None:
    client = served.begin("mark", "--path", str(served.path))
    until(lambda: (served.path / "began").exists())
    client.kill()
    client.communicate(timeout=services.SECONDS)
    (served.path / "go").touch()
    until(lambda: (served.path / "ended").exists())
    assert served.load() == "1"


def test_ctrl_c_aborts_the_run_and_leaves_the_service(served: Home) -> None:
    client = served.begin("mark", "--path", str(served.path))
    until(lambda: (served.path / "began").exists())
    client.send_signal(signal.SIGINT)
    _, said = client.communicate(timeout=services.SECONDS)
    assert client.returncode == 130, said
    assert served.load() == "1"  # the slot is free
    assert not (served.path / "ended").exists()


@pytest.fixture
def marked(home: Home) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str]]]:
    """A service, and a client with a run that has begun."""
    process, _ = services.begin(home.path)
    client = home.begin("mark", "--path", str(home.path), name="m")
    until(lambda: (home.path / "began").exists())
    yield process, client
    for child in (process, client):
        child.kill()
        child.communicate(timeout=services.SECONDS)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=services.SECONDS)


def heard(client: subprocess.Popen[str], text: str) -> None:
    """Return when the client has said so."""
    assert client.stderr is not None
    assert any(text in line for line in iter(client.stderr.readline, ""))


def test_a_client_waits_for_a_service_that_was_killed(
    home: Home, marked: tuple[subprocess.Popen[str], subprocess.Popen[str]]
) -> None:
    process, client = marked
    attached = home.popen("attach", "m")
    heard(attached, "attached to run m of kept.mark")
    kill(process)
    for watcher in (client, attached):
        heard(watcher, "service.sock is gone; waiting for it, for up to 60 s")
    with services.running(home.path):
        for watcher in (client, attached):
            heard(watcher, "is back")
        (home.path / "go").touch()
        for watcher in (client, attached):
            _, said = watcher.communicate(timeout=services.SECONDS)
            assert watcher.returncode == 0, said
            assert "run m succeeded" in said
        assert home.load() == "1"


def test_a_client_says_again_what_a_killed_service_has_forgotten(
    home: Home, marked: tuple[subprocess.Popen[str], subprocess.Popen[str]]
) -> None:
    process, client = marked
    kill(process)
    for file in (home.path / "state" / "samovar").glob("journal.db*"):
        file.unlink()
    (home.path / "began").unlink()
    with services.running(home.path):
        until(lambda: (home.path / "began").exists())
        (home.path / "go").touch()
        _, said = client.communicate(timeout=services.SECONDS)
        assert client.returncode == 0, said


def test_an_abort_while_the_service_is_gone_is_not_lost(home: Home) -> None:
    process, address = services.begin(home.path)
    said: list[str] = []
    host = RemoteHost(address, said.append, lambda *_: None)
    started = home.samovar("run", "--detach", "--name", "m", str(home.script), "mark", "--path", str(home.path))
    assert started.returncode == 0, started.stderr
    handle = host.attach("m")
    kill(process)
    until(lambda: any("waiting for it" in line for line in said))
    handle.abort("changed my mind")
    with services.running(home.path):
        with pytest.raises(ActionAbortedError, match="changed my mind"):
            handle.wait(services.SECONDS)
        assert host.stats()
    host.close()


def test_an_idle_client_finds_the_service_that_has_come_instead(home: Home) -> None:
    process, address = services.begin(home.path)
    host = RemoteHost(address, lambda _: None, lambda *_: None)
    services.end(process)
    until(lambda: host.is_gone)
    assert host.stats() == []
    with pytest.raises(RuntimeSystemError, match="is gone"):
        host.standing()
    with pytest.raises(InitializationError, match="is gone"):  # it was ended on purpose: nobody waits for it
        host.start(square, {"x": 3})
    with services.running(home.path):
        assert host.start(square, {"x": 3}).wait(services.SECONDS) == 9
    host.close()


def test_patience_ends(home: Home) -> None:
    process, address = services.begin(home.path)
    host = RemoteHost(address, lambda _: None, lambda *_: None, patience=0.3)
    run = host.start(slow_square, {"x": 3, "seconds": 60.0})
    until(lambda: run.phase is Phase.RUNNING)
    kill(process)
    with pytest.raises(RuntimeSystemError, match="is gone, and what became of the run is not known here"):
        run.wait(services.SECONDS)
    host.close()


def test_a_service_that_is_ended_by_hand_keeps_nobody_waiting(
    home: Home, marked: tuple[subprocess.Popen[str], subprocess.Popen[str]]
) -> None:
    _, client = marked
    assert home.samovar("stop", "--grace", "0").stdout == "stopped\n"
    _, said = client.communicate(timeout=services.SECONDS)
    assert client.returncode == 1
    assert "waiting for it" not in said


@pytest.mark.parametrize("grace", ["50", "0"])
def test_what_runs_may_end_within_the_grace(home: Home, grace: str) -> None:
    process, _ = services.begin(home.path)
    client = home.begin("mark", "--path", str(home.path))
    until(lambda: (home.path / "began").exists())
    stopping = subprocess.Popen([sys.executable, "-m", "samovar", "stop", "--grace", grace], env=home.variables)
    if grace == "50":
        assert process.stderr is not None
        assert "finishing what runs, for at most 50 s" in process.stderr.readline()
        late = home.samovar("run", str(home.script), "load")
        assert "the service ends, and starts no run any more" in late.stderr
        (home.path / "go").touch()
    _, said = client.communicate(timeout=services.SECONDS)
    assert stopping.wait(services.SECONDS) == 0
    process.communicate(timeout=services.SECONDS)
    assert process.returncode == 0
    assert client.returncode == (0 if grace == "50" else 1), said
    assert (home.path / "ended").exists() == (grace == "50")


def test_a_stranger_at_the_socket_is_refused(served: Home) -> None:
    address = served.path / "run" / "samovar" / "service.sock"
    assert os.stat(address).st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(services.SECONDS)
        stranger.connect(str(address))
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stranger.recv(100) == b""
    assert served.load() == "1"


def test_a_folder_that_others_can_enter_is_refused(home: Home) -> None:
    (home.path / "run" / "samovar").mkdir(mode=0o755)
    done = home.samovar("status")
    assert done.returncode == 1
    assert "must belong to this user alone" in done.stderr
