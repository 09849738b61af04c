"""A scikit-learn model, trained while the image is built, loaded once by each container, asked for 150 flowers.

samovar run --driver container examples/containers/iris.py main
"""

import asyncio
import socket
from pathlib import Path

import flyte

image = (
    flyte.Image.from_debian_base()
    .with_pip_packages("scikit-learn")
    .with_source_file(Path(__file__).with_name("iris_train.py"), "/opt/iris/")
    .with_commands("python /opt/iris/iris_train.py /opt/iris/model.joblib")
)
env = flyte.TaskEnvironment(
    name="iris",
    image=image,
    resources=flyte.Resources(memory="512Mi"),
    reusable=flyte.ReusePolicy(replicas=2, idle_ttl=60),
    network="none",
)

model = None


def load_model():
    import joblib  # here and below: the image has it, the machine that runs the command need not

    print(f"loading the model in {socket.gethostname()}")
    return joblib.load("/opt/iris/model.joblib")


@env.task
async def predict(flower: list[float]) -> tuple[int, str]:
    """The species of a flower, and the container that says so."""
    global model
    if model is None:
        model = load_model()  # only happens once per container
    return int(model.predict([flower])[0]), socket.gethostname()


@env.task
async def main() -> list[tuple[int, str]]:
    from sklearn.datasets import load_iris

    return await asyncio.gather(*(predict(flower) for flower in load_iris().data.tolist()))
