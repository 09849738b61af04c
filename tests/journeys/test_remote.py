"""A service on another host: over TLS on loopback, between two users who share no folder of state."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import samovar as flyte
from samovar import endpoint, errors
from samovar.endpoint import Remote
from samovar.host import Host
from samovar.host.remote import RemoteHost
from samovar.sdk import run as sdk_run

from . import program, services
from .conftest import Seen, _hear, _seen, until
from .test_calls import (  # these journeys are made here once more, with the host below
    test_an_array_of_100_mb_travels_and_is_writable,
    test_fan_out_keeps_order,
    test_lines_belong_to_the_execution_that_wrote_them,
    test_more_bytes_inline_than_allowed,
    test_runs_from_async_code,
    test_values_of_many_kinds,
)
from .test_helm import test_event_loops_in_threads, test_many_threads_wait_at_once

__all__ = [
    "test_an_array_of_100_mb_travels_and_is_writable",
    "test_event_loops_in_threads",
    "test_fan_out_keeps_order",
    "test_lines_belong_to_the_execution_that_wrote_them",
    "test_many_threads_wait_at_once",
    "test_more_bytes_inline_than_allowed",
    "test_runs_from_async_code",
    "test_values_of_many_kinds",
]

PROGRAM = (
    """
import asyncio, pathlib
import numpy as np
import samovar as flyte
env = flyte.TaskEnvironment(name="kept", reusable=flyte.ReusePolicy(replicas=1, concurrency=4, idle_ttl=600))
"""
    + services.KEPT
    + """
@env.task
async def fail() -> None:
    raise ValueError("no tea")

@env.task
async def where() -> str:
    return __file__

@env.task
async def total(values: np.ndarray) -> float:
    return float(values.sum())

if __name__ == "__main__":
    print(flyte.run(load).result())
"""
)
ANYWHERE = {"SAMOVAR_LISTEN": "127.0.0.1:0"}


class Hosts:
    """The home of a service that listens, and the home of a user on what stands for another host."""

    def __init__(self, path: Path) -> None:
        for name in ("service", "user"):
            (path / name).mkdir()
        self.service = services.Home(path / "service", PROGRAM)
        self.user = services.Home(path / "user", PROGRAM)
        self.process, self.address = services.begin(self.service.path, **ANYWHERE)
        self.said = ""
        self.user.variables["SAMOVAR_ENDPOINT"] = self.token("ann")

    def token(self, name: str, *options: str) -> str:
        """The endpoint for whoever has it."""
        made = self.service.samovar("token", "--name", name, *options)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def load(self, **more: str) -> str:
        done = self.user.python(str(self.user.script), **more)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def fails(self, **more: str) -> str:
        done = self.user.python(str(self.user.script), **more)
        assert done.returncode == 1
        assert "samovar_" not in done.stderr
        return done.stderr

    @property
    def where(self) -> Remote:
        found = endpoint.parse(self.user.variables["SAMOVAR_ENDPOINT"])
        assert isinstance(found, Remote)
        return found

    def connect(self) -> RemoteHost:
        return RemoteHost(self.where, lambda _: None, lambda *_: None)

    def end(self) -> None:
        self.said += services.end(self.process)
        assert self.process.returncode == 0, self.said


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(tmp_path)
    yield made
    if made.process.returncode is None:
        made.end()
    assert "samovar_" not in made.said, "a token in the log"
    assert "Traceback" not in made.said


@pytest.fixture(scope="session")
def _remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    made = Hosts(tmp_path_factory.mktemp("hosts"))
    host = RemoteHost(made.where, _seen.lines.append, _hear)
    yield host
    host.close()
    made.end()


@pytest.fixture
def host(_remote: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """In place of the hosts of other journeys."""
    monkeypatch.setattr(sdk_run, "_opened", _remote)
    return _remote


@pytest.fixture
def seen(host: Host) -> Seen:
    _seen.lines.clear()
    _seen.logs.clear()
    return _seen


class Wire:
    """A network between a client and a service, that can be cut."""

    def __init__(self, target: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._target = target
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def cut(self) -> None:
        """Every connection; others may be made."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(services.SECONDS)
        for sock in self._sockets:
            sock.close()
        self._sockets, self._threads = [], []

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(services.SECONDS)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += (near, far)
                for source, target in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pass, args=(source, target))
                    self._threads.append(thread)
                    thread.start()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)


def test_a_second_client_meets_a_warm_replica(hosts: Hosts) -> None:
    assert [hosts.load() for _ in range(2)] == ["1", "2"]
    assert hosts.load(SAMOVAR_ENDPOINT=hosts.token("bob")) == "3"
    found = hosts.user.samovar("run", str(hosts.user.script), "where").stdout
    assert found.startswith(str(hosts.service.path / "state" / "samovar" / "bundles")), "code was sent along"
    failed = hosts.user.samovar("run", str(hosts.user.script), "fail")
    assert failed.returncode == 1
    assert "ValueError" in failed.stderr
    assert "no tea" in failed.stderr


def test_an_exception_is_the_tasks_own(host: Host) -> None:
    with pytest.raises(errors.RuntimeUserError, match="no good") as raised:
        flyte.run(program.raises, kind="value").result()
    assert isinstance(raised.value.__cause__, ValueError)


def test_two_clients_at_once_with_large_values(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    before = peak(hosts.process.pid)
    clients = [hosts.connect() for _ in range(2)]
    arrays = [np.full(50 * 2**20 // 8, number, dtype=np.float64) for number in range(2)]
    runs = []
    for client, array in zip(clients, arrays, strict=True):
        monkeypatch.setattr(sdk_run, "_opened", client)
        runs.append(flyte.run(program.echo, value=array))
    for run, array in zip(runs, arrays, strict=True):
        assert np.array_equal(run.result(), array)
    assert peak(hosts.process.pid) - before < 40 * 2**20, "values of 200 MB went through"
    local = RemoteHost(hosts.address, lambda _: None, lambda *_: None)
    folders = [local.service.blobs, *(client.blobs.folder for client in clients)]
    for folder in folders:
        until(lambda folder=folder: values(folder) == [])
    for client in (local, *clients):
        client.close()
    assert [os.path.exists(folder) for folder in folders] == [True, False, False]


def values(folder: str) -> list[str]:
    """The files of large values there; a client's folder has a lock beside them, a service's has none."""
    return [name for name in os.listdir(folder) if name != "lock"]


def peak(pid: int) -> int:
    """Bytes of memory that the process has had at most, without what it shares."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def test_a_client_that_goes_in_the_middle_of_a_large_value_leaves_nothing(hosts: Hosts) -> None:
    local = RemoteHost(hosts.address, lambda _: None, lambda *_: None)
    script = hosts.user.path / "large.py"
    script.write_text(f"{PROGRAM.split('if __name__')[0]}flyte.run(total, values=np.ones(2**25)).wait()\n")
    command = [sys.executable, str(script)]
    client = subprocess.Popen(command, env=hosts.user.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: values(local.service.blobs))
    client.kill()
    client.communicate()
    until(lambda: values(local.service.blobs) == [])
    local.close()
    assert hosts.load() == "1"


def test_inputs_on_their_way_can_be_called_back(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    client = hosts.connect()
    monkeypatch.setattr(sdk_run, "_opened", client)
    run = flyte.run(program.echo, value=np.ones(2**25))
    run.abort("enough")
    with pytest.raises(errors.ActionAbortedError, match="enough"):
        run.result()
    assert flyte.run(program.square, x=3).result() == 9
    local = RemoteHost(hosts.address, lambda _: None, lambda *_: None)
    for folder in (client.blobs.folder, local.service.blobs):
        until(lambda folder=folder: values(folder) == [])
    client.close()
    local.close()


def test_a_client_comes_back_to_its_run_when_the_connection_is_cut(hosts: Hosts) -> None:
    wire = Wire(hosts.where.port)
    here = hosts.where.in_full.replace(f":{hosts.where.port}", f":{wire.port}")
    hosts.user.variables["SAMOVAR_ENDPOINT"] = here
    client = hosts.user.begin("mark", "--path", str(hosts.service.path))
    assert client.stderr is not None
    said = client.stderr.readline()
    until(lambda: (hosts.service.path / "began").exists())
    wire.cut()
    where = f"the service at samovar://127.0.0.1:{wire.port}"
    assert f"{where} is gone; waiting for it" in (said := client.stderr.readline()), said
    assert f"{where} is back" in (said := client.stderr.readline()), said
    (hosts.service.path / "go").touch()
    _, said = client.communicate(timeout=services.SECONDS)
    wire.close()
    assert client.returncode == 0, said
    assert (hosts.service.path / "ended").exists()


def test_a_run_goes_on_without_its_client(hosts: Hosts) -> None:
    client = hosts.user.begin("mark", "--path", str(hosts.service.path))
    until(lambda: (hosts.service.path / "began").exists())
    client.kill()
    client.communicate(timeout=services.SECONDS)
    (hosts.service.path / "go").touch()
    until(lambda: (hosts.service.path / "ended").exists())


def test_a_revoked_token_ends_the_connection_and_not_the_run(hosts: Hosts) -> None:
    client = hosts.user.begin("mark", "--path", str(hosts.service.path))
    until(lambda: (hosts.service.path / "began").exists())
    assert hosts.service.samovar("token", "revoke", "ann").stdout == "revoked ann\n"
    _, said = client.communicate(timeout=services.SECONDS)
    assert client.returncode == 1
    assert "has ended the connection: the token 'ann' was revoked, and what became of the run is not known" in said
    (hosts.service.path / "go").touch()
    until(lambda: (hosts.service.path / "ended").exists())
    assert "refuses this client: the token 'ann' was revoked" in hosts.fails()
    assert hosts.load(SAMOVAR_ENDPOINT=hosts.token("ann")) == "1"


def test_a_client_is_told_when_the_service_ends(hosts: Hosts) -> None:
    client = hosts.user.begin("mark", "--path", str(hosts.service.path))
    until(lambda: (hosts.service.path / "began").exists())
    ended = hosts.service.samovar("stop", "--grace", "0")
    assert ended.stdout == "stopped\n", ended.stderr
    _, hosts.said = hosts.process.communicate(timeout=services.SECONDS)
    _, said = client.communicate(timeout=services.SECONDS)
    assert client.returncode == 1
    assert "the engine closes" in said


def test_who_is_not_let_in(hosts: Hosts) -> None:
    full = hosts.user.variables["SAMOVAR_ENDPOINT"]
    alone = str(hosts.where)
    pin = f"#{hosts.where.fingerprint}"
    assert "the token is not known here" in hosts.fails(SAMOVAR_ENDPOINT=full.replace("samovar_", "samovar-"))
    assert "asks for a token, and none is set" in hosts.fails(SAMOVAR_ENDPOINT=alone + pin)
    assert hosts.load(SAMOVAR_ENDPOINT=alone + pin, SAMOVAR_ACCESS_TOKEN=hosts.where.token) == "1"
    assert f"write it behind the endpoint: {alone}{pin}" in hosts.fails(SAMOVAR_ENDPOINT=full.partition("#")[0])
    assert "Somebody may stand in between" in hosts.fails(SAMOVAR_ENDPOINT=full.replace(pin, "#" + "0" * 64))


def test_the_command(hosts: Hosts) -> None:
    where = f"{hosts.where}#{hosts.where.fingerprint}"
    token = {"SAMOVAR_ACCESS_TOKEN": hosts.where.token, "SAMOVAR_ENDPOINT": "none"}
    unwanted = hosts.user.samovar("status", SAMOVAR_ENDPOINT="none")
    assert (unwanted.returncode, "no service is in use" in unwanted.stdout) == (3, True)
    done = hosts.user.samovar("run", "--endpoint", where, str(hosts.user.script), "load", **token)
    assert done.stdout == "1\n", done.stderr
    status = json.loads(hosts.user.samovar("status", "--endpoint", where, "-o", "json", **token).stdout)
    assert (status["pid"], status["endpoint"], status["gate"]) == (hosts.process.pid, str(hosts.where), where)
    assert status["pools"][0]["done"] == 1
    assert "nothing to abort: run 'r0'" in hosts.user.samovar("abort", "r0").stderr
    assert hosts.user.samovar("stop").stdout == "no service runs\n", "it is ended on its own host only"
    unsafe = hosts.user.samovar("run", "--endpoint", hosts.where.in_full, str(hosts.user.script), "load")
    assert unsafe.returncode == 2
    assert "a token on a command line can be seen by everybody" in " ".join(unsafe.stderr.split())
    assert "samovar_" not in unsafe.stderr


def test_the_command_of_tokens(hosts: Hosts, tmp_path: Path) -> None:
    made = json.loads(
        hosts.service.samovar("token", "--expires", "12h", "--address", "tea.example", "-o", "json").stdout
    )
    assert made["name"] == "token-1"
    port = hosts.where.port
    assert made["endpoint"] == f"samovar://{made['token']}@tea.example:{port}#{hosts.where.fingerprint}"
    listed = json.loads(hosts.service.samovar("token", "list", "-o", "json").stdout)
    assert [(token["name"], token["state"]) for token in listed] == [("ann", "good"), ("token-1", "good")]
    assert "ann      good" in hosts.service.samovar("token", "list").stdout
    for arguments, reason in (
        (("--name", "ann"), "there is a token named 'ann'"),
        (("--expires", "soon"), "'soon' is no time"),
        (("--address", "a b:c"), "must have a host and a port"),
        (("revoke", "nobody"), "there is no token 'nobody' that is good"),
    ):
        refused = hosts.service.samovar("token", *arguments)
        assert refused.returncode in (1, 2)
        assert reason in refused.stderr
    assert "no service listens for other hosts" in hosts.user.samovar("token").stderr
    ahead = hosts.user.samovar("token", SAMOVAR_LISTEN="0.0.0.0:99")
    assert f"@{socket.gethostname().lower()}:99#" in ahead.stdout.lower()
    pem = str(hosts.service.path / "state" / "samovar" / "tls" / "service.pem")
    signed = hosts.user.samovar("token", "--address", "tea.example", SAMOVAR_TLS_CERT=pem, SAMOVAR_TLS_KEY=pem)
    assert signed.stdout.endswith("@tea.example:7266\n"), "a certificate that will be renewed is not pinned"


def test_a_service_that_cannot_listen_does_not_start(hosts: Hosts) -> None:
    for listen, reason in (
        (f"127.0.0.1:{hosts.where.port}", "Address already in use"),
        ("127.0.0.1:x", "a host and a port"),
    ):
        started = hosts.user.samovar("start", "--listen", listen)
        assert started.returncode == 1
        assert reason in started.stderr
    alone = hosts.user.samovar("start", "--listen", "127.0.0.1:0", "--tls-cert", "/nowhere.pem")
    assert "go together" in alone.stderr
    own = hosts.user.samovar("start", "--listen", "127.0.0.1:0", "--tls-cert", "own.pem", "--tls-key", "own.key")
    assert f"{Path('own.pem').absolute()}, with the key" in own.stderr, "the service itself is in another folder"
    nowhere = hosts.user.samovar("start", "--tls-cert", "own.pem", "--tls-key", "own.key")
    assert (nowhere.returncode, "say with --listen where they come in" in nowhere.stderr) == (1, True)
