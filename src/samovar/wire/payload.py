"""Values to bytes and back: the only place that pickles. Used by scripts and replicas, never by an engine.

A payload is a ``body`` and names of ``blobs``. Small values are the body. Buffers of BLOB_MIN bytes and more (arrays,
data frames: pickle protocol 5, out of band) are files in a folder on a tmpfs that both sides map, so they are copied
once (``blobs``); a large body is a blob too, the first one, and then ``body`` is empty. Whoever is handed a *result*
consumes its blobs; the blobs of *inputs* stay until their action is settled, for it may be tried again.
"""

from __future__ import annotations

import pickle
from typing import Any

from samovar import errors
from samovar.model import Failure
from samovar.wire.blobs import Blobs

BLOB_MIN = 256 * 1024
"""Bytes from which a buffer, or a whole body, travels as a blob."""


def encode(value: Any, blobs: Blobs, max_inline: int | None = None, what: str = "") -> tuple[bytes, tuple[str, ...]]:
    """The payload of ``value``.

    Raises InlineIOMaxBytesBreached when its in-band part is larger than ``max_inline`` bytes, and whatever pickling
    the value raises.
    """
    buffers: list[pickle.PickleBuffer] = []

    def in_band(buffer: pickle.PickleBuffer) -> bool:
        view = memoryview(buffer)
        if view.nbytes < BLOB_MIN or not view.contiguous:
            return True
        buffers.append(buffer)
        return False

    try:
        body = pickle.dumps(value, 5, buffer_callback=in_band)
    except (pickle.PicklingError, AttributeError, TypeError):
        import cloudpickle  # only for what plain pickle refuses: closures, lambdas, local classes

        buffers.clear()
        body = cloudpickle.dumps(value, 5, buffer_callback=in_band)
    if max_inline is not None and len(body) > max_inline:
        raise errors.InlineIOMaxBytesBreached(
            f"{what} take {len(body):,} bytes inline, max_inline_io_bytes is {max_inline:,}: raise it on the task, or "
            "pass NumPy arrays or data frames, which travel beside the message"
        )
    if len(body) < BLOB_MIN and not buffers:
        return body, ()
    names = []
    if len(body) >= BLOB_MIN:
        names.append(blobs.write(memoryview(body)))
        body = b""
    names += [blobs.write(buffer.raw()) for buffer in buffers]
    return body, tuple(names)


def decode(body: bytes, names: tuple[str, ...], blobs: Blobs, consume: bool) -> Any:
    """The value of a payload. Arrays in it lie on private pages of the blob, writable; nothing is copied."""
    if not names:
        return pickle.loads(body)
    maps = [blobs.map(name, consume) for name in names]
    if body:
        return pickle.loads(body, buffers=maps)
    return pickle.loads(maps[0], buffers=maps[1:])


def failure_of(error: BaseException, traceback_text: str, worker: str) -> Failure:
    """What the engine and the caller get to know of an exception of a task."""
    if isinstance(error, errors.BaseRuntimeError):
        kind, code = error.kind, error.code
        traceback_text = error.traceback_text or traceback_text
    else:
        kind, code = "user", type(error).__name__
    try:
        pickled = pickle.dumps(error, 5)
        pickle.loads(pickled)
    except Exception:
        pickled = b""
    recoverable = not isinstance(error, errors.NonRecoverableError | errors.RuntimeDataValidationError)
    try:
        message = str(error)
    except Exception as broken:
        message = f"(its text cannot be made: {type(broken).__name__})"
    if len(pickled) > BLOB_MIN:
        pickled = b""
    return Failure(kind, code, message[:65536], traceback_text[:65536], recoverable, worker, pickled)


def exception_of(failure: Failure) -> errors.BaseRuntimeError:
    """The exception to raise where the result was expected; the task's own is its ``__cause__`` when it pickles."""
    named = errors.by_code(failure.code)
    error: errors.BaseRuntimeError
    if named is not None and issubclass(named, errors._Named):
        error = named(failure.message, failure.worker or None)
    else:
        kinds = {"user": errors.RuntimeUserError, "system": errors.RuntimeSystemError}
        cls = kinds.get(failure.kind, errors.RuntimeUnknownError)
        error = cls(failure.code, failure.message, failure.worker or None)
    error.traceback_text = failure.traceback
    if failure.exception:
        try:
            cause = pickle.loads(failure.exception)
        except Exception:
            return error
        if isinstance(cause, BaseException):
            error.__cause__ = cause.__cause__ if isinstance(cause, errors.BaseRuntimeError) else cause
    return error
