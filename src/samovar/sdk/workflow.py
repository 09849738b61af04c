"""``@workflow``: an orchestrator that needs no environment of its own and takes no slot of a pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from samovar.sdk.environment import TaskEnvironment
from samovar.sdk.task import P, R, Task

_environment = TaskEnvironment(name="workflow", description="The orchestrators that @workflow declares")


@overload
def workflow(function: Callable[P, R], /) -> Task[P, R]: ...


@overload
def workflow(function: None = None, /, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def workflow(function: Any = None, /, **options: Any) -> Any:
    """Declare a function as an orchestrator, bare or with the options of ``@env.task``; start it with ``run``."""
    declare = _environment.task(**options)
    return declare if function is None else declare(function)
