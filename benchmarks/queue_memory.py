"""What a queued action costs in memory, and what is left of it when it is done.

    python -m benchmarks.queue_memory [--actions N]

A real engine is told of runs, or of calls of one execution, with inputs of 100 bytes, by frames as a replica sends
them; nothing else of a replica takes part. Bytes are those that Python has allocated, by tracemalloc, an action. They
must not grow with the number of actions; what is left when all are done is the room of tables, which Python makes
smaller when they are filled again.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import socket
import tempfile
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

from samovar.core.pools import Bounds
from samovar.engine.engine import Engine
from samovar.engine.remembers import Remembers
from samovar.engine.scribe import Scribe
from samovar.engine.work import Called, Outcome, Run
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

    def say(self, line: str) -> None: ...

    def do(self, work: Callable[[], None]) -> None:
        work()


class Paper:
    """A journal that forgets."""

    def record(self, *entries: Any) -> None: ...

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
        bounds, memory = Bounds(max_queued=10**9), Remembers(scribe)
        self.engine = Engine(keeper, folder, folder, lambda *_: None, bounds, memory)  # type: ignore[arg-type]
        settings = PoolSettings(1, 1, concurrency=_SLOTS)
        self.task = TaskSpec("e.f", "m", "f", Environment("e", settings=settings), timeouts=timeouts)
        self.session = replica_session()
        self.epochs: list[int] = []
        self.runs = 0
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
            self.runs += 1
            self.engine.start(Called(self.task, BODY + b"%d" % n), Run(f"r{self.runs}", None, Nobody()))

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
        while data:
            with contextlib.suppress(BlockingIOError):
                data = data[self.peer.send(data) :]
            self.pending()
        while self.pending():
            pass

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


class Measured(NamedTuple):
    queued: float  # bytes an action while all wait
    left: float  # bytes an action when all are done


def measure(kind: str, count: int, journal: bool, timeouts: Timeouts) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder, journal, timeouts)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        (bench.start if kind == "runs" else bench.call)(count)
        queued = tracemalloc.get_traced_memory()[0] - before
        bench.pending()  # so that what was let run meanwhile is heard
        bench.finish()
        bench.engine.tick()
        gc.collect()
        left = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        stats = bench.engine.stats()[0]
        bench.close()
        assert (stats.queued, stats.done) == (0, count), stats
    return Measured(queued / count, left / count)


def main() -> None:
    parser = argparse.ArgumentParser(description="bytes of a queued action")
    parser.add_argument("--actions", type=int, default=COUNTS[-1], help="at most (%(default)s)")
    most = parser.parse_args().actions
    print(f"{'asked for':12}{'journal':>9}{'deadline':>10}{'actions':>12}{'bytes queued':>14}{'bytes left':>12}")
    for kind in ("calls", "runs"):
        for journal, timeouts in ((False, Timeouts()), (True, Timeouts()), (True, Timeouts(deadline=86_400.0))):
            for count in sorted({min(count, most) for count in COUNTS}):
                queued, left = measure(kind, count, journal, timeouts)
                kept, late = ("on" if journal else "off"), ("a day" if timeouts.deadline else "none")
                print(f"{kind:12}{kept:>9}{late:>10}{count:>12,}{queued:>14.0f}{left:>12.2f}", flush=True)


if __name__ == "__main__":
    main()
