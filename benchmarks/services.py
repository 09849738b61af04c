"""What a journal takes from a service: two services, one with and one without, asked for the same in turns.

``compare`` gives seconds a task for each. A client of its own asks each service, as ``python services.py CALLS``: it
reads the name of a measure and prints its seconds a task. The best of all rounds is the figure, as the others measure
the neighbours of this process. The service that keeps a journal is asked again when it has sorted what it wrote.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

HERE = Path(__file__).resolve().parent
MEASURES = ("gathered inside a task", "a loop over run in a script")
PAUSE = 1.0  # seconds between two rounds
SECONDS = 60.0


class Compared(NamedTuple):
    measure: str
    off: list[float]  # seconds a task, a round
    on: list[float]

    @property
    def ratio(self) -> float:
        """Of the rates: 1 is no difference."""
        return min(self.off) / min(self.on)


def compare(folder: Path, calls: int, rounds: int) -> list[Compared]:
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(client(stack.enter_context(service(folder / name, journal)), calls))
            for name, journal in (("off", "none"), ("on", str(folder / "service.db")))
        ]
        found = [Compared(measure, [], []) for measure in MEASURES]
        for _ in range(rounds):
            for compared in found:
                for ask, seconds in zip(clients, (compared.off, compared.on), strict=True):
                    seconds.append(ask(compared.measure))
                    time.sleep(PAUSE)
    return found


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
