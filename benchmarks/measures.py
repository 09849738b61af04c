"""One measure in a process of its own: ``python measures.py NAME SIZE`` prints its figures, in seconds, as JSON.

Each figure is a list: one entry a round.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import multiprocessing
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

Figures = dict[str, list[float]]


@dataclass(frozen=True)
class Size:
    calls: int  # one after the other, for a p50
    many: int  # gathered
    fans: tuple[int, ...]  # gathered inside a task, each to be compared with the first
    naps: int
    array: int  # numbers of 8 bytes
    rounds: int


SIZES = {
    "full": Size(2000, 20_000, (1_000, 20_000, 200_000), 1_000, 12_500_000, 5),
    "quick": Size(200, 1_000, (200, 1_000, 2_000), 200, 1_250_000, 1),
}


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def p50(count: int, call: Callable[[int], Any]) -> float:
    return statistics.median(seconds(lambda number=number: call(number)) for number in range(count))


# floors


def floor(size: Size) -> Figures:
    """Two processes, one Unix socket, blocking, 100 bytes there and back, each process on a core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        os.sched_setaffinity(0, {cores[-1]})
        here.close()
        while message := there.recv(100):
            there.sendall(message)
        os._exit(0)
    there.close()
    os.sched_setaffinity(0, {cores[0]})
    message = b"x" * 100

    def call(_: int) -> None:
        here.sendall(message)
        here.recv(100)

    p50(size.calls // 4, call)
    figures = {"floor": [p50(size.calls, call)]}
    here.close()
    os.waitpid(child, 0)
    return figures


def copy(size: Size) -> Figures:
    """The array written to a file on a tmpfs and mapped, twice: there and back."""
    array = numbers(size)
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="bench-", dir=base)

    def through_a_file(value: Any) -> Any:
        path = os.path.join(folder, "blob")
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        rest = memoryview(value).cast("B")
        while rest:
            rest = rest[os.write(fd, rest) :]
        mapped = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        os.close(fd)
        os.unlink(path)
        return mapped

    try:
        return {"copy": [seconds(lambda: through_a_file(through_a_file(array))) for _ in range(size.rounds + 2)]}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def numbers(size: Size) -> Any:
    import numpy

    return numpy.arange(size.array, dtype="float64")


# samovar


def warm() -> None:
    """Both replicas are up and have worked."""
    from tasks import nap, tiny

    import samovar

    for run in [samovar.run(nap, 0.3) for _ in range(200)]:
        run.outputs()
    for run in [samovar.run(tiny, number) for number in range(500)]:
        run.outputs()


def call(size: Size) -> Figures:
    from tasks import ping_pong, tiny

    import samovar

    warm()
    p50(size.calls // 4, lambda number: samovar.run(tiny, number).outputs())
    samovar.run(ping_pong, size.calls // 4).outputs()
    return {
        "script_call": [p50(size.calls, lambda number: samovar.run(tiny, number).outputs())],
        "task_call": [statistics.median(samovar.run(ping_pong, size.calls).outputs()[0])],
    }


def gather(size: Size) -> Figures:
    from tasks import tiny

    import samovar

    expected = [(number,) for number in range(size.many)]

    async def gathered() -> None:
        runs = await asyncio.gather(*[samovar.run.aio(tiny, number) for number in range(size.many)])
        assert await asyncio.gather(*[run.outputs.aio() for run in runs]) == expected

    def looped() -> None:
        runs = [samovar.run(tiny, number) for number in range(size.many)]
        assert [run.outputs() for run in runs] == expected

    warm()
    looped()
    figures: Figures = {"script_gather": [], "script_loop": []}
    for _ in range(size.rounds):
        figures["script_gather"].append(seconds(lambda: asyncio.run(gathered())) / size.many)
        figures["script_loop"].append(seconds(looped) / size.many)
    return figures


def fan(size: Size) -> Figures:
    from tasks import fan as gathered

    import samovar

    warm()
    samovar.run(gathered, size.fans[1]).outputs()
    figures: Figures = {f"fan_{position}": [] for position in range(len(size.fans))}
    for turn in range(size.rounds):
        for position, count in enumerate(size.fans):
            if position < 2 or turn < 3:  # the largest takes seconds
                figures[f"fan_{position}"].append(samovar.run(gathered, count).outputs()[0] / count)
    return figures


def naps(size: Size) -> Figures:
    from tasks import nap

    import samovar

    async def gathered() -> None:
        runs = await asyncio.gather(*[samovar.run.aio(nap, 0.1) for _ in range(size.naps)])
        await asyncio.gather(*[run.outputs.aio() for run in runs])

    warm()
    return {"naps": [seconds(lambda: asyncio.run(gathered())) for _ in range(size.rounds)]}


def array(size: Size) -> Figures:
    from tasks import same

    import samovar

    value = numbers(size)

    def there_and_back() -> None:
        back = samovar.run(same, value).outputs()[0]
        assert back.shape == value.shape
        assert back[-1] == value[-1]

    warm()
    for _ in range(3):
        there_and_back()
    return {"array": [seconds(there_and_back) for _ in range(size.rounds + 2)]}


# peers


def identity(x: int) -> int:
    return x


def pool(size: Size) -> Figures:
    expected = list(range(size.many))
    with multiprocessing.Pool(2) as peers:
        p50(size.calls // 4, lambda number: peers.apply(identity, (number,)))
        one = p50(size.calls, lambda number: peers.apply(identity, (number,)))

        def gathered() -> None:
            assert peers.map(identity, expected, chunksize=1) == expected

        return {"pool_call": [one], "pool_many": [seconds(gathered) / size.many]}


def executor(size: Size) -> Figures:
    expected = list(range(size.many))
    with ProcessPoolExecutor(2) as peers:
        p50(size.calls // 4, lambda number: peers.submit(identity, number).result())
        one = p50(size.calls, lambda number: peers.submit(identity, number).result())

        def gathered() -> None:
            futures = [peers.submit(identity, number) for number in expected]
            assert [future.result() for future in futures] == expected

        return {"executor_call": [one], "executor_many": [seconds(gathered) / size.many]}


MEASURES = {made.__name__: made for made in (floor, call, gather, fan, naps, array, copy, pool, executor)}

if __name__ == "__main__":
    print(json.dumps(MEASURES[sys.argv[1]](SIZES[sys.argv[2]])))
