"""A station: an engine and all that it needs in a process, opened and closed as one.

Scripts without a service have one of their own (``embedded``), and ``samovar serve`` is one that clients come to.
"""

from __future__ import annotations

import asyncio
import os
import time

from samovar import config, errors
from samovar.core.pools import Bounds
from samovar.drivers.choice import open_driver
from samovar.engine.adoption import Unfinished, Wanted
from samovar.engine.engine import Engine, OnLog
from samovar.engine.helm import Helm
from samovar.engine.keeper import Keeper
from samovar.engine.remembers import Remembers
from samovar.engine.succession import Succession
from samovar.engine.turn import Turn
from samovar.host.places import Places
from samovar.host.tracing import Tracing, open_tracing
from samovar.ports import Report

ADOPTION_SECONDS = 3.0
"""How long runs wait for replicas that have outlived their engine; these try to connect many times a second."""

_STOP_GRACE = 0.5  # seconds that a replica without work has for a clean end
_CLOSE_LIMIT = 20.0  # seconds beyond the grace


class Station:
    """``places`` are its own from here on. InitializationError: a setting, or the name of the driver, is wrong."""

    def __init__(
        self,
        report: Report,
        on_log: OnLog,
        places: Places,
        driver: str = "",
        memory: Remembers | None = None,
        succession: Succession | None = None,
    ) -> None:
        settings = config.load()
        self.driver = driver or settings.driver
        self.folder, self.blobs = places.folder, places.blobs
        self._places = places
        self.turn = Turn()
        self.helm = Helm(self.turn)
        try:
            opened = open_driver(self.driver, places.folder, places.blobs, home=places.home)
        except errors.InitializationError:
            if succession is None or not succession.survivors:
                places.remove()
            raise
        self._keeper = Keeper(opened, self.helm.loop, self.turn, report, places.register)
        bounds = Bounds(settings.lease, settings.max_queued)
        self.engine = Engine(self._keeper, places.folder, places.blobs, on_log, bounds, memory, succession)
        self._tracing: Tracing | None = None
        self._traces_per_second = settings.traces_per_second
        self.engine.crew.patience = settings.loop_patience
        self.helm.on_tick = self.engine.figures.ticked
        self.helm.start(self.engine)

    def trace(self, say: Report) -> None:
        """Export spans, if this process is told where to."""
        with self.turn:
            self._tracing = open_tracing(self.engine, say, self._traces_per_second)

    @property
    def is_closed(self) -> bool:
        return self.helm.loop.is_closed()

    def hear_survivors(self) -> dict[str, Wanted]:
        """Give the replicas of the engine before a moment to come. What is to be read of each run for them."""
        self.engine.adoption.all_told.wait(ADOPTION_SECONDS)
        with self.turn:
            wanted = self.engine.adoption.close()
            self.engine.flush()
        return wanted

    def hand_over(self) -> None:
        """What has happened by now is the journal's: it comes before whatever is asked of it next."""
        with self.turn:
            self.engine.hand_over()

    def inputs(self, names: tuple[str, ...]) -> tuple[str, ...] | None:
        """The large inputs of a run, where they lie or as copies of what is kept of them; None: they are gone."""
        if all(os.path.exists(os.path.join(self.blobs, os.path.basename(name))) for name in names):
            return names
        return self.engine.vault.copies(names)

    def take_stock(self, unfinished: list[Unfinished], say: Report) -> None:
        """Go on with these runs, and adopt the replicas that have come."""
        with self.turn:
            adopted = self.engine.adoption.take_stock(unfinished)
            self.engine.clients.release()
            self.engine.flush()
        if adopted:
            say(f"adopted {len(adopted)} replicas: {', '.join(sorted(adopted))}")

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
        if self._tracing is not None:
            self._tracing.close()
        self._places.remove()

    def _settle(self, grace: float) -> None:
        """Wait until nothing runs, at most ``grace`` seconds."""
        end = time.monotonic() + grace
        while self.engine.is_busy and time.monotonic() < end:
            time.sleep(0.01)
