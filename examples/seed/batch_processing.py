import flyte
from helpers import transform  # the page leaves it out

batch_env = flyte.TaskEnvironment(
    name="batch-processor",
    reusable=flyte.ReusePolicy(
        replicas=4,
        idle_ttl=300
    )
)


@batch_env.task
async def process_item(item: dict) -> dict:
    return {"processed": item["data"], "result": transform(item)}


@flyte.workflow
async def batch_workflow(items: list[dict]) -> list[dict]:
    results = await flyte.map_task(process_item)(item=items)
    return results
