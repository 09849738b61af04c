"""What the API says, by the names that its OpenAPI description has. Times are seconds since 1970, sizes are bytes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from samovar.model import Phase

PoolState = Literal["awake", "asleep", "draining", "drained"]
ReplicaState = Literal["starting", "ready", "draining"]
SpanName = Literal["queue", "start", "dispatch", "run", "parked", "retry"]


class Problem(BaseModel):
    """RFC 9457: why there is no answer, and in ``detail`` what to do."""

    type: str
    title: str
    status: int
    detail: str


class Journal(BaseModel):
    kept: bool
    backlog: int = 0  # entries that are not committed
    lag: float = 0.0  # seconds since the last commit, or since there has been anything to commit
    is_slow: bool = False
    trouble: str = ""


class Service(BaseModel):
    version: str
    pid: int
    driver: str
    started_at: float
    address: str
    url: str
    journal: Journal
    now: float


class Settings(BaseModel):
    min_replicas: int
    max_replicas: int
    concurrency: int
    idle_ttl: float
    scaledown_ttl: float
    max_tasks: int | None


class PoolHistory(BaseModel):
    """One sample a second, the oldest first."""

    at: list[float] = []
    queued: list[int] = []
    active: list[int] = []
    done_per_second: list[float] = []


class ReplicaHistory(BaseModel):
    """One sample a second, the oldest first."""

    at: list[float] = []
    rss: list[int] = []
    lag: list[float] = []
    cpu: list[float | None] = []
    active: list[int] = []


class Counts(BaseModel):
    starting: int
    ready: int
    draining: int


class Blockage(BaseModel):
    """A task keeps the event loop of its replica from turning."""

    task: str  # "" where it is code that no task has started
    label: str  # of the action
    seconds: float  # so far
    stack: str


class Replica(BaseModel):
    name: str
    pool: str
    state: ReplicaState
    slots: int
    active: int
    parked: int
    served: int
    age: float  # seconds since its start was ordered
    heard: float  # seconds since its last sign of life
    pid: int
    rss: int
    cpu: float | None  # the part of one core that it used in the last second
    lag: float  # seconds for which its event loop has not answered
    blockage: Blockage | None = None
    runs: list[str]
    started_at: float


class ReplicaDetail(Replica):
    history: ReplicaHistory
    environment: str
    log: list[str]


class Pool(BaseModel):
    name: str
    environment: str
    state: PoolState
    note: str
    queued: int
    slots: int
    active: int
    parked: int
    replicas: Counts
    done: int
    failed: int
    cold: int
    warm: int
    throughput: float  # actions a second over the last 10 s
    settings: Settings
    history: PoolHistory
    rows: list[Replica]


class PoolList(BaseModel):
    items: list[Pool]
    next: str = ""


class Scale(BaseModel):
    """How many replicas a pool may have, until the task's own policy changes."""

    model_config = ConfigDict(extra="forbid")

    min: int = Field(ge=0, le=100_000)
    max: int = Field(ge=1, le=100_000)


class Abort(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: str = Field("", max_length=1000)


class Aborting(BaseModel):
    """The end was asked for; the run or the action tells when it has come."""

    run: str
    action: str


class Run(BaseModel):
    name: str
    task: str
    phase: Phase
    started: float
    ended: float | None
    actions: int
    engine: str
    is_live: bool


class RunList(BaseModel):
    items: list[Run]
    next: str


class RunCounts(BaseModel):
    """Of a run's actions; null: not known."""

    queued: int | None
    waiting: int | None
    running: int | None
    succeeded: int | None
    failed: int | None
    aborted: int | None
    timed_out: int | None


class Action(BaseModel):
    run: str
    id: str
    number: int | None  # within the run, as lines of its log have it
    parent: str
    task: str
    phase: Phase
    queued: float
    started: float | None
    ended: float | None
    attempts: int
    replica: str
    cold: bool
    cached: bool
    is_traced: bool  # a traced call inside an action, no action of its own
    error: str
    has_children: bool | None


class ActionList(BaseModel):
    items: list[Action]
    next: str


class RunDetail(Run):
    counts: RunCounts
    root: Action | None
    pools: list[str]


class Attempt(BaseModel):
    attempt: int
    replica: str
    cold: bool
    started: float
    ended: float | None
    failure: str


class Failure(BaseModel):
    kind: str
    code: str
    message: str
    traceback: str


class Span(BaseModel):
    name: SpanName
    start: float
    end: float | None
    reason: str


class ActionDetail(Action):
    inputs: str | None
    result: str | None
    attempts_list: list[Attempt]
    failure: Failure | None
    spans: list[Span]
    pool: str


class LogLine(BaseModel):
    at: float
    action: str
    number: int
    task: str
    stream: str
    text: str


class LogLines(BaseModel):
    lines: list[LogLine]
    next: str
    is_last: bool


class TimelineReplica(BaseModel):
    name: str
    starting_at: float
    ready_at: float | None
    ended_at: float | None
    end_reason: str


class Executions(BaseModel):
    """Columns; ``row``, ``task`` and ``run`` are places in the lists beside them. ``phase``: 0 it runs, 1 succeeded, 2
    failed, 3 aborted, 4 tried again. Where ``members`` is more than 1 it is so many short executions of one task, from
    the first start to the last end: ``run``, ``action``, ``attempt`` and ``cold`` are those of the first one. ``busy``:
    the seconds that they took, added up."""

    row: list[int]
    start: list[float]
    end: list[float | None]
    task: list[int]
    phase: list[int]
    cold: list[int]
    attempt: list[int]
    run: list[int]
    action: list[int]
    members: list[int]
    busy: list[float]


class Parked(BaseModel):
    """Columns; ``execution`` is a place in the columns of executions."""

    execution: list[int]
    start: list[float]
    end: list[float | None]


class TimelineEvent(BaseModel):
    at: float
    change: str
    reason: str
    replicas: int
    replica: str


class Timeline(BaseModel):
    pool: str
    since: float | None
    until: float | None
    now: float
    tasks: list[str]
    replicas: list[TimelineReplica]
    executions: Executions
    runs: list[str]
    parked: Parked
    events: list[TimelineEvent]
    dropped: int  # older executions that are not kept


class Health(BaseModel):
    status: Literal["ok"]
