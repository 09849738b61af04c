"""A plain Python script that runs tasks: python examples/script.py"""

import asyncio

import samovar as flyte

env = flyte.TaskEnvironment(name="script", reusable=flyte.ReusePolicy(replicas=2))


@env.task
async def square(x: int) -> int:
    return x * x


@env.task
async def main(n: int) -> list[int]:
    return await asyncio.gather(*(square(x) for x in range(n)))


if __name__ == "__main__":
    run = flyte.run(main, n=10)
    print(run.outputs()[0])
