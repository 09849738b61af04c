"""Simulated replicas: they start or do not, execute what they are given, and say so; they die, freeze, and are late.

A replica lives without an engine. It keeps outcomes that are not known to be written down, and knows which of its calls
have no answer: that is what the next engine is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from samovar.model import Failure
from samovar.sim.scenario import Call, Fate

if TYPE_CHECKING:
    from samovar.sim.engine import Engine
    from samovar.sim.world import World

BOOM = Failure("user", "ValueError", "the task raised")
CHILD_FAILED = Failure("user", "CustomError", "what it had called failed")
CANCELLED = Failure("user", "CancelledError", "it was cancelled", recoverable=False)
DEATH = Failure("system", "RuntimeSystemError", "the replica was killed by SIGKILL")
OVERFLOW = Failure("user", "OOMError", "the replica went over its memory limit")
UNFIT = Failure("system", "ReplicaStartError", "the replica could not be started")

_END = 0.05  # seconds at most from a kill to its effect
_CUT_OFF = 0.5  # share of frozen replicas that a kill reaches only when they are back
_GHOSTS = 0.3  # share of the lost whose words still come
_CLEAN_UP = 0.1  # seconds at most that a cancelled execution takes to end


class Execution:
    """One attempt, as its replica sees it. ``waits``: its calls without an answer."""

    __slots__ = (
        "attempt",
        "began",
        "call",
        "epoch",
        "fate",
        "is_active",
        "is_cancelled",
        "record",
        "step",
        "turn",
        "waits",
    )

    def __init__(self, call: Call, record: str, epoch: int, attempt: int, fate: Fate, now: float) -> None:
        self.call = call
        self.record = record
        self.epoch = epoch
        self.attempt = attempt
        self.fate = fate
        self.began = now
        self.step = 0
        self.turn = 0  # the step in which its fate comes
        self.waits: dict[str, Call] = {}
        self.is_active = False
        self.is_cancelled = False


class Kept(NamedTuple):
    call: Call
    record: str
    failure: Failure | None


class Replica:
    def __init__(self, world: World, pool: str, name: str) -> None:
        self.pool = pool
        self.name = name
        self.executions: dict[int, Execution] = {}
        self.estate: dict[int, Kept] = {}
        self.is_alive = True
        self.is_ready = False
        self.is_stopping = False
        self._world = world
        self._clock = world.clock
        self._random = world.random
        self._active = 0
        self._thaws = 0.0
        self._failed_calls: set[int] = set()

    @property
    def is_frozen(self) -> bool:
        return self._clock.now < self._thaws

    # its life

    def start(self) -> None:
        starts, random = self._world.scenario.starts, self._random
        seconds = random.uniform(starts.shortest, starts.longest)
        if random.random() >= starts.failing:
            self._clock.after(seconds, self.act, self._ready)
        elif random.random() < starts.permanent:
            self._clock.after(seconds, self._unfit, True)
        else:
            self._clock.after(seconds, *((self._unfit, False) if random.random() < 0.5 else (self.end, DEATH)))

    def _ready(self) -> None:
        self.is_ready = True
        self.say(lambda engine: engine.ready(self))
        self._beat()

    def _unfit(self, permanent: bool) -> None:
        if not self.is_alive:
            return
        if self._world.engine is not None:
            self._world.send(self._world.engine, lambda engine: engine.unfit(self, UNFIT, permanent))
        if permanent:  # it tells, and then ends
            self._clock.after(2 * self._world.scenario.habits.latency, self.end, UNFIT)
        else:
            self.is_alive = False
            self._world.replicas.pop(self.name)

    def _beat(self) -> None:
        if self.is_alive:
            self.say(lambda engine: engine.heard(self))
            self._clock.after(self._world.scenario.habits.beat, self.act, self._beat)

    def freeze(self) -> None:
        if self.is_ready:
            self._thaws = self._clock.now + self._world.scenario.habits.frozen * self._random.uniform(0.3, 1.2)
            self._world.note(f"{self.name} freezes until {self._thaws:.3f}")

    def stop(self, grace: float) -> None:
        self.is_stopping = True
        delay = self._random.random() * (min(grace, 1.0) or _END)
        if self.is_frozen and self._random.random() < _CUT_OFF:
            delay += self._thaws - self._clock.now
        self._clock.after(delay, self.end, DEATH)

    def end(self, failure: Failure) -> None:
        if not self.is_alive:
            return
        self.is_alive = False
        self._world.replicas.pop(self.name)
        self._world.note(f"{self.name} ends: {failure.message}")
        if self._world.engine is not None:
            self._world.send(self._world.engine, lambda engine: engine.lost(self, failure))
        for epoch in self.executions:
            if self._random.random() < _GHOSTS:
                delay = 2 * self._world.scenario.habits.latency + self._random.random()
                self._clock.after(delay, self._world.late, epoch)

    # what it hears and says

    def act(self, what: Callable[..., None], *arguments: Any) -> None:
        """Now, or when it thaws."""
        if self.is_frozen:
            self._clock.at(self._thaws, self.act, what, *arguments)
        elif self.is_alive:
            what(*arguments)

    def say(self, what: Callable[[Engine], None]) -> None:
        if self._world.engine is not None:
            self._world.send(self._world.engine, lambda engine: what(engine) if self.is_alive else None)

    def run(self, execution: Execution) -> None:
        self.executions[execution.epoch] = execution
        if execution.fate is not Fate.RETURNS:
            execution.turn = self._random.randrange(len(execution.call.steps))
        self._work(execution)

    def cancel(self, epoch: int) -> None:
        execution = self.executions.get(epoch)
        if execution is None or (execution.fate is Fate.CLINGS and not execution.waits):
            return
        execution.is_cancelled = True
        self._clock.after(self._random.random() * _CLEAN_UP, self.act, self._finish, execution, CANCELLED)

    def answer(self, execution: Execution, key: str, succeeded: bool) -> None:
        call = execution.call
        is_over = execution.is_cancelled or execution.epoch not in self.executions
        if is_over or execution.waits.pop(key, None) is None:
            return
        if not succeeded and not call.is_tolerant:
            if call.is_hasty:
                self._finish(execution, CHILD_FAILED)
                return
            self._failed_calls.add(execution.epoch)
        if not execution.waits:
            self._go_on(execution)

    def refuse(self, execution: Execution) -> None:
        """Its calls come to nothing, as it does not count any more."""
        self._finish(execution, CANCELLED)

    # its work

    def _work(self, execution: Execution) -> None:
        execution.is_active = True
        self._active += 1
        for watcher in self._world.watchers:
            watcher.busy(self.name, self._active, self._clock.now)
        self._clock.after(execution.call.steps[execution.step].seconds, self.act, self._worked, execution)

    def _rest(self, execution: Execution) -> None:
        if execution.is_active:
            execution.is_active = False
            self._active -= 1

    def _worked(self, execution: Execution) -> None:
        if execution.epoch not in self.executions or execution.is_cancelled:
            return
        if execution.step == execution.turn and execution.fate is not Fate.RETURNS:
            fate, execution.fate = execution.fate, Fate.RETURNS
            if fate is Fate.RAISES:
                return self._finish(execution, BOOM)
            if fate is Fate.DIES:
                return self.end(DEATH)
            if fate is Fate.OVERFLOWS:
                return self.end(OVERFLOW)
            if fate is Fate.FREEZES:
                self.freeze()
                return self.act(self._worked, execution)
        step = execution.call.steps[execution.step]
        if not step.calls:
            return self._go_on(execution)
        self._rest(execution)
        execution.waits = {call.key: call for call in step.calls}
        for call in step.calls:
            self._call(execution, call)
        if step.patience is not None:
            self._clock.after(step.patience, self.act, self._withdraw, execution, execution.step)

    def _call(self, execution: Execution, call: Call) -> None:
        self.say(lambda engine: engine.called(self, execution, call))

    def call_again(self, execution: Execution, call: Call) -> None:
        """There was no room. Who has been told otherwise in the meantime does not."""
        if execution.epoch in self.executions and call.key in execution.waits and not execution.is_cancelled:
            self._call(execution, call)

    def _withdraw(self, execution: Execution, step: int) -> None:
        if execution.epoch in self.executions and execution.step == step:
            for key in execution.waits:
                self.say(lambda engine, key=key: engine.withdrawn(execution, key))  # type: ignore[misc]

    def _go_on(self, execution: Execution) -> None:
        if execution.epoch in self._failed_calls:
            return self._finish(execution, CHILD_FAILED)
        execution.step += 1
        if execution.step == len(execution.call.steps):
            return self._finish(execution, None)
        self._rest(execution)
        self._work(execution)

    def _finish(self, execution: Execution, failure: Failure | None) -> None:
        if self.executions.pop(execution.epoch, None) is None:
            return
        self._rest(execution)
        self._failed_calls.discard(execution.epoch)
        self.estate[execution.epoch] = Kept(execution.call, execution.record, failure)
        self.say(lambda engine: engine.finished(self, execution.epoch, failure))
