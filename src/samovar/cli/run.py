"""``samovar run``: from the words of the command line to an exit status.

What must stay true: stdout carries the result and nothing else, and when the process ends by any way but
SIGKILL, the host has been closed, so that no replica outlives it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import click

from samovar.cli import display, options, script, values
from samovar.errors import BaseRuntimeError, InitializationError
from samovar.model import Caching, Phase, PoolStats
from samovar.sdk.controller import RunHandle

if TYPE_CHECKING:
    from samovar.host.premises import OpenWeb

SUCCESS, TASK_FAILED, BAD_INPUT = 0, 1, 2
TICK = 0.1  # seconds between two looks at the run
GRACE = 2.0  # seconds that replicas have to end by themselves
AT_ONCE = 1.0  # seconds after a second Ctrl-C until the process ends whatever is left


class RunOptions(NamedTuple):
    output: str = "text"  # "text" | "json"
    name: str = ""
    context: Mapping[str, str] | None = None
    caching: Caching = ""
    progress: bool = True
    logs: bool = True
    driver: str = ""
    endpoint: str = ""
    copy_style: str = ""
    detach: bool = False
    web: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> RunOptions:
        """From what click collected, for ``run`` or for ``attach``."""
        if given.get("no_cache") and given.get("overwrite_cache"):
            raise click.UsageError("--no-cache keeps nothing, so it cannot go with --overwrite-cache.")
        quiet = bool(given["quiet"])
        items = {}
        for item in given.get("context_items", ()):
            key, equals, value = item.partition("=")
            if not key or not equals:
                raise click.UsageError(f"--context takes KEY=VALUE, got {item!r}.")
            items[key] = value
        return cls(
            output=given["output"],
            name=given.get("name", ""),
            context=items or None,
            caching="off" if given.get("no_cache") else "replace" if given.get("overwrite_cache") else "",
            progress=not (quiet or given["no_progress"]),
            logs=bool(given["log"]) and not quiet,
            driver=given.get("driver") or "",
            endpoint=given["endpoint"],
            copy_style=given.get("copy_style") or "",
            detach=bool(given.get("detach")),
            web=bool(given.get("web")),
        )


class Host(Protocol):
    """What the command uses of ``samovar.host.EmbeddedHost``."""

    def start(
        self,
        task: Any,
        inputs: dict[str, Any],
        name: str,
        context: dict[str, str] | None,
        caching: Caching,
        copy_style: str,
    ) -> RunHandle: ...
    def stats(self) -> Sequence[PoolStats]: ...
    def close(self, grace: float = ...) -> None: ...


class Stopped(BaseException):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        return 128 + self.number


def run_command(context: click.Context, file: str, rest: Sequence[str], settings: RunOptions) -> None:
    """The body of the command; ends in ``click.exceptions.Exit`` or a ``ClickException``."""
    context.exit(with_signals(lambda: _run(context, file, rest, settings)))


def with_signals(work: Callable[[], int]) -> int:
    """The exit status of ``work``, in which a signal is a ``Stopped``."""
    with _signals():
        try:
            return work()
        except Stopped as stop:  # before there was anything to stop
            return stop.status


def _run(context: click.Context, file: str, rest: Sequence[str], settings: RunOptions) -> int:
    if file.startswith("-"):
        raise click.UsageError(f"FILE expected, got {file!r}; `samovar run --help` shows the options.", context)
    module = script.load(file)
    tasks = script.find_tasks(module)
    if not rest or rest[0] in ("-h", "--help"):
        listing = options.list_tasks(tasks, file)
        if rest:
            click.echo(listing)
            return SUCCESS
        raise script.BadInput(f"TASK is missing.\n{listing}")
    if rest[0].startswith("-"):
        raise click.UsageError(
            f"TASK expected after FILE, got {rest[0]!r}; options of `run` come before FILE.", context
        )
    task = script.pick(tasks, rest[0], file)
    given: list[dict[str, Any]] = []
    command = options.command(task, f"{context.info_name} {file} {rest[0]}", given.append)
    with command.make_context(f"samovar {command.name}", list(rest[1:])) as inner:
        command.invoke(inner)
    try:
        inputs = task.bind((), given[0])
    except (BaseRuntimeError, TypeError, ValueError) as error:
        raise script.BadInput(str(error)) from error
    if settings.detach:
        from samovar.cli import attach  # only here: it builds on this module

        return attach.detach(task, inputs, settings)
    return execute(task, inputs, settings)


def execute(task: Any, inputs: dict[str, Any], settings: RunOptions) -> int:
    """Run the task on the host of this process, show it, write its result; gives the exit status."""
    from samovar.host import open_host  # only here: the whole engine, which help and bad input do not need

    context = dict(settings.context) if settings.context else None

    def open(view: display.Display) -> Host:
        opened = open_host(
            report=view.report,
            on_log=view.log,
            driver=settings.driver,
            endpoint=settings.endpoint,
            open_web=_web() if settings.web else None,
        )
        if settings.web and not opened.web and _is_a_service(opened):  # an engine of its own has said why
            view.report(
                "the service in use has no dashboard for this host; it gets one with `samovar start --web HOST:PORT`"
            )
        return cast("Host", opened)

    def begin(host: Host) -> tuple[RunHandle, str]:
        handle = host.start(task, inputs, settings.name, context, settings.caching, settings.copy_style)
        return handle, task.name

    return follow(Following(open, begin, _interrupt), settings)


def _is_a_service(host: object) -> bool:
    from samovar.host.remote import RemoteHost  # only here, as above

    return isinstance(host, RemoteHost)


def _web() -> OpenWeb:
    """Where it is set; whoever has set that there is none wants one now."""
    from samovar import config  # only here, as nothing of this is needed without --web
    from samovar.web.server import opener

    where = config.web()
    return opener("" if where == config.NO_WEB else where)


class Following(NamedTuple):
    """How a run comes about that is then shown until it ends."""

    open: Callable[[display.Display], Host]
    begin: Callable[[Host], tuple[RunHandle, str]]  # gives the run, and the name of its task
    stopped: Callable[[Stopped, Host | None, RunHandle | None, display.Display], None]  # what a signal does
    reader: Callable[[Host, str, display.Display], Callable[[], None]] | None = None  # shows what the run has printed
    is_ours: bool = True  # it was started by this command
    otherwise: str = "the run could not start"  # what is said where there is none
    no_run: int = BAD_INPUT  # and the exit status


def follow(how: Following, settings: RunOptions) -> int:
    """Show a run until it ends, write its result; gives the exit status."""
    view = display.choose(settings.progress, settings.logs)
    host: Host | None = None
    handle: RunHandle | None = None
    try:
        host = how.open(view)
        pools = Pools(host)
        handle, task = how.begin(host)
        read = how.reader(host, handle.name, view) if how.reader is not None else _nothing
        view.begin(handle.name, task, how.is_ours)
        if url := getattr(handle, "url", ""):
            view.report(f"run {handle.name} is shown at {url}")
        result = _watch(pools, handle, view, read)
    except Stopped as stop:
        how.stopped(stop, host, handle, view)
        return stop.status
    except Exception as error:
        status = failed(error, handle.name if handle is not None else "", view, how.otherwise, how.no_run)
        _close(host, view)
        return status
    try:
        _close(host, view)
    except Stopped as stop:  # the result is there; only the end is in a hurry
        how.stopped(stop, host, None, view)
    _write_result(result, settings.output)
    return SUCCESS


class Pools:
    """The pools as they have changed since this command began: a service has others, and has run others."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._before = {pool.name: pool for pool in host.stats()}

    def __call__(self) -> Sequence[PoolStats]:
        """Nothing where the engine is too busy to say, because a display is no reason to fail."""
        try:
            now = self._host.stats()
        except TimeoutError:
            return ()
        return [self._since(pool) for pool in now if pool != self._before.get(pool.name)]

    def _since(self, pool: PoolStats) -> PoolStats:
        before = self._before.get(pool.name)
        if before is None:
            return pool
        if any(now < then for now, then in zip(_counted(pool), _counted(before), strict=True)):
            del self._before[pool.name]  # it was another service's: one that has come instead counts anew
            return pool
        return pool._replace(
            done=pool.done - before.done,
            failed=pool.failed - before.failed,
            cold=pool.cold - before.cold,
            warm=pool.warm - before.warm,
        )


def _counted(pool: PoolStats) -> tuple[int, ...]:
    return pool.done, pool.failed, pool.cold, pool.warm


def _nothing() -> None:
    return None


def _watch(pools: Pools, handle: RunHandle, view: display.Display, read: Callable[[], None]) -> Any:
    while True:
        try:
            result = handle.wait(TICK)
        except TimeoutError:
            is_over = handle.phase.is_terminal
            read()
            if not is_over:
                view.update(time.monotonic(), handle.phase, pools())
                continue
            result = _settled(pools, handle, view)
        except Exception:
            read()
            view.end(time.monotonic(), _final(handle.phase, Phase.FAILED), pools())
            raise
        read()
        at_last = pools()
        view.update(time.monotonic(), handle.phase, at_last)
        view.end(time.monotonic(), _final(handle.phase, Phase.SUCCEEDED), at_last)
        return result


def _settled(pools: Pools, handle: RunHandle, view: display.Display) -> Any:
    """The run ended between the time-out and the look at its phase, or its own error is a TimeoutError."""
    try:
        return handle.wait(TICK)
    except Exception:
        view.end(time.monotonic(), handle.phase, pools())
        raise


def _final(phase: Phase, otherwise: Phase) -> Phase:
    return phase if phase.is_terminal else otherwise


def _close(host: Host | None, view: display.Display) -> None:
    view.close()
    if host is not None:
        host.close(GRACE)


def _interrupt(stop: Stopped, host: Host | None, handle: RunHandle | None, view: display.Display) -> None:
    """Abort and drain; a second signal does not wait."""
    try:
        view.close()
        if handle is not None:
            view.say(f"samovar: {stop}: aborting run {handle.name}; once more ends it at once")
            handle.abort(f"interrupted by {stop}")
        if host is not None:
            host.close(GRACE)
    except Stopped:
        last = threading.Timer(AT_ONCE, os._exit, [stop.status])
        last.daemon = True
        last.start()
        try:
            if host is not None:
                host.close(0.0)
        except Stopped:  # a third one
            os._exit(stop.status)
        finally:
            last.cancel()


def failed(
    error: Exception,
    run: str,
    view: display.Display,
    otherwise: str = "the run could not start",
    no_run: int = BAD_INPUT,
) -> int:
    """Say why, the user's frames first; gives the exit status."""
    view.close()
    text = getattr(error, "traceback_text", "")
    if not text and not isinstance(error, BaseRuntimeError):
        text = "".join(traceback.format_exception(error))  # an error of samovar itself: everything may matter
    name = type(error).__name__
    code = getattr(error, "code", name)
    worker = getattr(error, "worker", None)
    lines = [text.rstrip()] if text else []
    what = f"run {run} failed" if run else otherwise
    where = f" (on {worker})" if worker else ""
    lines.append(f"samovar: {what}: {name if code == name else f'{name}: {code}'}: {error}{where}")
    view.say("\n".join(lines))
    return no_run if not run and isinstance(error, InitializationError) else TASK_FAILED


def _write_result(result: Any, output: str) -> None:
    """To stdout, and to nobody else."""
    if output == "json":
        text = values.to_json(result)
    elif result is None:
        return
    elif isinstance(result, str):
        text = result
    else:
        import pprint  # only here: most runs end in a plain value or in JSON

        text = pprint.pformat(result, width=110, sort_dicts=False)
    try:
        click.echo(text)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP become ``Stopped`` in the main thread, unless they are ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(number)

    before: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
