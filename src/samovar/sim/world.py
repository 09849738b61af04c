"""A world that is made up: a scenario happens to the real core, at virtual time, while watchers look.

Everything random is drawn from one generator, in the order of events, so a scenario has one history.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from samovar.core.messages import Drain, Event, OpenPool, StopPool, Supersede
from samovar.core.pools import CANCEL_GRACE
from samovar.sim.clients import Clients
from samovar.sim.clock import Clock
from samovar.sim.engine import Engine
from samovar.sim.journal import Journal
from samovar.sim.replica import DEATH, Replica
from samovar.sim.scenario import Call, Deed, Fate, Order, Outage, Scenario
from samovar.sim.succession import take_stock
from samovar.sim.watcher import Watcher

_SLACK = 60.0  # seconds more than anything should take, after which a world that does nothing is stuck


class World:
    """``replicas``: those that live."""

    def __init__(self, scenario: Scenario, watchers: Sequence[Watcher]) -> None:
        self.scenario = scenario
        self.watchers = watchers
        self.random = random.Random(scenario.seed)
        self.clock = Clock()
        self.settings = dict(scenario.pools)
        self.replicas: dict[str, Replica] = {}
        self.journal = Journal(self)
        self.clients = Clients(self)
        self.engine: Engine | None = None
        self._executions: Counter[str] = Counter()  # that were begun, by key
        self._eras = 0
        self._is_over = False
        self._to_come = len(scenario.arrivals) + len(scenario.outages)
        self._last = max((arrival.when for arrival in scenario.arrivals), default=0.0)

    def run(self) -> None:
        """Until everything is done and everybody gone, or nothing goes on."""
        self._begin()
        for arrival in self.scenario.arrivals:
            self.clock.at(arrival.when, self._arrive, arrival.call)
        for order in self.scenario.orders:
            self.clock.at(order.when, self._obey, order)
        for outage in self.scenario.outages:
            self.clock.at(outage.when, self._kill, outage)
        limit = self._last + self._patience()
        while not self._is_over and self.clock.now < limit:
            self.clock.step()
        for watcher in self.watchers:
            watcher.ended(self._is_over and not self.journal.unfinished(), self.clock.now)

    def look(self, engine: Engine) -> None:
        """Is everything done? Asked with every tick."""
        is_quiet = not (self._to_come or self.clients.awaited or self.replicas)
        self._is_over = is_quiet and self.journal.is_clean and engine.is_idle

    # messages, which take their time; those of or to an engine that is killed meanwhile are lost

    def send(self, engine: Engine, what: Callable[..., None], *arguments: Any) -> None:
        """To the engine."""
        self.clock.after(self.scenario.habits.latency, self._arrived, engine, what, engine, *arguments)

    def reply(self, engine: Engine, what: Callable[..., None], *arguments: Any) -> None:
        """From the engine."""
        self.clock.after(self.scenario.habits.latency, self._arrived, engine, what, *arguments)

    def _arrived(self, engine: Engine, what: Callable[..., None], *arguments: Any) -> None:
        if engine.is_alive:
            what(*arguments)

    def late(self, epoch: int) -> None:
        """A result comes although its replica is gone."""
        if self.engine is not None:
            self.note(f"a late result of epoch {epoch}")
            self.engine.finished_late(epoch)

    def fate(self, call: Call) -> Fate:
        """Of the next execution of the call."""
        self._executions[call.key] += 1
        return call.fate(self._executions[call.key] - 1)

    def note(self, what: str) -> None:
        for watcher in self.watchers:
            watcher.noted(what, self.clock.now)

    # what happens to it

    def _arrive(self, call: Call) -> None:
        self._to_come -= 1
        self.clients.want(call)

    def _begin(self) -> None:
        self.engine = engine = Engine(self, self._eras)
        for watcher in self.watchers:
            watcher.began(self.scenario, engine.pools, self._eras, self.clock.now)
        self._eras += 1
        if self._eras > 1:
            take_stock(engine, self.journal, self._survivors(), self.scenario.habits.claim, self.clock.now)
            self.clients.connect(engine)
        engine.tick()

    def _survivors(self) -> list[Replica]:
        """Those that come in time; the others end."""
        found = []
        for replica in list(self.replicas.values()):
            is_late = replica.is_frozen or self.random.random() >= self.scenario.habits.survival
            if is_late or replica.is_stopping:
                replica.stop(0.0)
            else:
                found.append(replica)
        return found

    def _kill(self, outage: Outage) -> None:
        self._to_come -= 1
        if self.engine is None:
            return
        self.engine.is_alive = False
        self.engine = None
        self.journal.tear()
        for watcher in self.watchers:
            watcher.killed(self.clock.now)
        self.clock.after(outage.seconds, self._begin)

    def _obey(self, order: Order) -> None:
        engine, subject = self.engine, order.subject
        self.note(f"{order.deed.value} {subject}")
        if order.deed in (Deed.LOSE, Deed.FREEZE):
            return self._strike(order)
        if order.deed is Deed.CONFIGURE:
            self.settings[subject] = order.settings
        if engine is None:
            return
        if order.deed is Deed.ABORT:
            engine.abort(subject, "its user wanted it no more")
        elif subject in engine.pools.pools:
            if order.deed is Deed.CONFIGURE:
                engine.handle(OpenPool(subject, order.settings))
            else:
                events: dict[Deed, Event] = {
                    Deed.DRAIN: Drain(subject),
                    Deed.STOP: StopPool(subject),
                    Deed.SUPERSEDE: Supersede(subject),
                }
                engine.handle(events[order.deed])

    def _strike(self, order: Order) -> None:
        there = [replica for replica in self.replicas.values() if replica.pool == order.subject]
        if not there:
            return
        replica = self.random.choice(there)
        if order.deed is Deed.LOSE:
            replica.end(DEATH)
        else:
            replica.freeze()

    def _patience(self) -> float:
        """Seconds after the last arrival by which everything must be over, whatever had to be waited for."""
        habits, arrivals = self.scenario.habits, self.scenario.arrivals
        every = [*self.scenario.pools.values(), *(order.settings for order in self.scenario.orders)]
        idle = max(pool.idle_ttl for pool in every)
        outages = sum(outage.when + outage.seconds for outage in self.scenario.outages)
        work = sum(_seconds(arrival.call) for arrival in arrivals)
        once = habits.lease + habits.frozen + CANCEL_GRACE + self.scenario.starts.longest
        return _SLACK + idle + outages + habits.claim + 10 * work + 10 * once


def _seconds(call: Call) -> float:
    """Of work, with all below."""
    return sum(step.seconds + sum(map(_seconds, step.calls)) for step in call.steps)
