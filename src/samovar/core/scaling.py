"""How many replicas a pool should have. Plain arithmetic; called on every event, so it stays O(1)."""

from __future__ import annotations

from samovar.model import PoolSettings

START_ATTEMPTS = 4
"""Failed starts in a row after which the queue fails with the reason."""

_BACKOFF = 0.1  # seconds after the first failed start; doubles
_BACKOFF_CAP = 30.0


def desired(settings: PoolSettings, active: int, queued: int) -> int:
    """Replicas that would give every execution a slot, within the policy's range."""
    needed = -(-(active + queued) // settings.concurrency)
    return min(max(needed, settings.min_replicas), settings.max_replicas)


def load(settings: PoolSettings, active: int, queued: int) -> str:
    """What ``desired`` looks at, for people."""
    slots = f"{settings.concurrency} slot{'' if settings.concurrency == 1 else 's'} a replica"
    return f"{queued} queued, {active} active, {slots}"


def wanted(replicas: int, settings: PoolSettings) -> str:
    """How many, for people, and whether the policy bounds them."""
    text = f"{replicas} replica{'' if replicas == 1 else 's'} wanted"
    if replicas == settings.max_replicas:
        return f"{text}, the most that the policy allows"
    if replicas and replicas == settings.min_replicas:
        return f"{text}, the fewest that the policy allows"
    return text


def backlog_outlasts_start(queued: int, slots: int, run_seconds: float, start_seconds: float, waited: float) -> bool:
    """Would a replica that starts now still find work?

    Not when the slots that exist finish the backlog sooner, by the measured means; but once the head of the queue
    has waited for as long as a start takes, the means were wrong and a replica is due.
    """
    if not slots or waited >= start_seconds:
        return True
    return queued * run_seconds / slots >= start_seconds


def backoff(failures: int) -> float:
    """Seconds to wait after the ``failures``-th failed start in a row (from 1)."""
    return min(_BACKOFF_CAP, _BACKOFF * 2.0 ** min(failures - 1, 20))


class Mean:
    """Exponentially weighted mean; None until the first sample."""

    __slots__ = ("value",)

    _WEIGHT = 0.2

    def __init__(self) -> None:
        self.value: float | None = None

    def add(self, sample: float) -> None:
        self.value = sample if self.value is None else self.value + self._WEIGHT * (sample - self.value)
