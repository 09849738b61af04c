"""A task: a Python function that is called like one and runs elsewhere.

Outside of a task a call is a plain call of the function. Inside one it goes to the engine: it is bound and checked
here, in the caller, so that a wrong call fails where it stands. What carries it out is ``controller``.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
from asyncio.events import _get_running_loop
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar

from samovar import errors
from samovar.model import TaskSpec
from samovar.sdk import bundle, context
from samovar.sdk.interface import Interface
from samovar.sdk.policies import to_retry, to_timeouts
from samovar.sdk.reuse import ReusePolicy
from samovar.sdk.trace import refuse_if_traced, tracing

if TYPE_CHECKING:
    from samovar.sdk.caching import CachePlan
    from samovar.sdk.environment import TaskEnvironment

P = ParamSpec("P")
R = TypeVar("R")

_NEVER = ("name", "image", "docs", "interface")
_CONTAINER = ("resources", "env_vars", "secrets")


@dataclass(frozen=True)
class TaskOptions:
    """What ``@env.task(…)`` and ``override(…)`` say about one task; None: as the environment says."""

    short_name: str | None = None
    cache: Any = None
    retries: Any = 0  # int | RetryStrategy
    timeout: Any = 0  # seconds | timedelta | Timeout
    docs: Any = None
    pod_template: Any = None
    report: bool = False
    interruptible: bool | None = None
    max_inline_io_bytes: int = 10 * 1024 * 1024
    queue: str | None = None
    triggers: Any = ()
    links: Any = ()
    entrypoint: bool = False
    resources: Any = None
    env_vars: dict[str, str] | None = None
    secrets: Any = None
    reusable: ReusePolicy | Literal["off"] | None = None

    def __post_init__(self) -> None:
        size = self.max_inline_io_bytes
        if isinstance(size, bool) or not isinstance(size, int) or size <= 0:
            raise ValueError(f"max_inline_io_bytes must be a positive number of bytes, not {size!r}")


_OPTIONS = frozenset(field.name for field in fields(TaskOptions))


class Task(Generic[P, R]):
    """Made by ``@env.task``. ``spec`` is what an engine knows of it."""

    def __init__(
        self,
        fn: Callable[P, R],
        environment: TaskEnvironment,
        options: TaskOptions,
        overrides: dict[str, Any] | None = None,
    ) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.environment = environment
        self.options = options
        self.overrides = overrides or {}
        self.name = f"{environment.name}.{fn.__name__}"
        self.is_async = inspect.iscoroutinefunction(fn)
        self.interface = Interface(fn, self.name)
        self.reusable: ReusePolicy | None = environment.reusable
        if options.reusable is not None:
            self.reusable = None if options.reusable == "off" else options.reusable
        self._validate()
        to_retry(options.retries), to_timeouts(options.timeout)  # a bad value is told where it is written
        self.cache = self._cache_plan()
        self._spec: TaskSpec | None = None

    @property
    def short_name(self) -> str:
        return self.options.short_name or self.fn.__name__

    @property
    def func(self) -> Callable[P, R]:
        """The function; Flyte's name for it."""
        return self.fn

    @property
    def spec(self) -> TaskSpec:
        """The task as an engine sees it, built once."""
        if self._spec is None:
            options = self.options
            self._spec = TaskSpec(
                name=self.name,
                module=bundle.module_of(self.fn.__module__),
                qualname=self.fn.__qualname__,
                environment=self.environment.describe(options, self.reusable),
                retry=to_retry(options.retries),
                timeouts=to_timeouts(options.timeout),
                max_inline_io_bytes=options.max_inline_io_bytes,
            )
        return self._spec

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The inputs of a call, complete and checked. TypeError, RuntimeDataValidationError."""
        return self.interface.bind(args, kwargs)

    def check_output(self, value: Any) -> None:
        """RuntimeDataValidationError: the result is not what the return annotation says."""
        self.interface.check_output(value)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._call(args, kwargs)  # type: ignore[no-any-return]

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        execution = context.current.get()
        if execution is None:
            return self.fn(*args, **kwargs)
        if tracing.get():
            refuse_if_traced(self.name)
        running = _get_running_loop() is not None
        if self.is_async:
            if not running:
                return self._call_later(args, kwargs)
            return execution.controller.call(self, self.interface.bind(args, kwargs), execution.group)
        if running:
            raise errors.SyncTaskCallInAsyncContextError(
                f"the sync task {self.name!r} is called from async code, which it would block; "
                f"write `await {self.fn.__name__}.aio(…)`"
            )
        return execution.controller.call_blocking(self, self.bind(args, kwargs), execution.group)

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[Any]:
        """Call it from async code, whether it is async or sync."""
        execution = context.current.get()
        if execution is None:
            if self.is_async:
                return self.fn(*args, **kwargs)  # type: ignore[return-value]
            return asyncio.to_thread(self.fn, *args, **kwargs)
        if tracing.get():
            refuse_if_traced(self.name)
        if _get_running_loop() is None:
            return self._call_later(args, kwargs)
        return execution.controller.call(self, self.interface.bind(args, kwargs), execution.group)

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, here and now."""
        return self.fn(*args, **kwargs)

    def override(self, **changes: Any) -> Task[P, R]:
        """The same task with other options.

        ValueError: name, image, docs and interface are the task's own; resources, env_vars and secrets make another
        container, so on a reusable task they need ``reusable="off"`` in the same call.
        """
        for name in _NEVER:
            if name in changes:
                raise ValueError(f"task {self.name!r}: {name} cannot be overridden")
        unknown = sorted(set(changes) - _OPTIONS)
        if unknown:
            raise TypeError(f"task {self.name!r}: override() has no parameter {', '.join(unknown)}")
        given = {name: value for name, value in changes.items() if value is not None}
        reusable = given.get("reusable")
        if reusable is not None and reusable != "off" and not isinstance(reusable, ReusePolicy):
            raise ValueError(f"task {self.name!r}: reusable must be a ReusePolicy or 'off', not {reusable!r}")
        container = [name for name in _CONTAINER if name in given]
        if container and reusable != "off" and (self.reusable is not None or reusable is not None):
            raise ValueError(
                f"task {self.name!r}: {', '.join(container)} cannot be overridden on a reusable task, whose replicas "
                "run already; add reusable='off' to run this call in a container of its own"
            )
        return Task(self.fn, self.environment, replace(self.options, **given), {**self.overrides, **given})

    def with_env_vars(self, env_vars: dict[str, str]) -> Task[P, R]:
        """The same task with more environment variables, for a whole run (``with_runcontext``)."""
        merged = {**(self.environment.env_vars or {}), **(self.options.env_vars or {}), **env_vars}
        return Task(self.fn, self.environment, replace(self.options, env_vars=merged), {**self.overrides})

    def _call_later(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """A call that is made when it is awaited; wrong arguments are told now."""
        inputs = self.bind(args, kwargs)

        async def call() -> Any:
            execution = context.current.get()
            if execution is None:
                raise errors.NotInTaskContextError(f"the call of {self.name!r} was awaited outside of its task")
            return await execution.controller.call(self, inputs, execution.group)

        return call()

    def _cache_plan(self) -> CachePlan | None:
        asked = self.environment.cache if self.options.cache is None else self.options.cache
        if asked == "disable":
            return None
        from samovar.sdk import caching  # only for cached tasks: declaring others stays light

        params = caching.VersionParameters(self.fn, self.environment.image)
        names = None if self.interface.takes_any_name else self.interface.names
        return caching.plan_of(asked, self.name, params, names)

    def _validate(self) -> None:
        if self.reusable is None:
            return
        if self.environment.pod_template is not None or self.options.pod_template is not None:
            raise ValueError(f"task {self.name!r}: a reusable task cannot have a pod_template; drop one of the two")
        if self.reusable.concurrency > 1 and not self.is_async:
            raise ValueError(
                f"task {self.name!r} is a sync function, but its environment runs {self.reusable.concurrency} "
                "executions at a time in one replica, on one event loop that a sync function would block; "
                "make it `async def`, or set concurrency=1"
            )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise errors.NotSupportedError(f"Task.{name} is not part of samovar")

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        """By reference where the module has it, so that a pickled task stays the task of its module."""
        module, qualname = bundle.module_of(self.fn.__module__), self.fn.__qualname__
        try:
            found = _resolve(module, qualname)
        except (ImportError, AttributeError, errors.InitializationError):
            found = None
        if isinstance(found, Task) and found.fn is self.fn:
            return _restore, (module, qualname, self.overrides)
        return object.__reduce_ex__(self, protocol)


def _resolve(module: str, qualname: str) -> Any:
    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return found


def _restore(module: str, qualname: str, overrides: dict[str, Any]) -> Any:
    task = _resolve(module, qualname)
    if not overrides:
        return task
    return Task(task.fn, task.environment, replace(task.options, **overrides), overrides)
