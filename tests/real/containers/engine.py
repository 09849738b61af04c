"""A private container engine for tests: Podman's API on a socket, with a storage that is kept between runs.

The storage lies in a cache folder (SAMOVAR_TEST_CONTAINERS names another one), so that the base image is made once.
It serves one run of the tests at a time; a second one waits. Nothing of it is shared with the Podman of
whoever runs the tests. What this kernel asks for (another runtime, lower limits) goes into a ``containers.conf``
that is written where it is needed and only there: a machine with a working Podman is left as it is.
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
from collections.abc import Iterator
from pathlib import Path

import aiodocker

from samovar.images import dockerapi, oci
from samovar.model import ImageSpec

SECONDS = 60  # the bound of every step

_CAP_SYS_RESOURCE = 1 << 24
_NEEDED = ("podman", "mmdebstrap")
_LIMITS = ("nofile=1024:1024", "nproc=1024:1024")


def missing() -> str:
    """Why there can be no engine here; "" if there can."""
    absent = [program for program in _NEEDED if shutil.which(program) is None]
    return f"no {' and no '.join(absent)} on this machine" if absent else ""


class Engine:
    """One Podman service. ``stop`` and ``start`` let its socket go away and come back; containers live on."""

    def __init__(self, cache: Path, folder: Path) -> None:
        self.socket = folder / "podman.sock"
        self.cache = cache
        self._base = ""
        self._service: subprocess.Popen[bytes] | None = None
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

    def stop(self) -> None:
        if self._service is not None:
            self._service.kill()
            self._service.wait(SECONDS)
            self._service = None
            self.socket.unlink()

    def podman(self, *arguments: str, timeout: float = SECONDS) -> str:
        """What the command prints. CalledProcessError: it failed."""
        command = ["podman", *arguments]
        done = subprocess.run(command, env=self._variables, capture_output=True, text=True, timeout=timeout)
        if done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def containers(self) -> list[str]:
        """The names of all that samovar has left, running or not."""
        return self._listed("--all", "--filter", "label=samovar.engine")

    def of(self, environment: str) -> list[str]:
        """The names of the containers of this environment, running or not."""
        return self._listed("--all", "--filter", f"label=samovar.environment={environment}")

    def running(self, environment: str) -> list[str]:
        return self._listed("--filter", f"label=samovar.environment={environment}")

    def remove_containers(self) -> None:
        if names := self.containers():
            self.podman("rm", "--force", "--time=0", *names)

    def base(self) -> str:
        """The tag of the image of an environment that asks for nothing; made once, as for a user."""
        if not self._base:
            self._base = asyncio.run(self._ensure_base())
        return self._base

    def _listed(self, *options: str) -> list[str]:
        return self.podman("ps", *options, "--format", "{{.Names}}").split()

    async def _ensure_base(self) -> str:
        async with aiodocker.Docker(url=f"unix://{self.socket}") as docker:
            await dockerapi.server(docker)
            return await oci.ensure(docker, ImageSpec(), lambda line: print(line, file=sys.stderr))


@contextlib.contextmanager
def running() -> Iterator[Engine]:
    """An engine for as long as the block; no container of samovar is left afterwards."""
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / "lock"), tempfile.TemporaryDirectory(prefix="samovar-engine-") as folder:
        engine = Engine(cache, Path(folder))
        engine.start()
        try:
            yield engine
            left = engine.containers()
            assert not left, f"the tests have left containers: {left}"
        finally:
            engine.remove_containers()
            engine.stop()


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
