"""From a script to the engine: ``init``, ``run`` and the ``Run`` it returns.

The engine is above this layer, so it is fetched by name, when the first run starts: ``samovar.host.open_host``. A
script that only declares tasks never loads it, and a replica, which has no engine to load, never asks for it.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast

from samovar import errors
from samovar.model import Caching, Phase
from samovar.runname import Names
from samovar.sdk import bundle, checks, context, ctx
from samovar.sdk.controller import Host, RunHandle
from samovar.sdk.pending import Pending
from samovar.sdk.task import Task

P = ParamSpec("P")
R = TypeVar("R")
Mode = Literal["local", "remote", "hybrid"]
CopyStyle = Literal["loaded_modules", "all", "none"]

_POLL = 0.05  # seconds between two looks at a run that has not started yet
_RUN_OPTIONS = frozenset(
    [
        "service_account",
        "version",
        "dry_run",
        "copy_bundle_to",
        "interactive_mode",
        "raw_data_path",
        "metadata_path",
        "run_base_dir",
        "overwrite_cache",
        "project",
        "domain",
        "labels",
        "annotations",
        "interruptible",
        "log_level",
        "log_format",
        "reset_root_logger",
        "disable_run_cache",
        "queue",
        "cache_lookup_scope",
        "preserve_original_types",
        "debug",
        "recover",
    ]
)
_host_lock = threading.Lock()
_opened: Host | None = None


class Dual(Generic[P, R]):
    """A function for sync code, with its twin for async code as ``.aio``."""

    __slots__ = ("_blocking", "aio")

    def __init__(self, blocking: Callable[P, R], aio: Callable[P, Awaitable[R]]) -> None:
        self._blocking = blocking
        self.aio = aio

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._blocking(*args, **kwargs)


def _host() -> Host:
    """The engine of this process. InitializationError: a replica has none."""
    if bundle.in_replica or context.current.get() is not None:
        raise errors.InitializationError(
            "InitializationError",
            "run() was called in a replica, while it imported or ran a task; put run() under "
            '`if __name__ == "__main__":`, and inside a task call the other task directly',
        )
    return _opened or _open()


def _open() -> Host:
    global _opened
    with _host_lock:
        if _opened is None:
            _opened = cast(Host, importlib.import_module("samovar.host").open_host())
        return _opened


class Outputs(tuple[Any, ...]):
    """What a run returned, as a tuple: one value for a plain result, none for a task that returns nothing."""

    _names: tuple[str, ...] = ()  # of a NamedTuple

    @classmethod
    def of(cls, task: Task[Any, Any] | None, result: Any) -> Outputs:
        if isinstance(result, tuple):
            made = cls(result)
            made._names = getattr(result, "_fields", ())
            return made
        if result is None and (task is None or checks.hints(task.fn).get("return") in (None, type(None))):
            return cls()
        return cls((result,))

    @property
    def named(self) -> dict[str, Any]:
        """The values by name: those of a NamedTuple, otherwise o0, o1, …"""
        names = self._names or [f"o{position}" for position in range(len(self))]
        return dict(zip(names, self, strict=True))

    @property
    def named_outputs(self) -> dict[str, Any]:
        """Flyte's name for ``named``."""
        return self.named


class Run:
    """One run; ``wait``, ``outputs``, ``result``, ``abort`` and ``get`` also as ``….aio()``.

    ``task`` is None for a run that another process has started.
    """

    __slots__ = ("_handle", "_task")

    get: Dual[..., Run]

    def __init__(self, task: Task[Any, Any] | None, handle: RunHandle) -> None:
        self._task = task
        self._handle = handle

    @classmethod
    def _get(cls, name: str) -> Run:
        """The run of this name, from the service in use: one that is on its way, or has ended.

        InitializationError: there is none, or no service is in use.
        """
        return cls(None, _host().attach(name))

    @classmethod
    async def _get_aio(cls, name: str) -> Run:
        return await asyncio.to_thread(cls._get, name)

    @property
    def name(self) -> str:
        return self._handle.name

    @property
    def url(self) -> str:
        """Of the run's page; where no page can be reached ``samovar://runs/NAME``, which only names the run."""
        return str(getattr(self._handle, "url", "") or f"samovar://runs/{self.name}")

    @property
    def phase(self) -> Phase:
        return self._handle.phase

    def done(self) -> bool:
        return self.phase.is_terminal

    def _wait(self, quiet: bool = False, wait_for: Literal["terminal", "running"] = "terminal") -> None:
        """Block until the run ended, or runs; raises the error of a run that failed."""
        if _until_running(wait_for):
            while self.phase is not Phase.RUNNING and not self.phase.is_terminal:
                try:
                    self._handle.wait(_POLL)
                except TimeoutError:
                    continue
            return
        self._handle.wait()

    async def _wait_aio(self, quiet: bool = False, wait_for: Literal["terminal", "running"] = "terminal") -> None:
        if _until_running(wait_for):
            while self.phase is not Phase.RUNNING and not self.phase.is_terminal:
                await asyncio.sleep(_POLL)
            return
        await self._handle.future(_as_it_is)

    def _result(self) -> Any:
        """Block until the run ended; what its task returned."""
        return self._handle.wait()

    def _result_aio(self) -> Awaitable[Any]:
        return self._handle.future(_as_it_is)

    def _outputs(self) -> Outputs:
        """Block until the run ended; what its task returned, as a tuple."""
        return Outputs.of(self._task, self._handle.wait())

    def _outputs_aio(self) -> Awaitable[Outputs]:
        return self._handle.future(lambda result: Outputs.of(self._task, result))

    def _abort(self, reason: str = "") -> None:
        """Ask for the end of the run; returns at once."""
        self._handle.abort(reason)

    async def _abort_aio(self, reason: str = "") -> None:
        self._handle.abort(reason)

    # made when they are asked for: a script may hold a million runs
    @property
    def wait(self) -> Dual[..., None]:
        return Dual(self._wait, self._wait_aio)

    @property
    def outputs(self) -> Dual[[], Outputs]:
        return Dual(self._outputs, self._outputs_aio)

    @property
    def result(self) -> Dual[[], Any]:
        return Dual(self._result, self._result_aio)

    @property
    def abort(self) -> Dual[..., None]:
        return Dual(self._abort, self._abort_aio)

    def __repr__(self) -> str:
        task = self._task.name if self._task is not None else getattr(self._handle, "task", "")
        return f"<Run {self.name} of {task}: {self.phase.value}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise errors.NotSupportedError(f"Run.{name} is not part of samovar")


Run.get = Dual(Run._get, Run._get_aio)


def _as_it_is(result: Any) -> Any:
    return result


def _until_running(wait_for: str) -> bool:
    if wait_for not in ("terminal", "running"):
        raise ValueError(f"wait_for must be 'terminal' or 'running', not {wait_for!r}")
    return wait_for == "running"


@dataclass(frozen=True)
class Runner:
    """How runs are started; made by ``with_runcontext``."""

    mode: Mode = "remote"
    name: str | None = None
    env_vars: Mapping[str, str] | None = None
    custom_context: Mapping[str, str] | None = None
    copy_style: CopyStyle | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # those that say nothing of caches are stored only

    @property
    def run(self) -> Dual[..., Run]:
        return Dual(self._run, self._run_aio)

    def _run(self, task: Task[Any, Any], *args: Any, **kwargs: Any) -> Run:
        """Start a run of ``task`` with these inputs and return at once.

        TypeError, RuntimeDataValidationError: the inputs do not fit. InitializationError: this is a replica.
        """
        prepared, inputs = self._prepare(task, args, kwargs)
        if self.mode == "local":
            return Run(prepared, _run_here(prepared, inputs, self._run_name()))
        return self._start(_host(), prepared, inputs)

    def _run_aio(self, task: Task[Any, Any], *args: Any, **kwargs: Any) -> Awaitable[Run]:
        loop = asyncio._get_running_loop()
        if self.mode == "local" or _opened is None or loop is None:
            return self._run_later(task, args, kwargs)
        started = Pending(loop=loop)  # the usual case needs no coroutine, and under ``gather`` no asyncio.Task
        try:
            started.set_result(self._start(_host(), *self._prepare(task, args, kwargs)))
        except Exception as error:
            started.set_exception(error)
        return started

    async def _run_later(self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
        prepared, inputs = self._prepare(task, args, kwargs)
        if self.mode == "local":
            name = self._run_name()
            value = prepared.fn(**inputs) if prepared.is_async else asyncio.to_thread(prepared.fn, **inputs)
            return Run(prepared, _Finished(name, await value))
        host = _opened if _opened is not None else await asyncio.to_thread(_host)  # the first starts an engine
        return self._start(host, prepared, inputs)

    def _prepare(
        self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Task[Any, Any], dict[str, Any]]:
        if not isinstance(task, Task):
            raise TypeError(f"run() needs a task (decorate the function with @env.task or @workflow), not {task!r}")
        return (task.with_env_vars(dict(self.env_vars)) if self.env_vars else task), task.bind(args, kwargs)

    def _start(self, host: Host, task: Task[Any, Any], inputs: dict[str, Any]) -> Run:
        context = ctx.custom_context_of_script()
        if self.custom_context:
            context = {**context, **self.custom_context}
        return Run(
            task, host.start(task, inputs, self.name or "", context or None, self._caching(), self.copy_style or "")
        )

    def _caching(self) -> Caching:
        if self.options.get("disable_run_cache"):
            return "off"
        return "replace" if self.options.get("overwrite_cache") else ""

    def _run_name(self) -> str:
        return self.name or Names().next()


class _Finished:
    """The handle of a run that took place in this process."""

    phase = Phase.SUCCEEDED

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self._value = value

    def wait(self, timeout: float | None = None) -> Any:
        return self._value

    def future(self, convert: Callable[[Any], Any]) -> Awaitable[Any]:
        done = Pending(loop=asyncio.get_running_loop())
        done.set_result(convert(self._value))
        return done

    def abort(self, reason: str = "") -> None:
        return None


def _run_here(task: Task[Any, Any], inputs: dict[str, Any], name: str) -> _Finished:
    """Call the function in this process; what it raises, it raises here."""
    if not task.is_async:
        return _Finished(name, task.fn(**inputs))
    if asyncio.events._get_running_loop() is None:
        return _Finished(name, asyncio.run(task.fn(**inputs)))
    outcome: list[Any] = []
    raised: list[BaseException] = []

    def in_a_loop_of_its_own() -> None:
        try:
            outcome.append(asyncio.run(task.fn(**inputs)))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=in_a_loop_of_its_own, name=f"samovar-{name}")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return _Finished(name, outcome[0])


def with_runcontext(
    mode: Mode | None = None,
    *,
    name: str | None = None,
    env_vars: Mapping[str, str] | None = None,
    custom_context: Mapping[str, str] | None = None,
    copy_style: CopyStyle | None = None,
    **options: Any,
) -> Runner:
    """How to run: ``with_runcontext(…).run(task, …)``. mode "local" calls the task in this process.

    name: of the run. env_vars: more of them for the task that is run. custom_context: for all tasks of the run.
    overwrite_cache: run what is cached, and keep the new results; disable_run_cache: neither take nor keep any.
    copy_style: which code a service gets: "loaded_modules", those of the user's that are imported by now, and what
    environments include; "all", every file of the project; "none": it uses the files where they lie. Without a service
    it does not matter.
    Flyte's other options are accepted and stored; TypeError for an unknown one.
    """
    if mode not in (None, "local", "remote", "hybrid"):
        raise ValueError(f"with_runcontext: mode must be 'local', 'remote' or 'hybrid', not {mode!r}")
    if copy_style not in (None, "loaded_modules", "all", "none"):
        raise ValueError(f"with_runcontext: copy_style must be 'loaded_modules', 'all' or 'none', not {copy_style!r}")
    unknown = sorted(set(options) - _RUN_OPTIONS)
    if unknown:
        raise TypeError(f"with_runcontext() has no parameter {', '.join(unknown)}")
    if name is not None and not re.fullmatch(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", name):
        raise ValueError(f"with_runcontext: {name!r} is no name for a run; use letters, digits, '-', '_' and '.'")
    return Runner(mode or "remote", name, env_vars, custom_context, copy_style, options)


def _init(*args: Any, **kwargs: Any) -> None:
    """Accepted for Flyte's sake: samovar needs no set-up. ``project`` and ``domain`` are kept."""
    ctx.settings.update({key: value for key, value in kwargs.items() if value is not None})


async def _init_aio(*args: Any, **kwargs: Any) -> None:
    _init(*args, **kwargs)


init = Dual(_init, _init_aio)
init_from_config = Dual(_init, _init_aio)
run = Runner().run
