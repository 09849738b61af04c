"""Every error that samovar raises, as one tree; names and meaning follow Flyte 2.

    BaseRuntimeError                      .code  .kind  .worker
    ├── RuntimeUserError                  the task raised; code = the exception's class name
    │   ├── CustomError                   a foreign exception, carried by name and text
    │   ├── OOMError                      the task went over its memory
    │   ├── TaskTimeoutError
    │   │   ├── MaxRuntimeExceededError
    │   │   ├── MaxQueuedTimeExceededError
    │   │   └── DeadlineExceededError
    │   ├── RetriesExhaustedError
    │   ├── NonRecoverableError           raise it in a task: no retry
    │   ├── InlineIOMaxBytesBreached
    │   ├── RuntimeDataValidationError    an input or output that its annotation refuses
    │   ├── ModuleLoadError               the user's module does not import
    │   ├── ImageBuildError               an environment cannot be made
    │   ├── NotInTaskContextError
    │   ├── TraceDoesNotAllowNestedTasksError
    │   └── SyncTaskCallInAsyncContextError
    ├── RuntimeSystemError                samovar or the machine, not the task
    │   ├── InitializationError
    │   ├── ReplicaStartError             a pool cannot start its replicas
    │   ├── SlowDownError
    │   ├── JournalError                  the journal refuses an entry or cannot be read
    │   │   └── JournalAwayError          it cannot be reached or written to now
    │   └── TaskInterruptedError
    ├── RuntimeUnknownError
    └── ActionAbortedError
    NotSupportedError                     a part of Flyte's surface that samovar does not have
    ProtocolError                         a peer broke the wire's rules; never seen by users
    WorkloadError                         a file for the simulator that describes no workload

Imports nothing, so that every room can use it.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["system", "unknown", "user"]


class BaseRuntimeError(RuntimeError):
    """The root. ``code`` is a short stable name, ``kind`` whose fault it is, ``worker`` the replica that ran it."""

    kind: Kind = "unknown"

    def __init__(self, code: str, root_cause_message: str = "", worker: str | None = None) -> None:
        super().__init__(root_cause_message or code)
        self.code = code
        self.worker = worker
        self.traceback_text = ""

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[BaseRuntimeError], args: tuple[object, ...], state: dict[str, object]) -> BaseRuntimeError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class RuntimeUserError(BaseRuntimeError):
    """The task raised an exception; ``code`` is the class name of that exception."""

    kind: Kind = "user"


class RuntimeSystemError(BaseRuntimeError):
    """samovar or the machine failed, not the task."""

    kind: Kind = "system"


class RuntimeUnknownError(BaseRuntimeError):
    """Neither side is known to be at fault."""

    kind: Kind = "unknown"


class _Named(BaseRuntimeError):
    """Errors whose code is their own class name."""

    def __init__(self, message: str = "", worker: str | None = None) -> None:
        super().__init__(type(self).__name__, message, worker)


class CustomError(RuntimeUserError):
    """A foreign exception of a task, carried by class name and text."""

    @classmethod
    def from_exception(cls, error: BaseException) -> CustomError:
        return cls(type(error).__name__, str(error))


class OOMError(_Named, RuntimeUserError):
    """The task went over its memory; give it more with ``override(resources=…, reusable="off")``."""


class TaskTimeoutError(_Named, RuntimeUserError):
    """A timeout of the task ran out."""


class MaxRuntimeExceededError(TaskTimeoutError):
    """One attempt ran longer than ``Timeout.max_runtime``."""


class MaxQueuedTimeExceededError(TaskTimeoutError):
    """The action waited longer than ``Timeout.max_queued_time`` for a slot."""


class DeadlineExceededError(TaskTimeoutError):
    """The action, all attempts and waits together, took longer than ``Timeout.deadline``."""


class RetriesExhaustedError(_Named, RuntimeUserError):
    """Every attempt that ``retries`` allows has failed."""


class NonRecoverableError(_Named, RuntimeUserError):
    """Raise this in a task to fail it at once, whatever its ``retries``."""


class InlineIOMaxBytesBreached(_Named, RuntimeUserError):
    """Inline inputs or outputs are larger than the task's ``max_inline_io_bytes``."""


class RuntimeDataValidationError(_Named, RuntimeUserError):
    """A value does not match its annotation."""


class ModuleLoadError(_Named, RuntimeUserError):
    """The module of the task does not import."""


class ImageBuildError(_Named, RuntimeUserError):
    """The image of an environment cannot be made."""


class NotInTaskContextError(_Named, RuntimeUserError):
    """This call only makes sense inside a task."""


class TraceDoesNotAllowNestedTasksError(_Named, RuntimeUserError):
    """A traced function called a task."""


class SyncTaskCallInAsyncContextError(_Named, RuntimeUserError):
    """A sync task was called, blocking, from async code; await its ``.aio()`` instead."""


class InitializationError(RuntimeSystemError):
    """samovar cannot do this as it is set up."""


class ReplicaStartError(_Named, RuntimeSystemError):
    """The replicas of a pool do not start."""


class SlowDownError(_Named, RuntimeSystemError):
    """Too much is queued; try again after a moment."""


class JournalError(_Named, RuntimeSystemError):
    """The journal does not take what it is given, or cannot give what it is asked for."""


class JournalAwayError(JournalError):
    """The journal's database cannot be reached, or not be written to; nothing is wrong with what it was given."""


class TaskInterruptedError(_Named, RuntimeSystemError):
    """The replica of an execution went away under it."""


class ActionAbortedError(_Named):
    """The action, or one above it, was aborted."""

    kind: Kind = "user"


class NotSupportedError(NotImplementedError, AttributeError):
    """A part of Flyte's surface that samovar does not have; the message names it."""


class ProtocolError(Exception):
    """A peer sent something that is not the protocol."""


class WorkloadError(ValueError):
    """A file for the simulator describes no workload; the message says what is wrong in it, and where."""


def by_code(code: str) -> type[BaseRuntimeError] | None:
    """The class of this tree whose name is ``code``; None if there is none."""
    found = globals().get(code)
    return found if isinstance(found, type) and issubclass(found, BaseRuntimeError) else None
