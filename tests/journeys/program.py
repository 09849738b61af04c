"""The tasks that the journeys run."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import pathlib
import signal
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydantic

import samovar as flyte
from samovar import errors

pair = flyte.TaskEnvironment(name="pair", reusable=flyte.ReusePolicy(replicas=2, concurrency=50))
single = flyte.TaskEnvironment(name="single", reusable=flyte.ReusePolicy(replicas=1))
sync = flyte.TaskEnvironment(name="sync", reusable=flyte.ReusePolicy(replicas=2))
quick = flyte.TaskEnvironment(name="quick", reusable=flyte.ReusePolicy(replicas=(0, 2), idle_ttl=0.3))
fresh = flyte.TaskEnvironment(name="fresh")
fragile = flyte.TaskEnvironment(name="fragile", reusable=flyte.ReusePolicy(replicas=2, concurrency=4))
small = flyte.TaskEnvironment(
    name="small",
    reusable=flyte.ReusePolicy(replicas=1),
    resources=flyte.Resources(memory="200Mi"),
    env_vars={"COLOUR": "green"},
)
own = flyte.TaskEnvironment(name="own", reusable=flyte.ReusePolicy(replicas=1, scope="run"))
missing = flyte.TaskEnvironment(
    name="missing",
    reusable=flyte.ReusePolicy(replicas=1),
    image=flyte.Image.from_debian_base().with_pip_packages("samovar-has-no-such-package==99"),
)


@dataclass
class Point:
    x: int
    tags: list[str]


class Model(pydantic.BaseModel):
    name: str
    score: float


@pair.task
async def square(x: int) -> int:
    return x * x


@pair.task
async def slow_square(x: int, seconds: float) -> int:
    await asyncio.sleep(seconds)
    return x * x


@pair.task
async def squares(n: int) -> list[int]:
    return list(await asyncio.gather(*[square(x=i) for i in range(n)]))


@pair.task
async def grouped(n: int) -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(square(i)) for i in range(n)]
    return [task.result() for task in tasks]


@pair.task
async def first_come(n: int) -> set[int]:
    return {await done for done in asyncio.as_completed([square(i) for i in range(n)])}


@pair.task
async def mapped(n: int) -> list[int]:
    return [value async for value in flyte.map.aio(square, range(n))]


@sync.task
def half(x: int) -> float:
    return x / 2


@sync.task
def halves(n: int) -> list[float]:
    return list(flyte.map(half, range(n)))


@sync.task
def sync_depth(n: int) -> int:
    return 0 if n == 0 else 1 + sync_depth(n - 1)


@single.task
async def depth(n: int) -> int:
    return 0 if n == 0 else 1 + await depth(n - 1)


loads = 0


@single.task
async def warm() -> tuple[int, int]:
    global loads
    loads += 1
    return os.getpid(), loads


@fresh.task
async def cold() -> tuple[int, int]:
    global loads
    loads += 1
    return os.getpid(), loads


@fresh.task
async def cold_children(n: int) -> int:
    return len({pid for pid, _ in await asyncio.gather(*[cold() for _ in range(n)])})


@quick.task
async def pid() -> int:
    return os.getpid()


@pair.task
async def echo(value: Any) -> Any:
    return value


@pair.task
async def typed(point: Point, model: Model, array: np.ndarray) -> Point:
    return Point(point.x + int(array.sum()), [*point.tags, model.name])


@pair.task
async def wrong_output() -> int:
    return "seven"  # type: ignore[return-value]


@pair.task
async def unpicklable() -> Any:
    return (i for i in range(3))


@pair.task
async def chatter(name: str) -> None:
    for i in range(3):
        print(f"{name} {i}")
        logging.getLogger("chatter").warning("log %s %d", name, i)
        await asyncio.sleep(0.01)
    print(f"{name} tail", end="")


class Sealed(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("cannot be pickled")


@pair.task
async def raises(kind: str) -> None:
    if kind == "value":
        raise ValueError("no good")
    if kind == "sealed":
        raise Sealed("closed")
    raise errors.NonRecoverableError("stop here")


@pair.task
async def catches() -> str:
    try:
        await raises("value")
    except errors.RuntimeUserError as error:
        return f"{error.code}: {error}"
    return "nothing"


@pair.task(retries=3)
async def third_time(path: str) -> int:
    tries = pathlib.Path(path)
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if len(tries.read_text()) < 3:
        raise ValueError("not yet")
    assert flyte.ctx().attempt == 3
    return len(tries.read_text())


@pair.task(timeout=0.3)
async def too_slow() -> None:
    await asyncio.sleep(60)


@fragile.task
async def dies(how: str) -> None:
    if how == "exit":
        os._exit(1)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    ctypes.string_at(0)


@fragile.task
async def dies_once(path: str) -> str:
    if not pathlib.Path(path).exists():
        pathlib.Path(path).touch()
        os._exit(3)
    return "second life"


@fragile.task
async def steady(x: int) -> int:
    await asyncio.sleep(0.3)
    return x


@fragile.task
async def blocks() -> None:
    time.sleep(120)


@fragile.task
async def fragile_pid() -> int:
    return os.getpid()


@small.task
def hungry(mib: int) -> int:
    return len(bytearray(os.urandom(1024 * 1024)) * mib)


@small.task
def colour() -> str:
    return os.environ["COLOUR"]


@missing.task
async def never() -> None: ...


@pair.task
async def sleeps(seconds: float) -> None:
    await asyncio.sleep(seconds)


@pair.task
async def parent_of_sleepers(path: str) -> None:
    await asyncio.gather(*[marks(path, i) for i in range(3)])


@pair.task
async def marks(path: str, i: int) -> None:
    began, ended = (pathlib.Path(path) / f"{i} {what}" for what in ("began", "ended"))
    began.touch()
    try:
        await asyncio.sleep(60)
    finally:
        ended.touch()


@pair.task
async def abandons(path: str) -> str:
    child = asyncio.ensure_future(marks(path, 7))
    while not (pathlib.Path(path) / "7 began").exists():
        await asyncio.sleep(0.01)
    child.cancel()
    return "left"


@sync.task
def calls_async() -> int:
    async def both() -> list[int]:
        return list(await asyncio.gather(square(2), square(3)))

    return sum(asyncio.run(both()))


@pair.task
async def family() -> tuple[int, int]:
    return os.getpid(), await elsewhere()


@pair.task
async def elsewhere() -> int:
    return os.getpid()


@own.task
async def own_pid() -> int:
    return os.getpid()


@flyte.workflow
async def flow(n: int) -> list[int]:
    return await flyte.map_task(square)(x=list(range(n)))
