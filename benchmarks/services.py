"""Services that are asked for the same in turns, to see what one has and another has not: a journal, for one.

A client of its own asks each service, as ``python services.py CALLS``: it reads the name of a measure and prints its
seconds a task. All are started anew several times, in casts: two services that do the very same differ for as long as
they live, by up to a seventh. So the figure is the mean of what the casts give, and has a standard error. In a cast
rounds stand side by side, as what the neighbours of this process do comes and goes. A service that keeps a journal is
asked again when it has sorted what it wrote.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

HERE = Path(__file__).resolve().parent
MEASURES = ("gathered inside a task", "a loop over run in a script")
PAUSE = 1.0  # seconds between two rounds: the journal of the last one is sorted in them
WARM_UP = 2  # rounds of a cast that do not count: the first ones take up to half as long again
SECONDS = 60.0

_ADDR_NO_RANDOMIZE = 0x0040000  # of linux/personality.h


class Ratio(NamedTuple):
    """Of rates: 1 is no difference."""

    mean: float  # of all casts, geometric: that of "a to b" is the inverse of that of "b to a"
    error: float  # its standard error; NaN where there is but one cast

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + ("" if math.isnan(self.error) else f" ± {self.error:.3f}")


class Compared(NamedTuple):
    measure: str
    seconds: dict[str, list[list[float]]]  # a task: rounds of casts, by service

    def best(self, name: str) -> float:
        return min(itertools.chain(*self.seconds[name]))

    def ratio(self, name: str, to: str) -> Ratio:
        pairs = zip(self.seconds[to], self.seconds[name], strict=True)
        logs = [math.log(sum(before) / sum(after)) for before, after in pairs]
        mean = math.exp(statistics.mean(logs))
        return Ratio(mean, mean * statistics.stdev(logs) / len(logs) ** 0.5 if len(logs) > 1 else math.nan)


Kind = Callable[[Path, contextlib.ExitStack], dict[str, str]]
"""Opens a service in a folder. Gives the environment of its clients."""


def compare(kinds: dict[str, Kind], calls: int, rounds: int, casts: int) -> list[Compared]:
    """Open services and clients, and ask each for each measure, in one order and then in the other; in each of the
    casts all are new and another one comes first."""
    _lie_alike()
    found = [Compared(measure, {name: [] for name in kinds}) for measure in MEASURES]
    for cast in range(casts):
        os.environ["PYTHONHASHSEED"] = str(cast)
        names = [*kinds][cast % len(kinds) :] + [*kinds][: cast % len(kinds)]
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, contextlib.ExitStack() as stack:
            clients = {
                name: stack.enter_context(client(kinds[name](Path(folder) / name, stack), calls)) for name in names
            }
            for compared, name in itertools.product(found, names):
                compared.seconds[name].append([])
            for number in range(-WARM_UP, rounds):
                for compared in found:
                    for name in names[:: -1 if number % 2 else 1]:
                        seconds = clients[name](compared.measure)
                        if number >= 0:
                            compared.seconds[name][cast].append(seconds)
                        time.sleep(PAUSE)
    return found


def _lie_alike() -> None:
    """Processes that start from here on have their memory at the same addresses. With addresses and hash seeds of their
    own two that do the same differ by up to a seventh, for as long as they live."""
    if sys.platform == "linux":
        ctypes.CDLL(None).personality(_ADDR_NO_RANDOMIZE)


def kept(home: Path, stack: contextlib.ExitStack, **more: str) -> dict[str, str]:
    """A service with a journal; a ``Kind``."""
    return stack.enter_context(service(home, str(home.with_suffix(".db")), **more))


def not_kept(home: Path, stack: contextlib.ExitStack) -> dict[str, str]:
    """A service without a journal; a ``Kind``."""
    return stack.enter_context(service(home, "none"))


@contextlib.contextmanager
def service(home: Path, journal: str, **more: str) -> Iterator[dict[str, str]]:
    """The environment of its clients. ``more``: variables of its own; nobody can look at it unless they say where."""
    runtime = home / "runtime"
    runtime.mkdir(parents=True, mode=0o700)
    places = {"XDG_RUNTIME_DIR": str(runtime), "XDG_STATE_HOME": str(home / "state"), "SAMOVAR_JOURNAL": journal}
    environment = {**os.environ, **places, "SAMOVAR_WEB": "none"}
    command = [sys.executable, "-m", "samovar", "serve"]
    with (
        (home / "log").open("w") as log,
        subprocess.Popen(command, env={**environment, **more}, stdout=log, stderr=log) as process,
    ):
        address = runtime / "samovar" / "service.sock"
        end = time.monotonic() + SECONDS
        while not address.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"benchmarks: a service has not started: {(home / 'log').read_text()}")
            time.sleep(0.02)
        try:
            yield {**environment, "SAMOVAR_ENDPOINT": str(address)}
        finally:
            process.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def client(environment: dict[str, str], calls: int) -> Iterator[Callable[[str], float]]:
    command = [sys.executable, str(HERE / "services.py"), str(calls)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        lines: tuple[IO[str] | None, IO[str] | None] = process.stdin, process.stdout
        asked, told = lines
        assert asked is not None
        assert told is not None

        def ask(measure: str) -> float:
            print(measure, file=asked, flush=True)
            return float(told.readline())

        yield ask
        asked.close()


def main(calls: int) -> None:
    """A client."""
    from measures import seconds, warm
    from tasks import fan, tiny

    import samovar

    def loop() -> None:
        runs = [samovar.run(tiny, number) for number in range(calls)]
        assert [run.outputs() for run in runs] == [(number,) for number in range(calls)]

    measures: dict[str, Callable[[], float]] = {
        MEASURES[0]: lambda: samovar.run(fan, calls).outputs()[0],
        MEASURES[1]: lambda: seconds(loop),
    }
    warm()
    samovar.run(fan, calls).outputs()
    loop()
    for line in sys.stdin:
        print(measures[line.strip()]() / calls, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
