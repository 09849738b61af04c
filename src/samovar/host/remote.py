"""A service in place of an engine: this process is its client (``client`` has the connection).

What it starts goes on when this process ends. A service can be asked for more than runs: for what stands and what is
on its way, for what is written down, and for changes by hand.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from samovar import errors
from samovar.endpoint import Remote
from samovar.engine.engine import OnLog
from samovar.engine.helm import Helm
from samovar.engine.links import Link
from samovar.engine.turn import Turn
from samovar.engine.work import Run
from samovar.host.absence import LOOK, PATIENCE
from samovar.host.client import GONE, Question, RemoteEngine
from samovar.host.folders import own_folder, shared_memory
from samovar.host.handle import Handle
from samovar.host.host import Host
from samovar.host.shipping import SECONDS as CODE_SECONDS
from samovar.host.shipping import Shipping
from samovar.model import PoolStats, ReplicaStats, TaskSpec, Underway
from samovar.ports import Report
from samovar.wire import frames
from samovar.wire.blobs import Blobs

SECONDS = 5.0
"""How long a service may take to answer what it can answer at once."""

FIND_SECONDS = 30.0
"""How long it may look for what is written down."""

SENDING_SECONDS = 30.0
"""How long a process that ends goes on sending what it has started."""


def no_answer(where: object, error: OSError) -> errors.InitializationError:
    return errors.InitializationError(
        "InitializationError",
        f"no service answers at {where}: {error.strerror or error}; start one with `samovar start`",
    )


class _Sent:
    """``outcome`` comes when all has been sent, or nobody is there to take it."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def outcome(self) -> Any:
        return True if not (self._link.is_open and self._link.is_sending) else None


class _Return:
    """``outcome`` comes when the service has greeted, or is given up."""

    arrived: threading.Event | None = None

    def __init__(self, engine: RemoteEngine) -> None:
        self._engine = engine

    @property
    def outcome(self) -> Any:
        return True if self._engine.is_joined or not self._engine.is_coming else None


class RemoteHost(Host):
    """OSError: nobody listens at the Unix socket ``where``. InitializationError: another host cannot be reached, or who
    listens is no service that this process can use.
    """

    engine: RemoteEngine

    def __init__(self, where: str | Remote, report: Report, on_log: OnLog, patience: float = PATIENCE) -> None:
        turn = Turn()
        helm = Helm(turn)
        self._patience = patience
        self._folder, self._lock = "", None
        if isinstance(where, Remote):
            self._folder, self._lock = own_folder(shared_memory())
        try:
            engine = RemoteEngine(where, self._folder, report, on_log, helm.arrived, patience)
        except BaseException:
            helm.loop.close()
            self._remove_folder()
            raise
        helm.start(engine)
        helm.steer(engine.greeting, SECONDS)
        service = engine.greeting.outcome
        super().__init__(engine, turn, helm, Blobs(self._folder or getattr(service, "blobs", "")), on_log)
        if not isinstance(service, frames.Joined):
            reason = service.reason if isinstance(service, frames.Refuse) else f"no answer for {SECONDS:g} s"
            self.close()
            hint = "install the same version on both hosts" if self._folder else "stop it with `samovar stop`"
            raise errors.InitializationError(
                "InitializationError", f"the service at {engine.address} cannot be used: {reason}; {hint}"
            )
        self.service = service
        self.web = service.web
        self._shipping = Shipping(self, is_here=not self._folder)
        engine.on_return = self._returned

    def described(self, spec: TaskSpec, copy_style: str) -> TaskSpec:
        """With code that the service has. InitializationError: it cannot have it."""
        return self._shipping.described(spec, copy_style or "loaded_modules")

    def bring(self, frame: frames.Offer | frames.Parcel) -> Any:
        """Code. The answer is a ``Kept``, or nothing where the service is gone. TimeoutError: it does not answer."""
        self.is_back()
        answer = self._ask(frame, CODE_SECONDS)
        return None if answer is GONE else answer

    def is_back(self) -> bool:
        """Wait for a service that is gone without a word. False: it has not come back."""
        coming, end = _Return(self.engine), time.monotonic() + self._patience
        while not self.engine.is_joined and time.monotonic() < end:
            with self.turn:  # again and again: a service that dies may still take a connection
                if not self.engine.is_expected():
                    break
            self.wait(coming, LOOK)
        return self.engine.is_joined

    # TimeoutError, from each of these: the service does not answer. RuntimeSystemError: it is gone.

    def stats(self) -> list[PoolStats]:
        """Nothing while the service is gone."""
        answer = self._ask(frames.Ask(0))
        return [] if answer is GONE else list(answer.pools)

    def standing(self) -> tuple[list[PoolStats], list[ReplicaStats]]:
        """Every pool, and every replica."""
        answer = self._asked(frames.Ask(0, replicas=True))
        return list(answer.pools), list(answer.replicas)

    def underway(self, ask: frames.AskActions) -> Iterator[Underway]:
        """The actions that are queued or run, the newest first; the service is asked for them part by part."""
        while True:
            answer = self._asked(ask)
            yield from answer.actions
            if not answer.next:
                return
            ask = msgspec.structs.replace(ask, before=answer.next)

    def attach(self, name: str) -> Handle:
        """InitializationError: the service knows no such run, or cannot tell of it."""
        handle = Handle(self, name)
        with self.turn:
            handle.action, question = self.engine.attach(Run(name, None, handle))
        answer = self._there(self._answer(question, PATIENCE + FIND_SECONDS))
        if not answer.task:
            reason = answer.reason or f"there is no run named {name!r}; `samovar get runs` lists them"
            raise errors.InitializationError("InitializationError", reason)
        handle.task = answer.task
        return handle

    def is_taken(self, handle: Handle) -> bool:
        """Whether the service has taken a run: all that was sent is read, and there was room."""
        self.helm.steer(_Sent(self.engine.link), SENDING_SECONDS)
        self._asked(frames.Ask(0))
        with self.turn:
            return self.engine.is_taken(handle.action)

    def find(self, query: bytes) -> bytes:
        """For ``host.archive.ask``. JournalError: there is no page, and why."""
        answer = self._asked(frames.Find(0, query), FIND_SECONDS)
        if answer.problem:
            raise errors.JournalError(answer.problem)
        return bytes(answer.page)

    def control(self, pool: str, verb: frames.Verb, low: int = 0, high: int = 0) -> str:
        """Change a pool by hand; gives its name. InitializationError: there is none, or it cannot be so."""
        answer = self._asked(frames.Control(0, pool, verb, low, high))
        if answer.problem:
            raise errors.InitializationError("InitializationError", answer.problem)
        return str(answer.pool)

    def abort_run(self, name: str, reason: str, number: int = 0) -> bool:
        """Abort a run of anybody, or one action of it. False: it is not on its way."""
        return bool(self._asked(frames.AbortRun(0, name, reason, number)).found)

    def _asked(self, frame: Any, seconds: float = SECONDS) -> Any:
        return self._there(self._ask(frame, seconds))

    def _ask(self, frame: Any, seconds: float = SECONDS) -> Any:
        with self.turn:
            question = self.engine.ask(frame)
        return self._answer(question, seconds)

    def _there(self, answer: Any) -> Any:
        if answer is GONE:
            raise errors.RuntimeSystemError("RuntimeSystemError", f"the service at {self.engine.address} is gone")
        return answer

    def _answer(self, question: Question, seconds: float) -> Any:
        if not self.helm.steer(question, seconds):
            with self.helm.following():
                question.answered.wait(seconds)
        if question.outcome is None:
            raise TimeoutError(f"the service at {self.engine.address} has not answered for {seconds:g} s")
        return question.outcome

    def _returned(self, joined: frames.Joined) -> None:
        """Called in a turn."""
        self.service = joined
        self.web = joined.web
        self.blobs.folder = self._folder or joined.blobs

    @property
    def is_gone(self) -> bool:
        """Whether the connection has ended."""
        return not self.engine.is_connected

    def shut_down(self, grace: float) -> None:
        """Ask the service to end."""
        with self.turn:
            self.engine.shut_down(grace)
            self.engine.flush()

    def close(self, grace: float = 0.0) -> None:
        """Leave the service; what was started goes on, and what it needs is sent first. A second call, after the first
        was interrupted, sends no more.
        """
        if self.helm.loop.is_closed():
            return
        if not self.closed:
            self.closed = True
            with self.turn:
                self.helm.flush()
            self.helm.steer(_Sent(self.engine.link), SENDING_SECONDS)
        self.helm.close()
        self.engine.close()
        self._remove_folder()
        self.turn.release_signals()

    def _remove_folder(self) -> None:
        if self._lock is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._lock.close()
