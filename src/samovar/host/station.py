"""A station: an engine and all that it needs in a process, opened and closed as one.

Scripts without a service have one of their own (``embedded``), and ``samovar serve`` is one that clients come to.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time

from samovar import config, errors
from samovar.drivers.choice import open_driver
from samovar.engine.engine import Engine, OnLog, Remembers
from samovar.engine.helm import Helm
from samovar.engine.keeper import Keeper
from samovar.engine.turn import Turn
from samovar.host.folders import own_folder, shared_memory
from samovar.ports import Report

_STOP_GRACE = 0.5  # seconds that a replica without work has for a clean end
_CLOSE_LIMIT = 20.0  # seconds beyond the grace


class Station:
    """InitializationError: a setting, or the name of the driver, is wrong."""

    def __init__(self, report: Report, on_log: OnLog, driver: str = "", memory: Remembers | None = None) -> None:
        settings = config.load()
        self.driver = driver or settings.driver
        self.folder, socket_lock = own_folder(tempfile.gettempdir())
        self.blobs, blobs_lock = own_folder(shared_memory())
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
