"""A host of containers for tests: calls in, results, what tasks wrote and figures of pools out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from samovar.core.pool import PoolStats
from samovar.host.embedded import EmbeddedHost
from samovar.host.handle import Handle
from samovar.sdk.environment import TaskEnvironment
from samovar.sdk.task import Task

SECONDS = 60.0  # the bound of every wait


class Hosted:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []  # (label of the execution, stream, text)
        self.embedded = EmbeddedHost(print, lambda *said: self.seen.append(said), "container")

    def start(self, task: Task[Any, Any], **inputs: Any) -> Handle:
        return self.embedded.start(task, task.bind((), inputs))

    def result(self, task: Task[Any, Any], **inputs: Any) -> Any:
        return self.start(task, **inputs).wait(SECONDS)

    def pool(self, environment: TaskEnvironment) -> PoolStats:
        """The figures of the one pool of this environment."""
        (found,) = [stats for stats in self.embedded.stats() if stats.name.startswith(f"{environment.name}@")]
        return found

    def is_whole(self, environment: TaskEnvironment) -> bool:
        """Whether as many replicas serve as the policy says, none starts and none goes."""
        assert environment.reusable is not None
        pool = self.pool(environment)
        return (pool.starting, pool.ready, pool.draining) == (0, environment.reusable.max_replicas, 0)

    def text(self, stream: str = "stdout", label: str = "") -> str:
        """What executions wrote whose label has ``label`` in it."""
        return "".join(text for who, where, text in self.seen if where == stream and label in who)


@contextlib.contextmanager
def hosted() -> Iterator[Hosted]:
    here = Hosted()
    try:
        yield here
    finally:
        here.embedded.close()


def until(condition: Callable[[], object]) -> None:
    """Wait for ``condition``; fail when it does not come true."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
