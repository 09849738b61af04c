"""``samovar run --detach`` and ``samovar attach``: a run is left to the service, and found again."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar, cast

import click

from samovar.cli import display, run, script
from samovar.cli.run import Following, Host, RunOptions, Stopped
from samovar.entries import RunQuery
from samovar.errors import BaseRuntimeError, InitializationError, JournalError, RuntimeSystemError
from samovar.host import archive, service
from samovar.host.handle import Handle
from samovar.host.lines import LogLine, LogQuery
from samovar.host.remote import RemoteHost
from samovar.model import Phase
from samovar.sdk.controller import RunHandle
from samovar.sdk.task import Task
from samovar.wire.frames import ENGINE_STREAM, SHARED_STREAM

T = TypeVar("T")

_LOOK = 0.1  # seconds


def attach_command(context: click.Context, name: str, code: str, given: Mapping[str, Any]) -> None:
    """The body of the command; ends in ``click.exceptions.Exit`` or a ``ClickException``."""
    if code:
        script.load(code)
    context.exit(run.with_signals(lambda: _attach(name, RunOptions.of(given))))


def _attach(name: str, settings: RunOptions) -> int:
    def open(view: display.Display) -> Host:
        return cast("Host", _service(settings, view))

    def begin(host: Host) -> tuple[RunHandle, str]:
        handle = cast("RemoteHost", host).attach(name)
        return _Attached(handle), handle.task

    otherwise = f"cannot attach to run {name}"
    reader = _Reader if settings.logs else None
    return run.follow(Following(open, begin, _detached, reader, False, otherwise, run.TASK_FAILED), settings)


class _Reader:
    """Shows what tasks print from now on, as the service stores it: nothing of that is missing when it is killed."""

    def __init__(self, host: Host, name: str, view: display.Display) -> None:
        self._host = cast("RemoteHost", host)
        self._view = view
        self._query = LogQuery(run=name, tail=0)
        self()

    def __call__(self) -> None:
        is_last = False
        with contextlib.suppress(RuntimeSystemError, TimeoutError):  # the service is gone, which is said: then later
            while not is_last:
                page = archive.ask(self._host, self._query)
                for line in page.lines:
                    self._show(line)
                self._query, is_last = self._query.behind(page), page.is_last

    def _show(self, line: LogLine) -> None:
        if line.stream == ENGINE_STREAM:
            self._view.report(line.text)
        else:
            label = f"{line.task} {self._query.run}-{line.number}"
            self._view.log(SHARED_STREAM if line.stream == SHARED_STREAM else label, line.stream, line.text)


class _Attached:
    """A run whose result may be of a class that this process does not know."""

    def __init__(self, handle: Handle) -> None:
        self.name = handle.name
        self.future = handle.future
        self.abort = handle.abort
        self._handle = handle

    @property
    def phase(self) -> Phase:
        return self._handle.phase

    def wait(self, timeout: float | None = None) -> Any:
        try:
            return self._handle.wait(timeout)
        except (ImportError, AttributeError) as error:
            hint = f"`samovar attach --code FILE {self.name}` loads its code first"
            text = f"its result cannot be read here: {error}; {hint}"
            raise RuntimeSystemError("RuntimeSystemError", text) from error


def _detached(stop: Stopped, host: Host | None, handle: RunHandle | None, view: display.Display) -> None:
    """The run is not ours to end."""
    with contextlib.suppress(Stopped):  # a second signal: there is nothing that could be in its way
        view.close()
        if handle is not None:
            view.say(f"samovar: {stop}: run {handle.name} goes on; `samovar abort {handle.name}` ends it")
        if host is not None:
            host.close(0.0)


def detach(task: Task[Any, Any], inputs: dict[str, Any], settings: RunOptions) -> int:
    """Start the run, wait until the service is sure to carry it out, and say what it is called."""
    view = display.Display()
    host: RemoteHost | None = None
    try:
        if settings.driver:
            raise InitializationError(
                "InitializationError", "--detach leaves the run to the service, which has a driver: omit --driver"
            )
        host = _service(settings, view)
        if settings.name and _patiently(host, partial(_is_written, host, settings.name)):
            raise InitializationError(
                "InitializationError", f"a run named {settings.name!r} is recorded already; choose another name"
            )
        context = dict(settings.context) if settings.context else None
        handle = host.start(task, inputs, settings.name, context, settings.caching, settings.copy_style)
        _await_taken(host, handle)
    except BaseRuntimeError as error:
        return run.failed(error, "", view)
    finally:
        if host is not None:
            host.close()
    if settings.output == "json":
        click.echo(json.dumps({"run": handle.name, "task": task.name}))
    else:
        click.echo(handle.name)
    view.say(
        f"samovar: run {handle.name} of {task.name} is the service's now: `samovar attach {handle.name}` shows it, "
        f"`samovar logs -f {handle.name}` what it prints, `samovar abort {handle.name}` ends it"
    )
    return run.SUCCESS


def _service(settings: RunOptions, view: display.Display) -> RemoteHost:
    host = service.at(settings.endpoint, view.report)
    if host is None:
        raise InitializationError(
            "InitializationError",
            "no service is in use, and only a service has runs for others; `samovar start` starts one",
        )
    return host


def _is_written(host: RemoteHost, run: str) -> bool | None:
    """Whether a run is written down; None: the service keeps nothing, or cannot read it now, and its word has to do."""
    try:
        return bool(archive.ask(host, RunQuery(run=run)).items)
    except JournalError:
        return None


def _patiently(host: RemoteHost, ask: Callable[[], T]) -> T:
    """The answer of the service or, if that is killed meanwhile, of the next one."""
    while True:
        try:
            return ask()
        except RuntimeSystemError:
            if not host.is_back():
                raise


def _await_taken(host: RemoteHost, handle: Handle) -> None:
    """Return when the run is written down, or where none is kept in the service's hands. Raises what is in its way."""

    def is_safe() -> bool:
        return host.is_taken(handle) and _is_written(host, handle.name) is not False

    while handle.outcome is None and not _patiently(host, is_safe):
        time.sleep(_LOOK)
    outcome = handle.outcome
    if outcome is not None and outcome.failure is not None:
        refused = outcome.failure.code == "InitializationError"
        if refused or outcome.phase is Phase.ABORTED:
            handle.wait()
