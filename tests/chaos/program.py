"""A run with everything that can be cut in two: nested parents, retries, failures, large results.

Each execution writes a line when it begins, with one call, so lines never mix.
"""

import asyncio
import os
import random
import time

import samovar as flyte

env = flyte.TaskEnvironment(name="chaos", reusable=flyte.ReusePolicy(replicas=2, concurrency=8, idle_ttl=600))


def began(folder: str, key: str) -> None:
    fd = os.open(os.path.join(folder, "began"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{time.time()} {os.getpid()} {key}\n".encode())
    os.close(fd)


async def work(key: str) -> None:
    await asyncio.sleep(random.Random(key).random() * 0.02)


@env.task
async def leaf(folder: str, key: str) -> str:
    began(folder, key)
    await work(key)
    return key


@env.task(retries=2)
async def node(folder: str, number: int) -> str:
    key = f"node {number}"
    began(folder, key)
    await work(key)
    if number % 7 == 3 and not os.path.exists(mark := os.path.join(folder, f"failed {number}")):
        open(mark, "w").close()
        raise RuntimeError(f"{key} fails once")
    if number % 11 == 5:
        raise flyte.errors.NonRecoverableError(f"{key} fails")
    if number % 5 == 0:
        keys = await asyncio.gather(*(leaf(folder, f"leaf {number}.{at}") for at in range(3)))
        assert keys == [f"leaf {number}.{at}" for at in range(3)]
    return key


@env.task
async def main(folder: str, nodes: int) -> list[str]:
    began(folder, "main")
    found = await asyncio.gather(*(node(folder, number) for number in range(nodes)), return_exceptions=True)
    return [str(one) for one in found]
