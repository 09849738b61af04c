"""A thousand calls at once on two replicas that each run a hundred of them side by side.

samovar run examples/fan_out.py main
"""

import asyncio

import flyte

env = flyte.TaskEnvironment(name="fan-out", reusable=flyte.ReusePolicy(replicas=2, concurrency=100))


@env.task
async def square(x: int) -> int:
    await asyncio.sleep(0.01)
    return x * x


@env.task
async def main(n: int = 1000) -> int:
    return sum(await asyncio.gather(*(square(x) for x in range(n))))
