"""Threads for sync tasks: one for each that runs, kept when it is done. No bound: a parked parent keeps its thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], None]


class Threads:
    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Job]] = []

    def run(self, job: Job) -> None:
        """Run ``job``, which must not raise, on an idle thread or a new one. Called by one thread only."""
        if self._idle:
            self._idle.pop().put(job)
            return
        inbox: SimpleQueue[Job] = SimpleQueue()
        inbox.put(job)
        threading.Thread(target=self._work, args=(inbox,), name="samovar-task", daemon=True).start()

    def _work(self, inbox: SimpleQueue[Job]) -> None:
        while True:
            inbox.get()()
            self._idle.append(inbox)
