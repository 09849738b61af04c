"""Where an engine has its sockets and its large values, and what of it the next engine finds.

A script's engine has new folders, which go with it. A service has places of its user, since replicas that outlive it
look for the next one there; whoever holds the lock of services owns them. They lie on file systems that end with the
machine, and a service that ends in order removes them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from samovar import config
from samovar.engine.lineage import Lineage
from samovar.engine.register import Register

OUTLIVE = 60.0
"""Seconds for which a replica of a service that was killed waits for the next one."""

_TMPFS = "/dev/shm"


class Places:
    """``folder``: the socket of replicas; ``blobs``: large values; ``home``: what a driver needs to take replicas over."""

    home: Path | None = None
    register: Register | None = None

    def __init__(self) -> None:
        self.folder, socket_lock = _own_folder(tempfile.gettempdir())
        self.blobs, blobs_lock = _own_folder(_memory())
        self._locks = (socket_lock, blobs_lock)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.blobs, ignore_errors=True)
        for lock in self._locks:
            lock.close()


class ServicePlaces(Places):
    def __init__(self) -> None:
        runtime = config.runtime_folder()
        name = hashlib.blake2b(str(runtime).encode(), digest_size=6).hexdigest()
        self.folder = _private(str(runtime / "replicas"))
        self.blobs = _private(os.path.join(_memory(), f"samovar-service-{os.getuid()}-{name}"))
        self.home = runtime / "home"
        self._registered = str(runtime / "register")
        self.register = Register(self._registered)

    def lineage(self, outlive: float) -> Lineage:
        """Of the service that is starting. ``outlive``: 0 where nothing is written down that a next one could go on
        with."""
        assert self.register is not None
        return Lineage(_secret(), _next_era(), outlive, self.register.read())

    def remove(self) -> None:
        for folder in (self.folder, self.blobs, self._registered):
            shutil.rmtree(folder, ignore_errors=True)


def _memory() -> str:
    """The folder of a tmpfs."""
    return _TMPFS if os.access(_TMPFS, os.W_OK) else tempfile.gettempdir()


def _private(path: str) -> str:
    """A folder that is this user's alone. InitializationError: it is somebody else's."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    config.check_private(Path(path))
    return path


def _secret() -> bytes:
    """Of all services of this user, one after another: by it they know the replicas of those before."""
    path = config.state_folder() / "secret"
    try:
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(os.urandom(32))
    except FileExistsError:
        pass
    secret = path.read_bytes()
    if len(secret) < 32:  # the machine went down in the middle of writing it
        path.unlink()
        return _secret()
    return secret


def _next_era() -> int:
    """Counts the services of this user. With the file the secret goes, so nobody is left to know a name twice."""
    path = config.state_folder() / "era"
    try:
        era = int(path.read_text()) + 1
    except (FileNotFoundError, ValueError):
        era = int(time.time()) if (config.state_folder() / "journal.db").exists() else 1
    new = path.with_suffix(".new")
    new.write_text(str(era))
    new.replace(path)
    return era


def _own_folder(base: str) -> tuple[str, Any]:
    """A new folder, with a lock that shows it is in use; what dead engines have left beside it goes."""
    prefix = f"samovar-engine-{os.getuid()}-"
    for name in os.listdir(base):
        if name.startswith(prefix):
            _sweep(os.path.join(base, name))
    folder = tempfile.mkdtemp(prefix=prefix, dir=base)
    lock = open(os.path.join(folder, "lock"), "w")  # noqa: SIM115 - held as long as the engine lives
    fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock


def _sweep(folder: str) -> None:
    try:
        if time.time() - os.stat(folder).st_mtime < 1:
            return  # just made, perhaps not locked yet
        with open(os.path.join(folder, "lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return
