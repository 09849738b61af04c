"""What the engine keeps of an action beside the core's decisions: its bytes, and who waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from samovar.model import QUEUED, Failure, Phase, TaskSpec

if TYPE_CHECKING:
    from samovar.engine.links import Link


class Outcome:
    """How a run ended, for its starter: a payload or a failure."""

    __slots__ = ("blobs", "body", "failure", "phase")

    def __init__(self, phase: Phase, body: bytes, blobs: tuple[str, ...], failure: Failure | None) -> None:
        self.phase = phase
        self.body = body
        self.blobs = blobs
        self.failure = failure


class Work:
    __slots__ = (
        "action",
        "blobs",
        "body",
        "call",
        "epoch",
        "failure",
        "link",
        "number",
        "on_done",
        "phase",
        "pool",
        "result",
        "result_blobs",
        "run",
        "task",
    )

    def __init__(self, task: TaskSpec, pool: str, run: Run, number: int, body: bytes, blobs: tuple[str, ...]) -> None:
        self.task = task
        self.pool = pool
        self.run = run
        self.number = number  # within the run
        self.body = body
        self.blobs = blobs
        self.action = 0
        self.link: Link | None = None  # the replica that asked for it
        self.call = 0
        self.on_done: Callable[[Outcome], None] | None = None  # or the script that did
        self.epoch = 0  # the attempt that counts
        self.result = b""
        self.result_blobs: tuple[str, ...] = ()
        self.phase = QUEUED
        self.failure: Failure | None = None

    @property
    def label(self) -> str:
        return f"{self.task.name} {self.run.name}-{self.number}"


class Run:
    """One call from outside; numbers its actions."""

    __slots__ = ("actions", "context", "name", "pools")

    def __init__(self, name: str, context: dict[str, str] | None) -> None:
        self.name = name
        self.context = context
        self.actions = 0
        self.pools: tuple[str, ...] = ()  # that only this run uses (scope="run")

    def number(self) -> int:
        self.actions += 1
        return self.actions
