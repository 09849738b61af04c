"""A user with a service and clients, of which one process is armed. Whoever dies is started again, as a user would."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samovar.entries import RunQuery
from samovar.journal.choice import open_journal
from tests.journeys import services

from .forge import ARMED, Forge, Forged, is_dead
from .history import NODES, RUN, History

PROGRAM = Path(__file__).parent / "program.py"
SECONDS = 90.0
NOBODY = "nobody:send:None:1:before"

_LOOK = 0.01  # seconds


class World:
    """``how``: "watched", a second client attaches to the run; "detached", the first one leaves it to the service."""

    def __init__(self, forge: Forge, home: Path, point: str = NOBODY, how: str = "") -> None:
        self.home = home
        self.history = History(home)
        self.failed: list[int] = []  # exit codes of clients that did not see the end of the run
        self._forge = forge
        self._mark = home / "died"
        self._has_victim = point != NOBODY
        self._variables = {
            **services.variables(home),
            "CHAOS": point,
            "CHAOS_MARK": str(self._mark),
            "PYTHONPATH": str(ARMED),
        }
        self._service = self._serve()
        self._options = ("--detach",) if how == "detached" else ()
        self._clients = [self._run()]
        if how == "watched":
            self._until((home / "began").exists, "the run does not begin")
            self._clients.append(self._attach())

    def live(self) -> None:
        """Until the run has ended, all clients have seen it, and whoever was to die is dead."""
        end = time.monotonic() + SECONDS
        while not self._is_over():
            assert time.monotonic() < end, f"the run has not ended, or nobody came to the step: {self.told()}"
            self.revive()
            waited_for = [process for process in (self._service, *self._clients) if process.is_alive]
            select.select(waited_for, [], [], 1.0 if len(waited_for) > 1 else _LOOK)
        self.revive()

    def kill(self, who: str, dice: random.Random) -> None:
        """One of these, if there is any just now."""
        if who == "replica":
            replicas = services.replicas(self.home)
            if replicas:
                victim = dice.choice(replicas)
                self.history.replica_dies(victim)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
            return
        process = self._service if who == "service" else self._clients[0]
        process.send(signal.SIGKILL)
        process.wait()

    def revive(self) -> None:
        if not self._service.is_alive:
            self.history.service_died(time.time())
            self._service = self._serve()
        for place, client in enumerate(self._clients):
            if not client.is_alive and (code := client.wait()):
                self.failed.append(code)
                self._clients[place] = self._attach() if self._recorded() else self._run()

    def close(self) -> None:
        """The service ends as it should, so all that it knows is written down."""
        processes = (*self._clients, self._service)
        for process in processes:
            process.send(signal.SIGTERM)
        for process in processes:
            process.wait()

    def _is_over(self) -> bool:
        if any(client.is_alive or client.wait() for client in self._clients):
            return False
        if getattr(self._recorded(), "ended", None) is None:
            return False
        if not self._has_victim:
            return True
        victim = self._mark.read_text() if self._mark.exists() else ""  # a second replica may come after the run
        return bool(victim) and is_dead(int(victim))

    def _serve(self) -> Forged:
        log = self.home / "service.txt"
        began = log.stat().st_size if log.exists() else 0
        process = self._forge.begin(["serve"], self._variables, log)

        def serves() -> bool:
            return not process.is_alive or (log.exists() and b"serving at" in log.read_bytes()[began:])

        self._until(serves, "the service does not start")
        return process

    def _run(self) -> Forged:
        asked = ("--folder", str(self.home), "--nodes", str(NODES))
        return self._ask("run", *self._options, "--name", RUN, str(PROGRAM), "main", *asked)

    def _attach(self) -> Forged:
        return self._ask("attach", RUN)

    def _ask(self, *arguments: str) -> Forged:
        """A client that finds this service or fails: it takes no engine of its own."""
        endpoint = {"SAMOVAR_ENDPOINT": str(self.home / "run" / "samovar" / "service.sock")}
        return self._forge.begin(list(arguments), {**self._variables, **endpoint}, self.home / "client.txt")

    def _recorded(self) -> Any:
        """The run, as it is written down; None: it is not."""
        path = self.home / "state" / "samovar" / "journal.db"
        if not path.exists():
            return None
        journal = open_journal(str(path))
        try:
            return next(iter(journal.find(RunQuery(run=RUN)).items), None)
        finally:
            journal.close(5)

    def _until(self, there: Any, otherwise: str) -> None:
        end = time.monotonic() + SECONDS
        while not there():
            assert time.monotonic() < end, f"{otherwise}: {self.told()}"
            time.sleep(_LOOK)

    def told(self) -> str:
        paths = [self.home / name for name in ("service.txt", "client.txt")]
        return "".join(path.read_text()[-3000:] for path in paths if path.exists())


@contextlib.contextmanager
def world(forge: Forge, home: Path, point: str = NOBODY, how: str = "") -> Iterator[World]:
    """When the block has ended the world has too, and its history is whole."""
    made = World(forge, home, point, how)
    try:
        yield made
    finally:
        made.close()
    made.history.check()
