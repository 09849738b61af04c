import flyte
from helpers import env, transform_data  # the page leaves them out

reuse_policy = flyte.ReusePolicy(
    replicas=3,
    idle_ttl=600 # 10 minutes
)


# ✅ Good: Stateless task
@env.task
async def process_data(data: dict) -> dict:
    result = transform_data(data) # No side effects
    return result


# ❌ Avoid: Tasks with global state
cache = {} # Global state


@env.task
async def stateful_task(data: dict) -> dict:
    cache[data["id"]] = data # State leaks between executions
    return data


# Right-sized for workload
env = flyte.TaskEnvironment(
    name="optimized",
    resources=flyte.Resources(memory="1Gi", cpu="500m"),
    reusable=flyte.ReusePolicy(
        replicas=3, # Based on expected load
        idle_ttl=600 # Reasonable cleanup interval
    )
)
