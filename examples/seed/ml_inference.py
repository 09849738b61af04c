import flyte
from helpers import load_expensive_model  # the page leaves it out

ml_env = flyte.TaskEnvironment(
    name="ml-inference",
    resources=flyte.Resources(memory="4Gi", cpu="2", gpu="1"),
    reusable=flyte.ReusePolicy(replicas=2, idle_ttl=1800) # 30 minutes
)

# Model loaded once per container
model = None


@ml_env.task
async def predict(data: list[float]) -> float:
    global model
    if model is None:
        model = load_expensive_model() # Only happens once per container
    return model.predict(data)
