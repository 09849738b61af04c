"""What a replica keeps for the engine that comes after its own: what it runs, what came of it, and what it waits for.

An outcome is kept until its engine says that it is written down; whatever an engine has in memory alone is lost when
it is killed, and then this is where it is found again. Changed by any thread, under the lock of the link or by single
operations; read when the link has parted from its engine.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from samovar.sdk.controller import Execution
from samovar.wire import frames

_OUTCOMES = (frames.Done, frames.Failed)


class Estate:
    def __init__(self) -> None:
        self.runs: dict[int, frames.Run] = {}  # by epoch: what runs, and what has ended and is kept
        self.calls: dict[int, frames.Submit] = {}  # those without an answer
        self._outcomes: deque[frames.Done | frames.Failed] = deque()  # in the order in which they were sent

    def count(self, execution: Execution, task: str, body: bytes) -> int:
        """The how manieth call of this task with these inputs it is: the next engine will not know of those before."""
        if execution.calls is None:
            execution.calls = {}
        same = hash((task, body))  # not the inputs themselves, which may be large
        ordinal = execution.calls[same] = execution.calls.get(same, 0) + 1
        return ordinal

    def keep(self, batch: list[Any]) -> None:
        """Of what is about to be sent, what may have to be sent again."""
        self._outcomes += [frame for frame in batch if type(frame) in _OUTCOMES]

    def committed(self, frame: frames.Committed) -> None:
        for _ in range(min(frame.outcomes, len(self._outcomes))):
            self.runs.pop(self._outcomes.popleft().epoch, None)

    def tell(self) -> list[Any]:
        held = [
            frames.Holds(run.epoch, run.task, run.run, run.action, run.attempt, run.origin, run.context)
            for run in self.runs.copy().values()
            if run.origin is not None
        ]
        return [*held, *self._outcomes]
