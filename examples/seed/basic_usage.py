import flyte

# Currently required to enable resuable containers
reusable_image = flyte.Image.from_debian_base().with_pip_packages("unionai-reuse>=0.1.3")

env = flyte.TaskEnvironment(
    name="reusable-env",
    resources=flyte.Resources(memory="1Gi", cpu="500m"),
    reusable=flyte.ReusePolicy(
        replicas=2, # Number of container instances
        idle_ttl=300 # 5 minutes idle timeout
    ),
    image=reusable_image # Use the container image augmented with the unionai-reuse library.
)


@env.task
async def compute_task(x: int) -> int:
    return x * x


@env.task
async def main() -> list[int]:
    # These tasks will reuse containers from the pool
    results = []
    for i in range(10):
        result = await compute_task(i)
        results.append(result)
    return results
