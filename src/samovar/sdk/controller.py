"""The port between a call of a task and whoever carries it out.

Inside a task, ``call`` and ``call_blocking`` are the replica's link to its engine (``samovar.runtime``). In a
script, ``start`` is the engine of the process (``samovar.host``). The SDK itself neither pickles nor does I/O.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from samovar.model import Caching, Phase
    from samovar.sdk.task import Task


class Controller(Protocol):
    """Inside a task: the way to the engine."""

    def call(self, task: Task[Any, Any], inputs: dict[str, Any], group: str) -> Awaitable[Any]:
        """Submit at once; needs a running event loop. The result is a future that is also a coroutine."""
        ...

    def recall(self, execution: Execution, key: str) -> Recalled | None:
        """What a traced call came to in an attempt before this one; None: it is to be made."""
        ...

    def record(self, execution: Execution, traced: Traced) -> None:
        """Write down what a traced call has come to."""
        ...

    def call_blocking(self, task: Task[Any, Any], inputs: dict[str, Any], group: str) -> Any:
        """Submit, wait, and return the result; for sync code."""
        ...


class Recalled(NamedTuple):
    """What a traced call came to."""

    value: Any
    error: BaseException | None = None


class Traced(NamedTuple):
    """A traced call that has ended."""

    key: str  # the same whenever the execution is run again
    name: str
    started: float  # seconds since 1970
    outcome: Recalled


class RunHandle(Protocol):
    """One run as its starter sees it."""

    name: str

    @property
    def phase(self) -> Phase: ...

    def wait(self, timeout: float | None = None) -> Any:
        """Block until the run ended; return its result or raise its error."""
        ...

    def future(self, convert: Callable[[Any], Any]) -> Awaitable[Any]:
        """The same for async code: a future on the running loop, of what ``convert`` makes of the result."""
        ...

    def abort(self, reason: str = "") -> None:
        """Ask for the end of the run; returns at once."""
        ...


class Host(Protocol):
    """In a script: the engine of this process."""

    def start(
        self,
        task: Task[Any, Any],
        inputs: dict[str, Any],
        name: str,
        context: dict[str, str] | None,
        caching: Caching = "",
        copy_style: str = "",
    ) -> RunHandle:
        """Submit a run (never blocks on the run itself). ``copy_style`` "": as usual."""
        ...

    def attach(self, name: str) -> RunHandle:
        """A run that another process has started."""
        ...


class Execution:
    """The task execution that is current in this context (``samovar.sdk.context.current``)."""

    __slots__ = (
        "action",
        "adds_context",
        "attempt",
        "calls",
        "controller",
        "custom_context",
        "epoch",
        "extra",
        "group",
        "run_name",
        "task_name",
        "traces",
    )

    def __init__(
        self,
        controller: Controller,
        epoch: int,
        run_name: str,
        action: int,
        task_name: str,
        attempt: int,
        custom_context: dict[str, str] | None,
    ) -> None:
        self.controller = controller
        self.epoch = epoch
        self.run_name = run_name
        self.action = action
        self.task_name = task_name
        self.attempt = attempt
        self.custom_context = custom_context or {}
        self.adds_context = False  # to that of the action, for what is called here
        self.traces: dict[str, int] | None = None  # how often it has made which traced call; None: it keeps none
        self.group = ""
        self.calls: dict[int, int] | None = None  # how often it has called the same task with the same inputs
        self.extra: Any = None
