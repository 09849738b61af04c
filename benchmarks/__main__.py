"""Everything in one run: each measure as a figure and as a ratio to a raw floor that is measured beside it.

``python3 dev.py bench`` or ``python -m benchmarks``; ``--quick`` for a small version. Figures are medians.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import samovar as flyte
from benchmarks import tasks
from samovar.host import open_host

HERE = Path(__file__).parent


def identity(x: int) -> int:
    return x


def median_of(times: int, measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(times))


def raw_round_trip(n: int) -> float:
    """Two processes on different cores, one Unix socket, blocking, 100 bytes."""
    here, there = socket.socketpair()
    cores = sorted(os.sched_getaffinity(0))
    child = os.fork()
    if child == 0:
        os.sched_setaffinity(0, {cores[-1]})
        here.close()
        while data := there.recv(100):
            there.send(data)
        os._exit(0)
    there.close()
    os.sched_setaffinity(0, {cores[0]})
    took = []
    for _ in range(n):
        began = time.perf_counter()
        here.send(b"x" * 100)
        here.recv(100)
        took.append(time.perf_counter() - began)
    here.close()
    os.waitpid(child, 0)
    os.sched_setaffinity(0, cores)
    return statistics.median(took)


def shared_memory_copy(array: np.ndarray) -> float:
    """One array into a tmpfs file and mapped, twice: there and back."""
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    began = time.perf_counter()
    for _ in range(2):
        with tempfile.NamedTemporaryFile(dir=base) as file:
            file.write(array.data)
            file.flush()
            np.memmap(file.name, dtype=array.dtype, mode="c").sum()
    return time.perf_counter() - began


def sequential(call: Callable[[int], object], n: int) -> float:
    took = []
    for i in range(n):
        began = time.perf_counter()
        call(i)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def script_loop(n: int) -> float:
    began = time.perf_counter()
    runs = [flyte.run(tasks.tiny, i) for i in range(n)]
    for run in runs:
        run.result()
    return n / (time.perf_counter() - began)


def script_gather(n: int) -> float:
    async def main() -> float:
        began = time.perf_counter()
        runs = await asyncio.gather(*[flyte.run.aio(tasks.tiny, i) for i in range(n)])
        await asyncio.gather(*[run.result.aio() for run in runs])
        return n / (time.perf_counter() - began)

    return asyncio.run(main())


def inside(n: int) -> float:
    return n / flyte.run(tasks.fan, n).result()


def there_and_back(array: np.ndarray) -> float:
    began = time.perf_counter()
    flyte.run(tasks.echo, array).result()
    return time.perf_counter() - began


def whole_program(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True)
    return time.perf_counter() - began


def memory(pid: int) -> float:
    """Proportional set size in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


class Table:
    def __init__(self) -> None:
        print(f"{'measure':<58}{'figure':>14}{'ratio':>9}  {'target':<14}to what", flush=True)

    def row(self, name: str, figure: str, ratio: float | None, target: str = "", to: str = "") -> None:
        shown = f"{ratio:.2f}" if ratio is not None else ""
        print(f"{name:<58}{figure:>14}{shown:>9}  {target:<14}{to}", flush=True)


def peers(table: Table, floor: float, n: int) -> None:
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        pool.apply(identity, (1,))
        trip = sequential(lambda i: pool.apply(identity, (i,)), 500)
        began = time.perf_counter()
        pool.map(identity, range(n), chunksize=1)
        rate = n / (time.perf_counter() - began)
    table.row("multiprocessing.Pool: round trip", f"{trip * 1e6:.0f} µs", trip / floor, "", "raw socket")
    table.row("multiprocessing.Pool: tiny tasks", f"{rate:,.0f} /s", None)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        executor.submit(identity, 1).result()
        trip = sequential(lambda i: executor.submit(identity, i).result(), 500)
        began = time.perf_counter()
        for future in [executor.submit(identity, i) for i in range(n)]:
            future.result()
        rate = n / (time.perf_counter() - began)
    table.row("ProcessPoolExecutor: round trip", f"{trip * 1e6:.0f} µs", trip / floor, "", "raw socket")
    table.row("ProcessPoolExecutor: tiny tasks", f"{rate:,.0f} /s", None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work; the figures mean little")
    quick = parser.parse_args().quick
    n, rounds, trips = (2_000, 1, 300) if quick else (20_000, 5, 3_000)
    table = Table()
    floor = raw_round_trip(trips)
    table.row("raw socket: round trip", f"{floor * 1e6:.0f} µs", 1.0)
    peers(table, floor, min(n, 5000))  # these fork, so before the engine has threads

    first = median_of(rounds, lambda: whole_program(str(HERE / "first_result.py")))
    bare = median_of(rounds, lambda: whole_program("-c", "pass"))
    table.row(
        "from nothing to the first result, imports included", f"{first:.3f} s", first / bare, "0.35 s", "python -c pass"
    )

    host = open_host()
    flyte.run(tasks.fan, 1000).wait()
    trip = sequential(lambda i: flyte.run(tasks.tiny, i).result(), trips)
    table.row("script → task: warm round trip, p50", f"{trip * 1e6:.0f} µs", trip / floor, "120 µs", "raw socket")
    hops = statistics.median(flyte.run(tasks.round_trips, trips).result())
    table.row("task → task: two hops, p50", f"{hops * 1e6:.0f} µs", hops / floor, "170 µs", "raw socket")

    rate = median_of(rounds, lambda: script_loop(n))
    table.row(
        f"{n:,} tiny tasks from a script, run() in a loop",
        f"{rate:,.0f} /s",
        rate * floor,
        "50,000 /s",
        "sequential raw trips",
    )
    rate = median_of(rounds, lambda: script_gather(n))
    table.row(
        f"{n:,} tiny tasks from a script, gathered",
        f"{rate:,.0f} /s",
        rate * floor,
        "50,000 /s",
        "sequential raw trips",
    )
    reference = 0.0
    for size in (n // 20, n, n * 10):
        rate = median_of(rounds if size <= n else 1, lambda size=size: inside(size))  # type: ignore[misc]
        reference = reference or rate
        table.row(
            f"{size:,} tiny tasks gathered inside a task",
            f"{rate:,.0f} /s",
            reference / rate,
            "30,000 /s",
            "cost of the first size",
        )

    naps = median_of(min(rounds, 3), lambda: flyte.run(tasks.naps, 200 if quick else 1000).result())
    ideal = 0.1 if quick else 0.5
    table.row("asyncio.sleep(0.1) on replicas=2, concurrency=100", f"{naps:.3f} s", naps / ideal, "0.55 s", "ideal")

    array = np.ones((10 if quick else 100) * 2**20 // 8)
    copied = median_of(rounds, lambda: shared_memory_copy(array))
    back = median_of(rounds, lambda: there_and_back(array))
    table.row(
        f"an array of {array.nbytes >> 20} MB there and back",
        f"{back:.3f} s",
        back / copied,
        "0.1 s",
        "two copies into shared memory",
    )

    lean = whole_memory()
    table.row("memory of an engine beside its replicas", f"{lean[0]:.0f} MB", None, "60 MB")
    table.row("memory of a replica", f"{lean[1]:.0f} MB", None, "30 MB")
    host.close()


def whole_memory() -> tuple[float, float]:
    """An engine and its replicas in a program that imports nothing else, asked from outside."""
    program = (
        "import sys, os; sys.path.insert(0, sys.argv[1]); import first_result, samovar; "
        "samovar.run(first_result.one).result(); print('ready', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(HERE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    replicas = [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_child(entry, process.pid)
    ]
    found = memory(process.pid), statistics.median(map(memory, replicas))
    process.stdin.close()
    process.wait(30)
    process.stdout.close()
    return found


def _is_child(entry: Path, parent: int) -> bool:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent
    except OSError:
        return False


if __name__ == "__main__":
    main()
