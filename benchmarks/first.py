"""The smallest program with a pool of two. With an argument it names its replicas, then waits until stdin is closed."""

import asyncio
import os
import sys

import samovar

env = samovar.TaskEnvironment("first", reusable=samovar.ReusePolicy(replicas=2, concurrency=2))


@env.task
async def pid(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()


if __name__ == "__main__":
    print(samovar.run(pid, 0.0).outputs()[0], flush=True)
    if len(sys.argv) > 1:
        seen: set[int] = set()
        while len(seen) < 2:
            seen |= {run.outputs()[0] for run in [samovar.run(pid, 0.05) for _ in range(4)]}
        print(*seen, flush=True)
        sys.stdin.read()
