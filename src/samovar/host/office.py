"""What a service keeps beside its engine, for its clients: code, what tasks print, answers about what is written."""

from __future__ import annotations

from collections.abc import Callable

from samovar import config
from samovar.host.archive import Archive
from samovar.host.bundles import Bundles
from samovar.host.desk import Desk
from samovar.host.logbook import Logbook
from samovar.host.memory import Memory
from samovar.host.premises import Premises
from samovar.host.station import Station


class Office:
    """Clients who ask for a run have to wait until ``begin``. ``memory``: None where no journal is kept."""

    def __init__(self, station: Station, memory: Memory | None, say: Callable[[str], None]) -> None:
        self._station = station
        self._memory = memory
        self._say = say
        self._bundles = Bundles(config.state_folder() / "bundles")
        self._desk = Desk(self._bundles, station, memory.digests if memory is not None else set)
        self._logbook = Logbook(config.logs_folder(), say)
        self._archive = Archive(memory.journal if memory is not None else None, self._logbook, station)
        station.engine.logbook = self._logbook
        clients = station.engine.clients
        clients.keep_code(self._desk)
        clients.archive = self._archive
        clients.hold()

    def premises(self, address: str) -> Premises:
        """What there is to be shown; ``address``: where clients come in."""
        journal = self._memory.journal if self._memory is not None else None
        return Premises(self._station, address, journal, self._logbook)

    def begin(self) -> None:
        """Take up what another engine has left, and keep house from here on."""
        memory = self._memory
        if memory is not None:
            memory.on_pruned = lambda: self._logbook.forget(memory.knows)
            memory.resume(self._station, self._bundles)
        else:
            self._station.hear_survivors()
            self._station.take_stock([], self._say)
        self._desk.begin_sweeps()

    def close(self) -> None:
        """When the station is closed."""
        self._archive.close()
        self._logbook.close()
        self._desk.close()
