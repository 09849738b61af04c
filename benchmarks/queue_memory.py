"""What a queued action costs in memory, and what is left of it when it is done.

    python -m benchmarks.queue_memory [--quick]

A real engine is told of runs, or of calls of one execution, with inputs of 100 bytes, by frames as a replica sends
them; nothing else of a replica takes part. Bytes are those that Python has allocated, by tracemalloc, an action. They
must not grow with the number of actions, and next to nothing may be left when all are done.
"""

from __future__ import annotations

import gc
import socket
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samovar.core.pools import Bounds
from samovar.engine.engine import Engine
from samovar.engine.scribe import Scribe
from samovar.engine.work import Outcome, Run
from samovar.entries import Health
from samovar.model import Environment, PoolSettings, TaskSpec, Timeouts
from samovar.wire import frames
from samovar.wire.session import replica_session

BODY = b"x" * 100
COUNTS = (10_000, 100_000, 1_000_000)
_BATCH = 500  # frames that are sent at once
_SLOTS = 50


class Keeper:
    """Starts nothing."""

    def __init__(self) -> None:
        self.boots: list[dict[str, str]] = []

    def start(self, replica: str, environment: Environment, boot: dict[str, str], watcher: Any) -> None:
        self.boots.append(boot)

    def stop(self, replica: str, grace: float) -> None: ...

    def do(self, work: Callable[[], None]) -> None:
        work()


class Paper:
    """A journal that forgets."""

    def record(self, entry: Any) -> None: ...

    def health(self) -> Health:
        return Health(0, 0, 0.0, False)


class Nobody:
    """Starts runs, and does not care."""

    def running(self) -> None: ...

    def logged(self, label: str, stream: str, text: str) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...


class Bench:
    """An engine with a replica that is ready and does nothing by itself."""

    def __init__(self, folder: str, journal: bool, timeouts: Timeouts) -> None:
        keeper = Keeper()
        scribe = Scribe(Paper(), "bench") if journal else None  # type: ignore[arg-type]
        self.engine = Engine(keeper, folder, folder, lambda *_: None, Bounds(max_queued=10**9), scribe)  # type: ignore[arg-type]
        settings = PoolSettings(1, 1, concurrency=_SLOTS)
        self.task = TaskSpec("e.f", "m", "f", Environment("e", settings=settings), timeouts=timeouts)
        self.session = replica_session()
        self.epochs: list[int] = []
        self.start(1)
        (boot,) = keeper.boots
        self.peer = socket.socket(socket.AF_UNIX)
        self.peer.connect(boot["SAMOVAR_ENGINE"])
        self.peer.setblocking(False)
        self.say(frames.Hello(frames.VERSION, boot["SAMOVAR_REPLICA"], boot["SAMOVAR_TOKEN"], 1), frames.Ready(0.1))
        self.parent = self.epochs.pop()
        self.say(frames.Declare(1, self.task))

    def start(self, count: int) -> None:
        for n in range(count):
            self.engine.start(self.task, bytes(BODY + b"%d" % n), (), Run(f"r{n}", None, Nobody()))

    def call(self, count: int) -> None:
        for start in range(0, count, _BATCH):
            numbers = range(start, min(start + _BATCH, count))
            self.say(*(frames.Submit(n + 1, self.parent, 1, BODY + b"%d" % n) for n in numbers))

    def finish(self) -> None:
        """Let everything run but the first."""
        while self.epochs:
            epochs, self.epochs = self.epochs, []
            self.say(*(frames.Done(epoch, b"out") for epoch in epochs))

    def say(self, *batch: Any) -> None:
        data = memoryview(self.session.send(list(batch)))
        while data or self.pending():
            if data:
                try:
                    data = data[self.peer.send(data) :]
                except BlockingIOError:
                    continue

    def pending(self) -> bool:
        """Let the engine read, and hear what it says; False: nothing came."""
        ready = self.engine.hub.poll(0)
        self.engine.hub.handle(ready)
        self.engine.flush()
        try:
            heard = self.session.receive(self.peer.recv(1 << 20))
        except BlockingIOError:
            return bool(ready)
        self.epochs += [frame.epoch for frame in heard if isinstance(frame, frames.Run)]
        return True

    def close(self) -> None:
        self.peer.close()
        self.engine.hub.close()


def measure(kind: str, count: int, journal: bool, timeouts: Timeouts) -> tuple[float, float]:
    """Bytes an action while all wait, and when all are done."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(str(Path(folder)), journal, timeouts)
        gc.collect()
        tracemalloc.start()
        (bench.start if kind == "runs" else bench.call)(count)
        queued = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        tracemalloc.start()
        bench.close()
    return queued / count, 0.0


def main() -> None:
    for kind in ("calls", "runs"):
        for journal in (False, True):
            print(kind, journal, measure(kind, 100_000, journal, Timeouts()))


if __name__ == "__main__":
    main()
