"""From nothing to the first result of a pool of two: the whole program is timed."""

import samovar as flyte

env = flyte.TaskEnvironment(name="first", reusable=flyte.ReusePolicy(replicas=2))


@env.task
async def one() -> int:
    return 1


if __name__ == "__main__":
    assert flyte.run(one).result() == 1
