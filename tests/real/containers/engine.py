"""A private container engine for tests: Podman's or Docker's API on a socket, with a storage that is kept between runs.

The storage lies in a cache folder (SAMOVAR_TEST_CONTAINERS names another one), so that the base image is made once.
It serves one run of the tests at a time; a second one waits. Nothing of it is shared with the engine of whoever runs
the tests. What this kernel asks for (another runtime, lower limits) goes into a ``containers.conf``, or options, where
it is needed and only there: a machine with a working Podman is left as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiodocker

from samovar.images import dockerapi, oci
from samovar.model import ImageSpec

SECONDS = 60  # the bound of every step

_CAP_SYS_RESOURCE = 1 << 24
_NEEDED = {
    "podman": ("podman", "mmdebstrap"),
    "docker": ("docker", "dockerd", "containerd", "mmdebstrap"),
}
_LIMITS = ("nofile=1024:1024", "nproc=1024:1024")
_USUAL = "/var/run/docker.sock"


def missing(kind: str) -> str:
    """Why there can be no engine of this kind here; "" if there can."""
    absent = [program for program in _NEEDED[kind] if shutil.which(program) is None]
    return f"no {' and no '.join(absent)} on this machine" if absent else ""


def in_the_way(kind: str) -> str:
    """Why one of this kind, which is installed, is not to be started; "": nothing is."""
    if kind == "docker" and os.getuid() != 0:
        return "no right to start a Docker of the tests' own"
    if kind == "docker" and _answers(_USUAL):
        return "another Docker on this machine, whose bridge a second one would change"
    return ""


class DoesNotStartError(Exception):
    """It is installed, and this machine does not let it run."""


class Engine:
    """One service. ``stop`` and ``start`` let its socket go away and come back; containers live on."""

    kind: str

    def __init__(self, cache: Path, socket: Path, store: Path) -> None:
        self.socket = socket
        self.cache = cache
        self.store = store
        self._base = ""
        self._service: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """It answers from here on."""
        raise NotImplementedError

    def stop(self) -> None:
        if self._service is not None:
            self._service.kill()
            self._service.wait(SECONDS)
            self._service = None
            self.socket.unlink(missing_ok=True)

    def close(self) -> None:
        self.stop()

    def cli(self, *arguments: str, timeout: float = SECONDS) -> str:
        """What its command line prints. AssertionError: it failed."""
        raise NotImplementedError

    def containers(self) -> list[str]:
        """The names of all that samovar has left, running or not."""
        return self._listed("--all", "--filter", "label=samovar.engine")

    def of(self, environment: str) -> list[str]:
        """The names of the containers of this environment, running or not."""
        return self._listed("--all", "--filter", f"label=samovar.environment={environment}")

    def running(self, environment: str = "") -> list[str]:
        wanted = f"samovar.environment={environment}" if environment else "samovar.engine"
        return self._listed("--filter", f"label={wanted}")

    def label(self, container: str, name: str) -> str:
        return self.cli("inspect", "--format", f'{{{{index .Config.Labels "{name}"}}}}', container).strip()

    def remove(self, *containers: str) -> None:
        """At once, running or not."""
        raise NotImplementedError

    def remove_containers(self) -> None:
        if names := self.containers():
            self.remove(*names)

    def save(self, tag: str, archive: Path) -> None:
        """Write an image to a file."""
        self.cli("save", "--output", str(archive), tag, timeout=5 * SECONDS)

    def forget_builds(self) -> None:
        """Drop what builds have used and no image has kept, where that lies about until somebody asks."""

    def events(self) -> str:
        """What it has told of late, as JSON."""
        return self.cli("events", "--since=10m", "--until=0s", "--format={{json .}}")

    def base(self) -> str:
        """The tag of the image of an environment that asks for nothing; made once, as for a user."""
        if not self._base:
            self._base = asyncio.run(self._ensure_base())
        return self._base

    def _listed(self, *options: str) -> list[str]:
        return self.cli("ps", *options, "--format", "{{.Names}}").split()

    async def _ensure_base(self) -> str:
        async with aiodocker.Docker(url=f"unix://{self.socket}") as docker:
            await dockerapi.server(docker)
            return await oci.ensure(docker, ImageSpec(), lambda line: print(line, file=sys.stderr))


class Podman(Engine):
    """``podman system service``."""

    kind = "podman"

    def __init__(self, cache: Path, folder: Path) -> None:
        super().__init__(cache, folder / "podman.sock", cache / "graph")
        self._variables = {**os.environ, **_settings(cache)}

    def start(self) -> None:
        """The socket listens before the service runs, so the first request waits for it and nothing is polled."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with listener:
            listener.bind(str(self.socket))
            listener.listen(128)
            program = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec podman system service --time=0"
            self._service = subprocess.Popen(
                ["sh", "-c", program],
                stdin=listener,
                env=self._variables,
                cwd=self.socket.parent,  # where a container runs out of memory, a file is left
            )

    def cli(self, *arguments: str, timeout: float = SECONDS) -> str:
        return _said(["podman", *arguments], timeout, self._variables)

    def remove(self, *containers: str) -> None:
        self.cli("rm", "--force", "--time=0", *containers)

    def save(self, tag: str, archive: Path) -> None:
        self.cli("save", "--format", "docker-archive", "--output", str(archive), tag, timeout=5 * SECONDS)

    def events(self) -> str:
        return self.cli("events", "--stream=false", "--since=10m", "--format=json")


class Docker(Engine):
    """``dockerd``, and below it a ``containerd`` that stays, so that containers live on when it goes away."""

    kind = "docker"

    def __init__(self, cache: Path, folder: Path) -> None:
        super().__init__(cache, folder / "docker.sock", cache / "data" / "overlay2")
        self._below = folder / "containerd.sock"
        self._settings = cache / "containerd.toml"
        self._settings.write_text('disabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        self._containerd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._containerd is None:
            places = {"config": self._settings, "root": self.cache / "below", "state": self.cache / "state"}
            self._containerd = self._begun("containerd", {**places, "address": self._below})
            _await(self._below.exists, self._containerd, self.cache / "containerd.log")
        pid = self.socket.with_suffix(".pid")
        pid.unlink(missing_ok=True)
        places = {"data-root": self.cache / "data", "exec-root": self.cache / "exec", "pidfile": pid}
        limits = [] if _may_raise_limits() else [f"--default-ulimit={limit}" for limit in _LIMITS]
        addresses = {"host": f"unix://{self.socket}", "containerd": self._below}
        self._service = self._begun("dockerd", {**places, **addresses}, "--live-restore", *limits)
        _await(lambda: _answers(str(self.socket)), self._service, self.cache / "dockerd.log")

    def close(self) -> None:
        """Not killed: dockerd takes away what it has mounted."""
        for program in (self._service, self._containerd):
            if program is not None:
                program.terminate()
                program.wait(SECONDS)
        super().close()

    def cli(self, *arguments: str, timeout: float = SECONDS) -> str:
        return _said(["docker", f"--host=unix://{self.socket}", *arguments], timeout, dict(os.environ))

    def remove(self, *containers: str) -> None:
        self.cli("rm", "--force", *containers)

    def forget_builds(self) -> None:
        self.cli("builder", "prune", "--all", "--force")

    def _begun(self, program: str, places: dict[str, object], *options: str) -> subprocess.Popen[bytes]:
        command = [program, *(f"--{name}={place}" for name, place in places.items()), *options]
        with (self.cache / f"{program}.log").open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.socket.parent)


def _said(command: list[str], timeout: float, variables: dict[str, str]) -> str:
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def _await(is_there: Callable[[], bool], program: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + SECONDS
    while not is_there():
        if program.poll() is not None or time.monotonic() > end:
            raise DoesNotStartError(f"{program.args[0]}, which does not start: {log.read_text().splitlines()[-1:]}")
        time.sleep(0.05)


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(SECONDS)
        asking.connect(address)
        asking.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return b" 200 " in asking.recv(100)
    return False


@contextlib.contextmanager
def running(kind: str) -> Iterator[Engine]:
    """An engine for as long as the block; no container of samovar is left afterwards."""
    cache = _cache() / "docker" if kind == "docker" else _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / "lock"), tempfile.TemporaryDirectory(prefix="samovar-engine-") as folder:
        engine = Docker(cache, Path(folder)) if kind == "docker" else Podman(cache, Path(folder))
        with contextlib.closing(engine):
            engine.start()
            try:
                yield engine
                left = engine.containers()
                assert not left, f"the tests have left containers: {left}"
            finally:
                engine.remove_containers()


def _cache() -> Path:
    given = os.environ.get("SAMOVAR_TEST_CONTAINERS")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else home / "samovar" / "test-containers"


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _settings(cache: Path) -> dict[str, str]:
    """Environment variables that point Podman to its storage and, where this kernel needs it, to other defaults."""
    storage = cache / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{cache}/graph"\nrunroot = "{cache}/run"\n')
    found = {"CONTAINERS_STORAGE_CONF": str(storage)}
    if text := _containers_conf():
        conf = cache / "containers.conf"
        conf.write_text(text)
        found["CONTAINERS_CONF"] = str(conf)
    return found


def _containers_conf() -> str:
    """What the defaults of Podman do not fit here; "" where they do."""
    engine: list[str] = []
    containers: list[str] = []
    if not _may_raise_limits():
        containers.append(f"default_ulimits = {json.dumps(_LIMITS)}")
    if Path("/sys/fs/cgroup/unified").exists() and shutil.which("runc"):
        engine.append('runtime = "runc"')  # crun does not take cgroups of both versions side by side
    if not Path("/run/systemd/system").exists():
        engine += ['cgroup_manager = "cgroupfs"', 'events_logger = "file"']
    sections = {"containers": containers, "engine": engine}
    return "".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items() if lines)


def _may_raise_limits() -> bool:
    """Podman as root gives containers limits above its own, which takes a capability; rootless it stays below."""
    if os.getuid() != 0:
        return True
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) & _CAP_SYS_RESOURCE)
    return True
