"""Where an engine has its sockets and its large values, and what of it the next engine finds.

A script's engine has new folders, which go with it. A service has places of its user, since replicas that outlive it
look for the next one there; whoever holds the lock of services owns them. They lie on file systems that end with the
machine, and a service that ends in order removes them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from samovar import config
from samovar.engine.register import Register
from samovar.engine.succession import Succession
from samovar.host.folders import own_folder, shared_memory

OUTLIVE = 60.0
"""Seconds for which a replica of a service that was killed waits for the next one."""


class Places:
    """``folder`` is for the socket of replicas, ``blobs`` for large values, ``home`` for what a driver needs to take
    replicas over."""

    home: Path | None = None
    register: Register | None = None

    def __init__(self) -> None:
        self.folder, socket_lock = own_folder(tempfile.gettempdir())
        self.blobs, blobs_lock = own_folder(shared_memory())
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
        self.folder = str(config.private(runtime / "replicas"))
        self.blobs = str(config.private(Path(shared_memory()) / f"samovar-service-{os.getuid()}-{name}"))
        self.home = runtime / "home"
        self._registered = str(runtime / "register")
        self.register = Register(self._registered)

    def succession(self, outlive: float) -> Succession:
        """Of the service that is starting. ``outlive``: 0 where nothing is written down that a next one could go on
        with."""
        assert self.register is not None
        return Succession(*_next(), outlive, self.register.read())

    def remove(self) -> None:
        for folder in (self.folder, self.blobs, self._registered):
            shutil.rmtree(folder, ignore_errors=True)


def _next() -> tuple[bytes, int]:
    """The secret of all services of this user, by which they know the replicas of those before, and the how manieth
    this one is. They lie in one file: where it is lost a name may come again, but nobody is left who had it.
    """
    path = config.state_folder() / "secret"
    try:
        written, _, count = path.read_text().partition(" ")
        secret, era = bytes.fromhex(written), int(count) + 1
    except (FileNotFoundError, ValueError):
        secret, era = os.urandom(32), 1
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(new, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(f"{secret.hex()} {era}")
    new.replace(path)
    return secret, era
