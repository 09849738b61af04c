"""Run one execution: find the function, decode the inputs, call it, encode what came of it."""

from __future__ import annotations

import asyncio
import importlib
import sys
import traceback
from time import perf_counter
from types import TracebackType
from typing import Any

from samovar import errors, traceparent
from samovar.runtime import capture
from samovar.runtime.descriptors import Descriptors
from samovar.runtime.link import Link
from samovar.runtime.threads import Threads
from samovar.sdk import bundle
from samovar.sdk.context import current
from samovar.sdk.controller import Execution
from samovar.sdk.task import Task
from samovar.wire import frames, payload

SHARED = -1
"""In place of an epoch: several executions were at work, and any of them may have written it."""


class Calls:
    """The executions of this replica."""

    def __init__(self, link: Link, loop: asyncio.AbstractEventLoop) -> None:
        self._link = link
        self._loop = loop
        self._threads = Threads()
        self._tasks: dict[tuple[str, str], Task[Any, Any]] = {}
        self._running: dict[int, asyncio.Task[None] | None] = {}  # by epoch; None: in a thread
        self.descriptors: Descriptors | None = None  # where they can be read

    def alone(self) -> int:
        """The epoch of the only execution that is at work; 0: there is none; ``SHARED``: there are several.

        One that waits for what it has called is not at work, where another is.
        """
        running = set(self._running.copy())
        if len(running) > 1:
            running = running - self._link.callers() or running
        return SHARED if len(running) > 1 else next(iter(running), 0)

    def run(self, frame: frames.Run) -> None:
        epoch = frame.epoch
        if self._running and self.descriptors is not None:
            self.descriptors.look()  # what was written before may still have one author
        if self._link.estate is not None:
            self._link.estate.runs[epoch] = frame
        execution = Execution(self._link, epoch, frame.run, frame.action, frame.task, frame.attempt, frame.context)
        execution.extra = {}
        if self._link.keeps_traces:
            execution.traces = {}
            if frame.past:
                self._link.past[epoch] = {past.key: past for past in frame.past}
        try:
            task = self._tasks.get((frame.module, frame.qualname)) or self._find(frame.module, frame.qualname)
        except BaseException as error:
            self._link.send(frames.Failed(epoch, self._failure(error)))
            return
        if task.is_async:
            self._running[epoch] = asyncio.Task(self._run_async(task, frame, execution), loop=self._loop)
        else:
            self._running[epoch] = None
            self._threads.run(lambda: self._run_sync(task, frame, execution))

    def cancel(self, epoch: int) -> None:
        """An async task is cancelled; a sync one cannot be, and costs its replica when the grace is over."""
        running = self._running.get(epoch)
        if running is not None:
            running.cancel()
            running.add_done_callback(lambda _: self._cancelled(epoch))

    def _cancelled(self, epoch: int) -> None:
        """A coroutine that is cancelled before its first step never enters ``_run_async``: answer for it."""
        if self._running.pop(epoch, None) is not None:
            self._link.send(frames.Failed(epoch, self._failure(asyncio.CancelledError())))

    def _find(self, module: str, qualname: str) -> Task[Any, Any]:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, Task):
            raise errors.ModuleLoadError(
                f"'{module}:{qualname}' is not a task in the replica: define tasks at the top level of a module"
            )
        self._tasks[module, qualname] = found
        return found

    async def _run_async(self, task: Task[Any, Any], frame: frames.Run, execution: Execution) -> None:
        began = perf_counter()
        current.set(execution)
        if frame.trace:
            traceparent.enter(frame.trace)
        try:
            inputs = payload.decode(frame.body, frame.blobs, self._link.blobs, consume=False)
            value = await task.fn(**inputs)
            done = self._done(task, frame, value, began)
        except BaseException as error:
            done = frames.Failed(frame.epoch, self._failure(error), _since(began))
        self._end(execution, done)
        if frame.blobs:
            self._link.flush()  # now: giving back the memory of large inputs takes a while

    def _run_sync(self, task: Task[Any, Any], frame: frames.Run, execution: Execution) -> None:
        began = perf_counter()
        token = current.set(execution)
        leave = traceparent.enter(frame.trace) if frame.trace else None
        try:
            inputs = payload.decode(frame.body, frame.blobs, self._link.blobs, consume=False)
            done = self._done(task, frame, task.fn(**inputs), began)
        except BaseException as error:
            done = frames.Failed(frame.epoch, self._failure(error), _since(began))
        finally:
            current.reset(token)
            if leave is not None:
                leave()
        self._end(execution, done)

    def _done(self, task: Task[Any, Any], frame: frames.Run, value: Any, began: float) -> frames.Done | frames.Failed:
        task.check_output(value)
        try:
            body, blobs = payload.encode(
                value, self._link.blobs, frame.max_inline, f"the outputs of task '{frame.task}'"
            )
        except errors.BaseRuntimeError:
            raise
        except BaseException as error:
            raise errors.RuntimeDataValidationError(
                f"the result of task '{frame.task}' ({type(value).__name__}) cannot be pickled: {error}"
            ) from error
        return frames.Done(frame.epoch, body, blobs, perf_counter() - began)

    def _end(self, execution: Execution, done: Any) -> None:
        if execution.extra:
            capture.finish(execution, self.write)
        if self.descriptors is not None:
            self.descriptors.look(ends=True)
        if execution.traces is not None:
            self._link.past.pop(execution.epoch, None)
        self._running.pop(execution.epoch, None)
        self._link.send(done)

    def write(self, epoch: int, stream: str, text: str) -> None:
        if self._link.is_full:
            return
        if epoch == SHARED:
            epoch, stream = 0, frames.SHARED_STREAM
        self._link.send(frames.Log(epoch, stream, text))

    def _failure(self, error: BaseException) -> Any:
        trace = user_frames(error.__traceback__)
        text = bundle.as_known("".join(traceback.format_exception(type(error), error, trace)))
        text += bundle.hint(error)
        if isinstance(error, MemoryError):
            error = _out_of_memory(error)
        return payload.failure_of(error, text, self._link.replica)


def _since(began: float) -> float:
    return perf_counter() - began


def _out_of_memory(error: MemoryError) -> BaseException:
    """Where memory is bounded, the bound is why there is no more of it."""
    import resource  # only here: it is hardly ever needed

    bound, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if bound == resource.RLIM_INFINITY:
        return error
    return errors.OOMError(
        f"the task needs more memory than its environment has ({error or 'an allocation was refused'}); give it more: "
        'override(resources=Resources(memory=…), reusable="off") or a larger TaskEnvironment'
    )


def user_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without samovar's own frames at its top."""
    own = sys.modules["samovar"].__path__[0]
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(own) and trace.tb_next is not None:
        trace = trace.tb_next
    return trace
