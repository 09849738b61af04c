"""What happened (events) and what is to be done (commands).

The engine turns bytes and exits into events, hands them to ``Pools.handle`` with the time, and carries out the
commands. ``action`` and ``epoch`` are numbers, unique in one engine; ``epoch`` names one attempt on one replica.
"""

from __future__ import annotations

import msgspec

from samovar.model import Failure, Phase, PoolSettings, Retry, Timeouts


class _Message(msgspec.Struct, frozen=True, gc=False):
    pass


# events


class OpenPool(_Message, frozen=True):
    """A pool exists from here on; of one that exists already, the settings change."""

    pool: str
    settings: PoolSettings


class Submit(_Message, frozen=True):
    """Somebody asks for an action. ``parent`` is the action that called it, or 0.

    ``waits``: it may not have to run; it is no work of its pool until ``Enqueue``. ``run`` is a number of whoever it
    shares its turns with: those with different numbers get the same number of turns.
    """

    action: int
    pool: str
    parent: int = 0
    retry: Retry = Retry()
    timeouts: Timeouts = Timeouts()
    waits: bool = False
    run: int = 0


class Enqueue(_Message, frozen=True):
    """An action that waits has to run."""

    action: int


class Answered(_Message, frozen=True):
    """An action that waits need not run: its result is there."""

    action: int


class Held(_Message, frozen=True):
    """An execution on a replica that is adopted. ``waits``: it has called tasks and has no answer yet."""

    action: int
    epoch: int
    attempt: int
    waits: bool


class Adopt(_Message, frozen=True):
    """A replica that another engine has started lives on, with what it runs. Nobody has asked for these actions yet."""

    pool: str
    replica: str
    is_ready: bool
    executions: tuple[Held, ...] = ()


class Claim(_Message, frozen=True):
    """Somebody asks for an action that an adopted replica runs: in place of ``Submit``.

    ``age``: seconds since it was asked for first; ``ran``: since its attempt began; ``failures``: of its own before.
    """

    action: int
    parent: int = 0
    retry: Retry = Retry()
    timeouts: Timeouts = Timeouts()
    age: float = 0.0
    ran: float = 0.0
    failures: int = 0
    run: int = 0


class ReplicaReady(_Message, frozen=True):
    replica: str


class ReplicaHeard(_Message, frozen=True):
    """A replica that is ready has given a sign of life."""

    replica: str


class ReplicaUnfit(_Message, frozen=True):
    """A replica cannot start. ``permanent``: trying again would not help."""

    replica: str
    failure: Failure
    permanent: bool = False


class ReplicaLost(_Message, frozen=True):
    """A replica that was starting, ready or draining has ended; ``failure`` says how, for whom it killed."""

    replica: str
    failure: Failure


class Finished(_Message, frozen=True):
    """The attempt ``epoch`` ended on its replica; ``failure`` is None when it returned."""

    epoch: int
    failure: Failure | None = None


class Abort(_Message, frozen=True):
    """Nobody wants this action, nor anything below it, any more. ``superseded``: not this attempt, as in ``Settle``."""

    action: int
    reason: str = ""
    superseded: bool = False


class Drain(_Message, frozen=True):
    """Stop a pool for good when its work is done: nothing new is started for it unless work remains.

    When it has been empty for its idle_ttl it is forgotten. A new root action takes the word back.
    """

    pool: str


class StopPool(_Message, frozen=True):
    """End every replica of a pool now. What ran is queued again, and fresh replicas start where work is left."""

    pool: str


class Supersede(_Message, frozen=True):
    """Others take the place of a pool, whose code is old: what it has is done by the replicas that it has, and as soon
    as it has no work they end. When it has been empty for its idle_ttl it is forgotten.
    """

    pool: str


class Tick(_Message, frozen=True):
    """Time has passed."""


Event = (
    OpenPool
    | Submit
    | Adopt
    | Claim
    | Enqueue
    | Answered
    | ReplicaReady
    | ReplicaHeard
    | ReplicaUnfit
    | ReplicaLost
    | Finished
    | Abort
    | Drain
    | StopPool
    | Supersede
    | Tick
)


# commands


class StartReplica(_Message, frozen=True):
    pool: str
    replica: str


class StopReplica(_Message, frozen=True):
    """``grace`` seconds for a clean end; 0 kills. ``reason``: why it must end, where it is at fault itself."""

    replica: str
    grace: float
    reason: str = ""


class Assign(_Message, frozen=True):
    """Run the action on the replica. ``cold``: it had to wait for this replica to start. ``failures``: of its own, so
    far."""

    replica: str
    action: int
    epoch: int
    attempt: int
    cold: bool
    failures: int = 0


class Cancel(_Message, frozen=True):
    """Ask the replica to cancel an execution."""

    replica: str
    epoch: int


class Settle(_Message, frozen=True):
    """The action has its final phase. Exactly once for each action.

    ``epoch`` is the attempt whose result counts (0: none did). ``superseded``: it was aborted with an attempt of its
    parent, and the next attempt may ask for the same again.
    """

    action: int
    phase: Phase
    epoch: int = 0
    failure: Failure | None = None
    superseded: bool = False


class Deliver(_Message, frozen=True):
    """Hand the outcome of a settled action to whoever asked for it. Exactly once, after its Settle: at once, or when
    the parent that waits for it has a slot again."""

    action: int


class Retried(_Message, frozen=True):
    """The attempt ``epoch`` ended and did not settle its action: it is tried again, or its replica was lost.

    Told before the action's next ``Assign``.
    """

    action: int
    epoch: int
    failure: Failure


class Scaled(_Message, frozen=True):
    """The pool wants ``replicas`` from here on. Told before what is started or stopped for it."""

    pool: str
    replicas: int
    reason: str  # a sentence for people


class ClosePool(_Message, frozen=True):
    """A drained pool is forgotten: it has no replica and no work, and whoever wants it again opens it again."""

    pool: str


Command = StartReplica | StopReplica | Assign | Cancel | Settle | Deliver | Retried | Scaled | ClosePool
