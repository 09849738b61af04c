"""The history of a world, a line for each thing that happened: for people, and to compare two runs of one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from samovar.core.messages import Command, Event, ReplicaHeard, Tick
from samovar.core.pools import Pools
from samovar.sim.scenario import Call, Scenario
from samovar.sim.watcher import Watcher


class History(Watcher):
    """Ticks and signs of life that bring about nothing are left out."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def began(self, scenario: Scenario, pools: Pools, era: int, now: float) -> None:
        if not era:
            for name, settings in scenario.pools.items():
                self._line(now, f"pool {name}: {_fields(settings)}")
            self._line(now, f"habits: {', '.join(f'{k}={v:g}' for k, v in scenario.habits._asdict().items())}")
        self._line(now, f"== engine {era} begins")

    def killed(self, now: float) -> None:
        self._line(now, "== the engine is killed")

    def named(self, action: int, call: Call, record: str) -> None:
        fates = "" if len(call.fates) == 1 and call.fates[0].value == "returns" else f": {call.fates[0].value}"
        self._say(f"{'':>10}  action {action} is {record} in {call.pool}{fates}")

    def decided(self, event: Event, commands: list[Command], now: float) -> None:
        if commands or not isinstance(event, Tick | ReplicaHeard):
            self._line(now, f"{type(event).__name__} {_fields(event)}".rstrip())
        for command in commands:
            self._say(f"{'':>10}    → {type(command).__name__} {_fields(command)}")

    def committed(self, records: Iterable[str]) -> None:
        if records:
            self._say(f"{'':>10}  committed: {', '.join(records)}")

    def answered(self, key: str) -> None:
        self._say(f"{'':>10}  a client has the outcome of {key}")

    def noted(self, what: str, now: float) -> None:
        self._line(now, f"({what})")

    def ended(self, is_over: bool, now: float) -> None:
        self._line(now, "== all is done" if is_over else "== nothing goes on any more")

    def _line(self, now: float, text: str) -> None:
        self._say(f"{now:10.3f}  {text}")


def _fields(struct: msgspec.Struct) -> str:
    """What is not as it is by default."""
    found = []
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if value != field.default:
            found.append(f"{field.name}={_text(value)}")
    return ", ".join(found)


def _text(value: object) -> str:
    if isinstance(value, msgspec.Struct):
        return f"({_fields(value)})"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(value)
