"""Simulated clients: they start runs, come again when there is no room, and again when the engine was killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samovar.sim.scenario import Call

if TYPE_CHECKING:
    from samovar.sim.engine import Engine
    from samovar.sim.world import World


class Clients:
    """``awaited``: runs that were started, or are to be, and have no outcome."""

    def __init__(self, world: World) -> None:
        self.awaited: dict[str, Call] = {}
        self._world = world

    def want(self, call: Call) -> None:
        self.awaited[call.key] = call
        if self._world.engine is not None:
            self._world.send(self._world.engine, self._ask, call)

    def connect(self, engine: Engine) -> None:
        """There is another engine: ask for all that has no outcome."""
        for call in list(self.awaited.values()):
            self._world.send(engine, self._ask, call)

    def ended(self, key: str) -> None:
        if self.awaited.pop(key, None) is not None:
            for watcher in self._world.watchers:
                watcher.answered(key)

    def _ask(self, engine: Engine, call: Call) -> None:
        if self._world.journal.outcome(call.key) is not None:
            self._world.reply(engine, self.ended, call.key)
        elif wait := engine.start(call):
            self._world.clock.after(wait, self._ask_again, engine, call)

    def _ask_again(self, engine: Engine, call: Call) -> None:
        if engine.is_alive and call.key in self.awaited:
            self._ask(engine, call)
