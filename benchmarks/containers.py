"""Replicas in containers against a bare run of the same image: ``python -m benchmarks.containers [--rounds N]``.

Prints medians, each as a ratio to ``podman run --rm --network=none IMAGE python -c pass`` on the same storage in the
same run. All measures of a round come one after the other, so that a busy machine is busy for all of them. It needs
Podman; the engine and the image are those of the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.real.containers import engine as engines

from samovar.drivers.container import ContainerDriver
from samovar.drivers.container_spec import Shared
from samovar.drivers.process import RUNTIME
from samovar.model import Environment

ALONE = Environment("alone", network="none")
BRIDGED = Environment("bridged", network="bridge")
SPEAKS = ("-c", "import time; print('ready', flush=True); time.sleep(600)")
AT_ONCE = 4

BARE = "podman run, python -c pass"
ROWS = {
    BARE: "",
    "podman run, python -c pass, bridge": "",
    "replica, start to first output": "1.5",
    "replica, start to first output, bridge": "",
    "replica, start to the hello of the runtime": "1.5",
    f"{AT_ONCE} replicas at once, until all have spoken": "",
    "replica, stop with a grace": "",
    "replica, kill": "",
}


class Bench:
    def __init__(self, engine: engines.Engine) -> None:
        self.figures: dict[str, list[float]] = {row: [] for row in ROWS}
        self._engine = engine
        self._heard: asyncio.Queue[str] = asyncio.Queue()
        self._number = 0

    async def run(self, rounds: int, folder: str) -> None:
        """One round more than is counted: the first warms the caches of all."""
        speaking = ContainerDriver(Shared(), SPEAKS, lambda replica, _: self._heard.put_nowait(replica))
        running = ContainerDriver(Shared(folder), RUNTIME)
        server = await asyncio.start_unix_server(self._hello, os.path.join(folder, "engine"))
        try:
            for driver in (speaking, running):
                await driver.prepare(ALONE, print)
            for number in range(rounds + 1):
                await self._round(speaking, running, os.path.join(folder, "engine"))
                if number == 0:
                    for figures in self.figures.values():
                        figures.clear()
        finally:
            server.close()
            await speaking.close()
            await running.close()

    async def _round(self, speaking: ContainerDriver, running: ContainerDriver, address: str) -> None:
        rows = iter(ROWS)
        for network in ("none", "bridge"):
            await self._time(next(rows), lambda network=network: asyncio.to_thread(self._bare, network))
        for environment in (ALONE, BRIDGED):
            (name,) = names = self._names(1)
            await self._time(next(rows), lambda env=environment, names=names: self._spoken(speaking, env, names, {}))
            await speaking.stop(name, 0)
            await speaking.wait(name)
        (name,) = names = self._names(1)
        boot = {"SAMOVAR_ENGINE": address, "SAMOVAR_REPLICA": name, "SAMOVAR_TOKEN": "-"}
        await self._time(next(rows), lambda: self._spoken(running, ALONE, names, boot))
        await running.stop(name, 0)
        await running.wait(name)
        names = self._names(AT_ONCE)
        await self._time(next(rows), lambda: self._spoken(speaking, ALONE, names, {}))
        polite, killed, *others = names
        await self._time(next(rows), lambda: speaking.stop(polite, 20))
        await self._time(next(rows), lambda: speaking.stop(killed, 0))
        await asyncio.gather(*(speaking.stop(name, 0) for name in others))
        await asyncio.gather(*(speaking.wait(name) for name in names))

    async def _time(self, row: str, work: Callable[[], Awaitable[object]]) -> None:
        started = time.perf_counter()
        await work()
        self.figures[row].append(time.perf_counter() - started)

    def _bare(self, network: str) -> None:
        self._engine.cli("run", "--rm", f"--network={network}", self._engine.base(), "python", "-c", "pass")

    async def _spoken(
        self, driver: ContainerDriver, environment: Environment, names: list[str], boot: dict[str, str]
    ) -> None:
        await asyncio.gather(*(driver.start(name, environment, boot) for name in names))
        for _ in names:
            await self._heard.get()

    async def _hello(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The engine's side of a connection, as far as the first word."""
        await reader.read(1)
        self._heard.put_nowait("hello")
        await reader.read()
        writer.close()

    def _names(self, count: int) -> list[str]:
        self._number += count
        return [f"r{number}" for number in range(self._number - count, self._number)]


def report(figures: dict[str, list[float]]) -> str:
    bare = statistics.median(figures[BARE])
    lines = [f"{'measure':<48}{'figure':>10}{'ratio':>8}{'target':>8}"]
    for row, target in ROWS.items():
        figure = statistics.median(figures[row])
        lines.append(f"{row:<48}{figure * 1000:>7.0f} ms{figure / bare:>8.2f}{target and f'≤ {target}':>8}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    if reason := engines.missing("podman"):
        sys.exit(f"there is {reason}")
    with engines.running("podman") as engine, tempfile.TemporaryDirectory() as folder:
        os.environ["SAMOVAR_CONTAINER_SOCKET"] = str(engine.socket)
        engine.base()
        bench = Bench(engine)
        asyncio.run(bench.run(rounds, folder))
        print(report(bench.figures))


if __name__ == "__main__":
    main()
