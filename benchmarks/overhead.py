"""What it costs to be seen: ``python -m benchmarks.overhead [--calls N] [--rounds N] [--casts N]``.

Three services are asked for the same in turns, by a client of its own each (``services``): one that nobody looks at;
one that is watched, by an open page that streams and by a scrape of its metrics each second; and one that exports spans
besides, to a receiver on this machine, as many as it does where nothing else is set. All have a journal, whose own cost
``journal`` measures. All of it, the page, the scrape and the receiver too, shares the machine's processors with what is
measured. Times are the best of all rounds, as the others measure the neighbours of this process. What everything
together leaves of the rate of the same service without is said last, and whether that is enough: it is the mean of
many casts of services. ``--shallow`` does a little, to see that it works.

Then what the engine counts of each action, alone, and how long a scrape holds the turn of an engine with many queued
actions.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.client
import http.server
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.engine.test_admission import TASK, Starter
from tests.engine.test_clients import Talk

from samovar.core.pools import Bounds
from samovar.engine.figures import Ledgers
from samovar.engine.turn import Turn
from samovar.engine.work import Called, Run
from samovar.host.remote import RemoteHost
from samovar.web.metrics import expose

from . import services

TARGET = 0.9
"""Of the rate without: what everything together may leave at least."""

_SCRAPE_EVERY = 1.0  # seconds


class _Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@contextlib.contextmanager
def receiver() -> Iterator[str]:
    """Takes spans, and forgets them."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def watched(environment: dict[str, str]) -> Iterator[list[int]]:
    """Somebody has its page open, and Prometheus scrapes it. Gives the bytes of both, in the end."""
    host = RemoteHost(environment["SAMOVAR_ENDPOINT"], lambda _: None, lambda *_: None)
    web = host.service.web
    host.close()
    closing = threading.Event()
    taken = [0, 0]

    def page() -> None:
        with (
            contextlib.suppress(OSError, urllib.error.URLError),
            urllib.request.urlopen(f"{web}/api/v1/events") as lines,
        ):
            while not closing.is_set() and (line := lines.readline()):
                taken[0] += len(line)

    def scrape() -> None:
        """Over a connection that is kept, as Prometheus does."""
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(http.client.HTTPConnection(web.removeprefix("http://"))) as connection,
        ):
            while not closing.wait(_SCRAPE_EVERY):
                connection.request("GET", "/metrics")
                taken[1] += len(connection.getresponse().read())

    threads = [threading.Thread(target=work, daemon=True) for work in (page, scrape)]
    for thread in threads:
        thread.start()
    yield taken
    closing.set()
    if not all(taken):
        raise SystemExit("benchmarks: nobody has seen anything of the service that was watched")


def compare(calls: int, rounds: int, casts: int) -> list[services.Compared]:
    with receiver() as spans:
        seen = {"SAMOVAR_WEB": "127.0.0.1:0"}
        traced = {**seen, "OTEL_EXPORTER_OTLP_ENDPOINT": spans}
        kinds = {
            "alone": services.kept,
            "watched": functools.partial(_watched, **seen),
            "traced": functools.partial(_watched, **traced),
        }
        return services.compare(kinds, calls, rounds, casts)


def _watched(home: Path, stack: contextlib.ExitStack, **more: str) -> dict[str, str]:
    environment = services.kept(home, stack, **more)
    stack.enter_context(watched(environment))
    return environment


def counted(rounds: int = 200_000) -> tuple[float, float]:
    """Seconds of what an engine counts of an action, sorting it in included; and those of one look at the clock."""
    ledgers = Ledgers()
    ledgers.open("e@1", "e")
    began = time.process_time()
    for number in range(rounds):
        figures = ledgers.of["e@1"]
        figures.waited(0.25)
        figures.cold += False
        figures = ledgers.of["e@1"]
        figures.ran(0.125)
        figures.dispatched(0.0625)
        figures.succeeded += 1
        if not number % 500:
            ledgers.ticked(0.001, 0.001)
    counting = time.process_time() - began
    began = time.process_time()
    for _ in range(rounds):
        time.monotonic()
    return counting / rounds, (time.process_time() - began) / rounds


class _Timed(Turn):
    """How long it is held."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def __enter__(self) -> None:
        super().__enter__()
        self._began = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds = time.perf_counter() - self._began
        super().__exit__(*error)


def scraped(queued: int) -> tuple[float, float]:
    """Seconds of the turn that a scrape takes, and of the scrape; the best of some."""
    with tempfile.TemporaryDirectory() as folder:
        talk = Talk(Path(folder), bounds=Bounds(max_queued=10**9))
        starter = Starter()
        for number in range(queued):
            talk.engine.start(Called(TASK, b""), Run(f"r{number}", None, starter))
        station: Any = type("Station", (), {"engine": talk.engine, "turn": _Timed(), "driver": "none"})()
        held, whole = [], []
        for _ in range(5):
            began = time.perf_counter()
            expose(station, None)
            whole.append(time.perf_counter() - began)
            held.append(station.turn.seconds)
        talk.engine.hub.close()
    return min(held), min(whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000, help="tasks of a round (default: 10000)")
    parser.add_argument("--rounds", type=int, default=1, help="of each cast of services (default: 1)")
    parser.add_argument("--casts", type=int, default=24, help="times that services are started anew (default: 24)")
    parser.add_argument("--queued", type=int, default=1_000_000, help="actions of an engine that is scraped")
    parser.add_argument("--shallow", action="store_true", help="a little of everything")
    options = parser.parse_args()
    calls, rounds, casts = (200, 1, 1) if options.shallow else (options.calls, options.rounds, options.casts)
    for compared in compare(calls, rounds, casts):
        print(f"{compared.measure}, {calls:,} tiny tasks, best of {rounds * casts}")
        for name in compared.seconds:
            best = f"{compared.best(name) * 1e6:>8.1f} µs a task"
            print(f"  {name:<9}{best}")
        everything = compared.ratio("traced", "alone")
        verdict = "enough" if everything.mean >= TARGET else "TOO LITTLE"
        print(f"  watched leaves {compared.ratio('watched', 'alone')} of the rate of one alone")
        print(f"  traced leaves {everything} of it: {verdict} ({TARGET})", flush=True)
    counting, clock = counted()
    print(f"what the engine counts of an action: {counting * 1e6:.2f} µs, {counting / clock:.1f} looks at the clock")
    for number in (10, 1000 if options.shallow else options.queued):
        held, whole = scraped(number)
        print(f"a scrape with {number:,} queued: the turn for {held * 1e3:.2f} ms, {whole * 1e3:.1f} ms in all")


if __name__ == "__main__":
    main()
