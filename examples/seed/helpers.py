"""What the page's programs use and the page leaves out."""

from __future__ import annotations

import flyte

env = flyte.TaskEnvironment(name="task-design", reusable=flyte.ReusePolicy(replicas=2, idle_ttl=300))


class LinearModel:
    """Stands in for a model that takes long to load."""

    def __init__(self, weights: list[float], bias: float) -> None:
        self.weights = weights
        self.bias = bias

    def predict(self, data: list[float]) -> float:
        return self.bias + sum(weight * value for weight, value in zip(self.weights, data, strict=False))


def load_expensive_model() -> LinearModel:
    print("loading the model", flush=True)  # seen once a replica, however many predictions it makes
    return LinearModel([0.5, -1.0, 2.0], bias=1.0)


def transform(item: dict) -> int:
    return item["data"] * 2


def transform_data(data: dict) -> dict:
    return {key: str(value).upper() for key, value in data.items()}
