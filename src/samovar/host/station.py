"""A station: an engine and all that it needs in a process, opened and closed as one.

Scripts without a service have one of their own (``embedded``), and ``samovar serve`` is one that clients come to.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from typing import Any

from samovar import config, errors
from samovar.drivers.choice import open_driver
from samovar.engine.engine import Engine, OnLog, Remembers
from samovar.engine.helm import Helm
from samovar.engine.keeper import Keeper
from samovar.engine.turn import Turn
from samovar.ports import Report

_STOP_GRACE = 0.5  # seconds that a replica without work has for a clean end
_CLOSE_LIMIT = 20.0  # seconds beyond the grace


class Station:
    """InitializationError: a setting, or the name of the driver, is wrong."""

    def __init__(self, report: Report, on_log: OnLog, driver: str = "", memory: Remembers | None = None) -> None:
        settings = config.load()
        self.driver = driver or settings.driver
        self.folder, socket_lock = _own_folder(tempfile.gettempdir())
        self.blobs, blobs_lock = _own_folder("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())
        self._locks = (socket_lock, blobs_lock)
        self.turn = Turn()
        self.helm = Helm(self.turn)
        try:
            opened = open_driver(self.driver, self.folder, self.blobs)
        except errors.InitializationError:
            self._remove_folders()
            raise
        self._keeper = Keeper(opened, self.helm.loop, self.turn, report)
        self.engine = Engine(self._keeper, self.folder, self.blobs, on_log, settings.lease, memory)
        self.helm.start(self.engine)

    @property
    def is_closed(self) -> bool:
        return self.helm.loop.is_closed()

    def close(self, grace: float) -> None:
        """Abort what runs, stop every replica; returns when nothing is left. Safe to call twice: the second call, after
        the first was interrupted, ends the work of the first at once.
        """
        if self.is_closed:
            return
        with self.turn:
            self.helm.flush()
            self.engine.abort_all("the engine closes")
            self.engine.flush()
        self._settle(grace)
        stopping = self._keeper.close(min(grace, _STOP_GRACE))
        asyncio.run_coroutine_threadsafe(stopping, self.helm.loop).result(grace + _CLOSE_LIMIT)
        self.helm.close()
        self.engine.hub.close()
        self._remove_folders()

    def _settle(self, grace: float) -> None:
        """Wait until nothing runs, at most ``grace`` seconds."""
        end = time.monotonic() + grace
        while self.engine.is_busy and time.monotonic() < end:
            time.sleep(0.01)

    def _remove_folders(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.blobs, ignore_errors=True)
        for lock in self._locks:
            lock.close()


def _own_folder(base: str) -> tuple[str, Any]:
    """A new folder, with a lock that shows it is in use; what dead engines have left beside it goes."""
    prefix = f"samovar-{os.getuid()}-"
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
