"""One pool: the queue of a version of an environment, and its replicas.

Late binding: an action waits here, never behind a busy replica. A pool appends the commands it decides on to the
list that all pools of an engine share. Everything is O(1) in replicas and queue but ``tick``.
"""

from __future__ import annotations

from collections.abc import Callable

from samovar.core import admission, scaling
from samovar.core.actions import Action
from samovar.core.messages import Command, Scaled, StartReplica, StopReplica
from samovar.core.queue import Lane, Queue
from samovar.core.replicas import DRAINING, READY, STARTING, Execution, Replica, Roster
from samovar.core.scaling import Mean, backlog_outlasts_start, backoff, desired
from samovar.model import QUEUED, WAITING, PoolSettings, PoolStats

STOP_GRACE = 5.0
"""Seconds an idle replica gets for a clean end."""


class Pool:
    """``prefix``: of the part of a replica's name that is its own."""

    def __init__(
        self, name: str, settings: PoolSettings, out: list[Command], assign: Callable[..., None], prefix: str = ""
    ) -> None:
        self.name = name
        self.settings = settings
        self.replicas: dict[str, Replica] = {}
        self.dormant: set[Replica] = set()  # retired, and all that they still run waits for children
        self.roster = Roster(settings.concurrency)
        self.queue = Queue()
        self.suspects = Lane()  # replicas died under these more than once: each runs alone now
        self.reserved: Replica | None = None  # emptied for, or running, a suspect
        self.suspended = 0  # not queued: they wait out a back-off, or for a result that may be there
        self.active = 0  # on replicas that are not draining
        self.executions = 0  # all that live here, parked ones too
        self.starting = 0
        self.ready = 0
        self.drained = False  # for good: nobody will want it again
        self.superseded = False  # drained, and its replicas are kept for work alone
        self.awake = False  # between the first action and idle_ttl
        self.busy_at = 0.0
        self.done = self.failed = self.cold = self.warm = 0
        self.failed_starts = 0
        self.retry_at = 0.0
        self.run_seconds = Mean()
        self.start_seconds = Mean()
        self._out = out
        self._assign = assign
        self._named = 0
        self._prefix = prefix

    # the queue

    def admission(self, run: int, bound: int) -> float:
        """0.0: an action of the run may join the queue. Otherwise the seconds after which to ask again."""
        if admission.has_room(bound, self.queued, self.queue.held(run), self.queue.runs):
            return 0.0
        return admission.retry_after(self.queued, self.ready * self.settings.concurrency, self.run_seconds.value)

    @property
    def queued(self) -> int:
        """How many actions wait."""
        return self.queue.length + self.suspects.length

    def submit(self, action: Action, now: float) -> None:
        """New work: it takes its place behind what waits, or a free slot where nothing does."""
        self._awaits(action, now)
        if not self.queued and (replica := self.roster.best()) is not None:
            self._give(action, replica, now)
            self.scale(now)
        else:
            self.queue.append(action)
            self.dispatch(now)

    def requeue(self, action: Action, now: float, suspect: bool) -> None:
        """Back in, at the head: it has waited its turn before."""
        if suspect:
            self.suspects.append(action)
        else:
            self.queue.put_first(action)
        self._awaits(action, now)

    def leave(self, action: Action) -> None:
        """It waits no longer."""
        if action.lane is self.suspects:
            self.suspects.remove(action)
        else:
            self.queue.remove(action)

    def is_over(self, now: float) -> bool:
        """Drained, and empty for long enough for everybody to have seen its figures."""
        is_empty = not self.replicas and not self.queued and not self.suspended
        return self.drained and is_empty and now - self.busy_at >= self.settings.idle_ttl

    def suspend(self, action: Action) -> None:
        """It is no work of this pool until it is queued."""
        action.phase = WAITING
        self.suspended += 1

    def _awaits(self, action: Action, now: float) -> None:
        if action.phase is WAITING:
            self.suspended -= 1
        action.phase = QUEUED
        action.queued_at = self.busy_at = now
        self.awake = True

    def first_waiting(self) -> Action | None:
        return self.suspects.first or self.queue.first()

    def dispatch(self, now: float) -> None:
        """Give waiting actions to free slots, then see whether more replicas are wanted."""
        if self.suspects.first is not None:
            self._dispatch_suspect(self.suspects.first, now)
        else:
            self._unreserve()
        queue = self.queue
        while queue.length and (replica := self.roster.best()) is not None:
            self._give(queue.take(), replica, now)
        self.scale(now)

    def _dispatch_suspect(self, action: Action, now: float) -> None:
        if self.reserved is None:
            self.reserved = self.roster.best()
            if self.reserved is None:
                return
            self.roster.remove(self.reserved)
        if self.reserved.active == 0:
            self.suspects.remove(action)
            self.reserved.alone = True
            self._give(action, self.reserved, now)

    def _unreserve(self) -> None:
        """No suspect waits: the replica that was being emptied for one is on offer again."""
        if self.reserved is not None and not self.reserved.alone:
            self.roster.add(self.reserved)
            self.reserved = None

    def _give(self, action: Action, replica: Replica, now: float) -> None:
        cold = replica.served < self.settings.concurrency and action.queued_at <= replica.ready_at
        if cold:
            self.cold += 1
        else:
            self.warm += 1
        self.occupy(replica)
        replica.served += 1
        self._assign(action, replica, cold, now)
        if replica.served == self.settings.max_tasks:
            self.drain(replica)

    # slots

    def occupy(self, replica: Replica) -> None:
        self._change(replica, 1)

    def release(self, replica: Replica, now: float) -> None:
        self._change(replica, -1)
        if replica.active == 0:
            replica.alone = False
        replica.idle_since = self.busy_at = now

    def _change(self, replica: Replica, by: int) -> None:
        if replica.place >= 0:
            self.roster.shift(replica, by)
        else:
            replica.active += by
        if replica.stage is READY:
            self.active += by
        else:
            self._review(replica)

    def has_slot(self, replica: Replica) -> bool:
        """May a parked execution of this replica resume? Not beside a suspect."""
        if replica.alone:
            return False
        return replica.active < self.settings.concurrency

    def freed(self, replica: Replica) -> None:
        """A slot was given back: a replica reserved for suspects returns, one that is done retires."""
        if replica is self.reserved and not self.suspects.length:
            self._unreserve()
        if replica.stage is DRAINING:
            self.retire_if_done(replica)

    # replicas

    def scale(self, now: float) -> None:
        """Start what is missing: at once, but not while starts back off or where the backlog is gone sooner."""
        usable = self.starting + self.ready
        if not self.awake or usable >= self.settings.max_replicas or now < self.retry_at:
            return
        wanted = desired(self.settings, self.active, self.queued)
        if wanted <= usable or (usable >= self.settings.min_replicas and not self._worth_a_start(now)):
            return
        missing = min(wanted - usable, self.settings.max_replicas - self._live())
        if missing > 0:
            self._tell(usable + missing, scaling.load(self.settings, self.active, self.queued))
        for _ in range(missing):
            self._named += 1
            replica = Replica(f"{self.name}-{self._prefix}{self._named}", self, now)
            self.replicas[replica.id] = replica
            self.starting += 1
            self._out.append(StartReplica(self.name, replica.id))

    def _tell(self, replicas: int, why: str) -> None:
        self._out.append(Scaled(self.name, replicas, f"{why}: {scaling.wanted(replicas, self.settings)}"))

    def _live(self) -> int:
        """Replicas that count against max: not the dormant, whose children may need one that is not there yet."""
        return len(self.replicas) - len(self.dormant)

    def _worth_a_start(self, now: float) -> bool:
        run, start = self.run_seconds.value, self.start_seconds.value
        head = self.queue.first()
        if run is None or start is None or head is None:
            return True
        slots = self.ready * self.settings.concurrency
        return backlog_outlasts_start(self.queued, slots, run, start, now - head.queued_at)

    def became_ready(self, replica: Replica, now: float) -> None:
        replica.stage = READY
        replica.ready_at = replica.heard_at = replica.idle_since = now
        self.start_seconds.add(now - replica.started_at)
        self.starting -= 1
        self.ready += 1
        self.failed_starts = 0
        self.retry_at = 0.0
        self.roster.add(replica)

    def adopt(self, name: str, is_ready: bool, now: float) -> Replica:
        """A replica that this pool has not started."""
        replica = self.replicas[name] = Replica(name, self, now)
        self.awake = True
        self.busy_at = now
        if is_ready:
            replica.stage = READY
            self.ready += 1
            self.roster.add(replica)
        else:
            self.starting += 1
        return replica

    def drain(self, replica: Replica) -> None:
        """Nothing new for this replica; it ends when its last execution has."""
        if replica.stage is DRAINING:
            return
        self._withdraw(replica)
        replica.stage = DRAINING
        self._review(replica)
        self.retire_if_done(replica)

    def _review(self, replica: Replica) -> None:
        """Something has changed on a replica that retires: is it dormant? One that is killed makes room by its end."""
        if replica.executions and not replica.active and not replica.killed:
            self.dormant.add(replica)
        else:
            self.dormant.discard(replica)

    def retire_if_done(self, replica: Replica) -> None:
        if replica.stage is DRAINING and not replica.executions:
            self.stop(replica, STOP_GRACE)

    def stop(self, replica: Replica, grace: float) -> None:
        if not replica.stopping:
            replica.stopping = True
            self._out.append(StopReplica(replica.id, grace))

    def kill(self, replica: Replica, reason: str = "") -> None:
        """It ends now, with what runs on it; until it has, nothing new is given to it."""
        self.drain(replica)
        if not replica.killed:
            replica.killed = replica.stopping = True
            self._review(replica)
            self._out.append(StopReplica(replica.id, 0.0, reason))

    def kill_silent(self, now: float, lease: float) -> None:
        """A replica that is not heard of is stopped, hung or cut off: what it runs is better run elsewhere."""
        for replica in list(self.replicas.values()):
            if replica.stage is not STARTING and now - replica.heard_at > lease and not replica.killed:
                self.kill(replica, f"it has not been heard of for {now - replica.heard_at:.0f} s")

    def forget(self, replica: Replica) -> None:
        """The replica is gone."""
        if replica.stage is not DRAINING:
            self._withdraw(replica)
        self.dormant.discard(replica)
        del self.replicas[replica.id]

    def _withdraw(self, replica: Replica) -> None:
        """Take a replica out of everything that counts or offers its slots."""
        if replica.stage is STARTING:
            self.starting -= 1
            return
        self.ready -= 1
        self.active -= replica.active
        if replica.place >= 0:
            self.roster.remove(replica)
        if replica is self.reserved:
            self.reserved = None

    def start_failed(self, now: float) -> None:
        self.failed_starts += 1
        self.retry_at = now + backoff(self.failed_starts)

    def give_up(self) -> None:
        """Starts have failed for good; the next action tries from scratch."""
        failed, self.failed_starts = self.failed_starts, 0
        self.retry_at = 0.0
        self.fall_asleep(f"{failed} start{'' if failed == 1 else 's'} in a row failed")

    def fall_asleep(self, why: str) -> None:
        """Every replica ends, once it is done; the next action wakes the pool."""
        self.awake = False
        if self.ready or self.starting:
            self._tell(0, why)
        for replica in list(self.replicas.values()):
            self.drain(replica)

    def rest(self, now: float) -> bool:
        """Fall asleep after ``idle_ttl`` without work, or at once where others have taken this pool's place."""
        if self.queued or self.executions or (not self.superseded and now - self.busy_at < self.settings.idle_ttl):
            return False
        self.fall_asleep(
            "other code has taken its place" if self.superseded else f"no work for {self.settings.idle_ttl:g} s"
        )
        return True

    def configure(self, settings: PoolSettings, now: float) -> None:
        """Range and lifetimes change at once; concurrency and max_tasks belong to the version and do not."""
        self.settings = settings
        self.shrink()
        self.dispatch(now)

    def shrink(self) -> None:
        surplus = self.ready + self.starting - self.settings.max_replicas
        usable = [r for r in self.replicas.values() if r.stage is not DRAINING]
        if surplus > 0:
            self._tell(self.settings.max_replicas, "the policy has changed")
        for replica in sorted(usable, key=lambda r: (r.stage is READY, r.active))[: max(0, surplus)]:
            self.drain(replica)

    def tick(self, now: float) -> None:
        """Time alone: idle pools stop, one idle replica too many stops, a start that backed off is tried again."""
        if not self.awake:
            return
        if self.rest(now):
            return
        self._scale_down(now)
        self.dispatch(now)

    def _scale_down(self, now: float) -> None:
        if self.queued or self.ready + self.starting <= desired(self.settings, self.active, self.queued):
            return
        for replica in self.replicas.values():
            has_no_work = replica.stage is READY and not replica.executions
            if has_no_work and now - replica.idle_since >= self.settings.scaledown_ttl:
                idle = f"{replica.id} has had no work for {self.settings.scaledown_ttl:g} s"
                self._tell(self.ready + self.starting - 1, idle)
                self.drain(replica)
                return

    # for people

    def note(self, now: float) -> str:
        """Why the head of the queue waits."""
        if not self.queued:
            return ""
        if now < self.retry_at:
            return f"start backing off ({self.failed_starts} failed)"
        if self.starting and not self.ready:
            return "replica starting"
        return "no free slot"

    def stats(self, now: float) -> PoolStats:
        active = sum(replica.active for replica in self.replicas.values())
        return PoolStats(
            self.name,
            self.starting,
            self.ready,
            len(self.replicas) - self.starting - self.ready,
            self.ready * self.settings.concurrency,
            active,
            self.executions - active,
            self.queued,
            self.done,
            self.failed,
            self.cold,
            self.warm,
            self.note(now),
            self.state,
            self.settings,
        )

    @property
    def state(self) -> str:
        """awake; draining: for good, when its work is done; asleep: no replica until there is work."""
        if self.drained:
            return "draining" if self.replicas or self.queued else "drained"
        return "awake" if self.awake else "asleep"

    def add_execution(self, execution: Execution) -> None:
        self.executions += 1
        execution.replica.executions[execution.epoch] = execution

    def remove_execution(self, execution: Execution) -> None:
        self.executions -= 1
        del execution.replica.executions[execution.epoch]
        if execution.replica.stage is DRAINING:
            self._review(execution.replica)
