"""The desk of a service where clients hand in their code: questions and parcels in, answers out.

Files are written and checked in a thread of the desk's own, one thing after another, so that the engine's turn never
waits for a disk. The desk also knows which code is old: what a project has changed since, whose pools then end.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from samovar import errors
from samovar.core.messages import OpenPool, Supersede
from samovar.engine.links import Link
from samovar.host.bundles import Bundles, Delivery, Refused
from samovar.host.station import Station
from samovar.light import msgspec
from samovar.model import TaskSpec
from samovar.wire.frames import Kept, Offer, Parcel

SWEEP_EVERY = 3600.0  # seconds


class Desk:
    """Implements ``samovar.engine.clients.Code``. ``unfinished`` gives the digests that recorded runs need."""

    def __init__(self, bundles: Bundles, station: Station, unfinished: Callable[[], set[str]]) -> None:
        self._bundles = bundles
        self._station = station
        self._unfinished = unfinished
        self._worker = ThreadPoolExecutor(1, "samovar-bundles")
        self._deliveries: dict[tuple[Link, str], Delivery] = {}  # the worker's alone
        self._lineage = Lineage(bundles.differ)  # the worker's alone
        self._superseded: set[str] = set()  # pools; to be touched in a turn
        self._closing = threading.Event()

    def begin_sweeps(self) -> None:
        threading.Thread(target=self._sweeps, name="samovar-sweep", daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._worker.shutdown(cancel_futures=True)
        for delivery in self._deliveries.values():
            delivery.discard()

    # called in a turn

    def offered(self, link: Link, frame: Offer) -> None:
        self._worker.submit(self._answer, link, frame.call, functools.partial(self._look_for, frame))

    def delivered(self, link: Link, frame: Parcel) -> None:
        self._worker.submit(self._answer, link, frame.call, functools.partial(self._take, link, frame))

    def left(self, link: Link) -> None:
        self._worker.submit(self._forget, link)

    def unpacked(self, task: TaskSpec) -> TaskSpec | None:
        code = task.environment.bundle
        if not self._bundles.has(code.digest):
            return None
        folder = self._bundles.files(code.digest)
        placed = code.unpacked(folder, code.cwd if os.path.isdir(code.cwd) else folder)
        environment = msgspec.structs.replace(task.environment, bundle=placed)
        return msgspec.structs.replace(task, environment=environment)

    # in the worker

    def _answer(self, link: Link, call: int, work: Callable[[], bool]) -> None:
        try:
            answer = Kept(call, work())
        except (OSError, Refused) as error:
            answer = Kept(call, False, str(error))
        with self._station.turn:
            if link.is_open:
                self._station.engine.send(link, answer)
                self._station.engine.flush()

    def _look_for(self, frame: Offer) -> bool:
        if not self._bundles.has(frame.digest):
            return False
        old = self._lineage.comes(frame.project, frame.digest)
        with self._station.turn:
            self._change_pools(frame.digest, old)
            self._station.engine.flush()
        return True

    def _take(self, link: Link, frame: Parcel) -> bool:
        key = (link, frame.digest)
        delivery = self._deliveries.get(key)
        if delivery is None:
            delivery = self._deliveries[key] = self._bundles.begin(frame.digest)
        try:
            for piece in frame.pieces:
                delivery.add(piece)
            if frame.is_last:
                self._bundles.complete(delivery)
                del self._deliveries[key]
        except (OSError, Refused):
            self._deliveries.pop(key).discard()
            raise
        return frame.is_last

    def _forget(self, link: Link) -> None:
        for key in [key for key in self._deliveries if key[0] is link]:
            self._deliveries.pop(key).discard()

    def _sweep(self) -> None:
        with self._station.turn:
            engine = self._station.engine
            in_use = {environment.bundle.digest for environment in engine.environments.values()}
            in_use |= engine.clients.digests()
        with contextlib.suppress(errors.JournalError, OSError):  # the next one will do
            self._bundles.sweep(in_use | self._unfinished())

    # in the thread of sweeps

    def _sweeps(self) -> None:
        while True:
            with contextlib.suppress(RuntimeError):  # it is closed
                self._worker.submit(self._sweep)
            if self._closing.wait(SWEEP_EVERY):
                return

    # in a turn

    def _change_pools(self, digest: str, old: set[str]) -> None:
        engine = self._station.engine
        for pool, environment in list(engine.environments.items()):
            if environment.bundle.digest in old:
                self._superseded.add(pool)
                engine.handle(Supersede(pool))
            elif environment.bundle.digest == digest and pool in self._superseded:  # the code is what it was before
                engine.handle(OpenPool(pool, environment.settings))
                self._superseded.discard(pool)
        self._superseded &= engine.environments.keys()


class Lineage:
    """Which code of each project is current. Several bundles may be: two scripts that have loaded different modules of
    it, for as long as no file of theirs differs. ``differ`` says that of two digests.
    """

    def __init__(self, differ: Callable[[str, str], bool]) -> None:
        self._differ = differ
        self._current: dict[str, set[str]] = {}  # digests by project

    def comes(self, project: str, digest: str) -> set[str]:
        """A process with this code begins. The digests that are old now: nobody's current code, in any project."""
        before = self._current.setdefault(project, set())
        old = {one for one in before if self._differ(one, digest)}
        before -= old
        before.add(digest)
        return old - set().union(*self._current.values())
