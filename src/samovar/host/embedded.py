"""An engine inside the process of a script or of the command: it starts at the first run and ends with the process."""

from __future__ import annotations

from samovar import errors
from samovar.engine.engine import Engine, OnLog
from samovar.host.handle import Handle
from samovar.host.host import Host
from samovar.host.notebook import Notebook
from samovar.host.places import Places
from samovar.host.premises import OpenWeb, Premises, Web, no_web
from samovar.host.station import Station
from samovar.model import PoolStats
from samovar.ports import Report
from samovar.wire.blobs import Blobs


class EmbeddedHost(Host):
    """``open_web``: its dashboard, for as long as this lives.

    InitializationError: a setting, or the name of the driver, is wrong.
    """

    engine: Engine
    _web: Web | None = None

    def __init__(self, report: Report, on_log: OnLog, driver: str = "", open_web: OpenWeb = no_web) -> None:
        self._notebook = Notebook(report)
        if open_web is not no_web:
            self._notebook.write_all()
        self.station = station = Station(report, on_log, Places(), driver, self._notebook.remembers)
        station.trace(report)
        super().__init__(station.engine, station.turn, station.helm, Blobs(station.blobs, spares=True), on_log)
        try:
            self._web = open_web(Premises(station, journal=self._notebook.journal), report)
        except BaseException:
            self.close(0.0)
            raise
        if self._web is not None:
            self.web = self._web.url
            report(self._web.about)

    def attach(self, name: str) -> Handle:
        raise errors.InitializationError(
            "InitializationError",
            f"run {name!r} cannot be found: no service is in use, and an engine of one's own knows the runs of its "
            "script alone; `samovar start` starts one",
        )

    def stats(self) -> list[PoolStats]:
        with self.turn:
            return self.engine.stats()

    def close(self, grace: float = 2.0) -> None:
        """Abort what runs, stop every replica; returns when nothing is left. A second call, after the first was
        interrupted, ends the work of the first at once.
        """
        self.closed = True
        if self._web is not None:
            self._web.shut()
        with self.turn:
            self.engine.hand_over()
        self._notebook.flush()
        self.station.close(grace)
        self.engine.hand_over()
        self._notebook.close()
        self.turn.release_signals()
