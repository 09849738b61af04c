"""The tasks that the journeys in containers run. A task that takes a ``gate`` goes on when this file is there."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Any

import samovar as flyte

KEPT = 300  # seconds: a pool stays for all tests of a module

crew = flyte.TaskEnvironment(
    name="crew", reusable=flyte.ReusePolicy(replicas=4, concurrency=4, idle_ttl=KEPT), network="none"
)
pair = flyte.TaskEnvironment(name="pair", reusable=flyte.ReusePolicy(replicas=2, idle_ttl=KEPT), network="none")
fresh = flyte.TaskEnvironment(name="fresh", network="none")
quick = flyte.TaskEnvironment(name="quick", reusable=flyte.ReusePolicy(replicas=(0, 2), idle_ttl=0.3), network="none")
bounded = flyte.TaskEnvironment(
    name="bounded",
    resources=flyte.Resources(memory="150Mi"),
    reusable=flyte.ReusePolicy(replicas=1, concurrency=8, idle_ttl=KEPT),
    network="none",
)
roomless = flyte.TaskEnvironment(
    name="roomless",
    resources=flyte.Resources(disk="8Mi"),
    reusable=flyte.ReusePolicy(replicas=1, idle_ttl=KEPT),
    network="none",
)
crowded = flyte.TaskEnvironment(
    name="crowded",
    resources=flyte.Resources(pids=40),
    reusable=flyte.ReusePolicy(replicas=1, idle_ttl=KEPT),
    network="none",
)
trusted = flyte.TaskEnvironment(
    name="trusted",
    secrets=[flyte.Secret("word"), flyte.Secret("file", group="door", mount="/etc/door")],
    reusable=flyte.ReusePolicy(replicas=1, idle_ttl=KEPT),
    network="none",
)
numeric = flyte.TaskEnvironment(
    name="numeric",
    image=flyte.Image.from_debian_base().with_pip_packages("scikit-learn"),  # a layer that examples/ has as well
    reusable=flyte.ReusePolicy(replicas=2, idle_ttl=KEPT),
    network="none",
)
analysts = flyte.TaskEnvironment(
    name="analysts",
    image=numeric.image,
    resources=flyte.Resources(memory="200Mi"),
    reusable=flyte.ReusePolicy(replicas=1, idle_ttl=KEPT),
    network="none",
)


async def is_open(gate: str) -> None:
    while not os.path.exists(gate):
        await asyncio.sleep(0.01)


@crew.task
async def square(x: int) -> int:
    await asyncio.sleep(0.01)
    return x * x


@pair.task
async def gated(gate: str, x: int) -> int:
    await is_open(gate)
    return x


@pair.task
async def second_life() -> str:
    """Ends its first attempt only with its replica."""
    attempt = flyte.ctx().attempt
    print(f"attempt {attempt} in {socket.gethostname()}")
    if attempt == 1:
        await asyncio.Event().wait()
    return socket.gethostname()


@pair.task
async def where() -> str:
    return socket.gethostname()


@fresh.task
async def alone() -> str:
    return socket.gethostname()


@fresh.task
async def children(count: int) -> list[str]:
    return list(await asyncio.gather(*(alone() for _ in range(count))))


@quick.task
async def quick_where() -> str:
    return socket.gethostname()


@pair.task
async def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


@crew.task
async def chatter(name: str) -> None:
    for number in range(3):
        print(f"{name} {number}")
        logging.getLogger("chatter").warning("log %s %d", name, number)
        await asyncio.sleep(0.01)
    print(f"{name} tail", end="")


@bounded.task
async def neighbour(x: int) -> tuple[int, int]:
    """Ends its first attempt only with its replica."""
    attempt = flyte.ctx().attempt
    if attempt == 1:
        await asyncio.Event().wait()
    return x, attempt


@bounded.task
async def hungry() -> int:
    return len(bytearray(b"x") * (400 << 20))


@roomless.task
def fill() -> None:
    with open("/tmp/full", "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))


@roomless.task
def filled() -> tuple[str, int]:
    return socket.gethostname(), os.stat("/tmp/full").st_size


@crowded.task
async def bomb() -> None:
    """Every process forks until none can."""
    main = os.getpid()
    while True:
        try:
            os.fork()
        except BlockingIOError:
            if os.getpid() == main:
                raise
            signal.pause()


@crowded.task
async def well(x: int) -> int:
    return x


@crowded.task
def well_in_a_thread(x: int) -> int:
    return x


@trusted.task
async def digests() -> tuple[str, str, str]:
    """Of both secrets, and where the one that is a file lies."""
    path = os.environ["DOOR_FILE"]
    return digest(os.environ["WORD"].encode()), digest(Path(path).read_bytes()), path


def digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


@numeric.task
async def doubled(array: Any) -> Any:
    return array * 2


@numeric.task
async def summed(array: Any) -> tuple[float, str]:
    array += 1  # it is the task's own
    return float(array.sum()), socket.gethostname()


@analysts.task
async def passed_on(size: int) -> tuple[float, str, str]:
    """Makes an array here, and sends it to another container, doubled and then summed."""
    import numpy  # in this image, and not in that of the other environments

    total, there = await summed(await doubled(numpy.ones(size)))
    return total, socket.gethostname(), there


@analysts.task
async def ones(size: int) -> tuple[Any, str]:
    import numpy  # as above

    return numpy.ones(size), socket.gethostname()
