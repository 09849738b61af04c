"""The frames: everything that an engine and its peers, replicas and clients, say to each other.

A batch of frames is one length-prefixed msgpack array (``session``). ``epoch`` names one execution, is given
once, also by engines that follow one another, and fences: an answer for an epoch that is no longer current is ignored.
``call`` is a number of the submitting replica's own. ``body`` and ``blobs`` are a payload, opaque to the engine.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from samovar.model import (
    Bundle,
    CacheCall,
    Caching,
    Environment,
    Failure,
    Phase,
    PoolStats,
    ReplicaStats,
    TaskSpec,
    Underway,
)

VERSION = 1


def other_version(spoken: int) -> str:
    """Why a peer that speaks it is refused."""
    return f"protocol {spoken} is spoken, this engine speaks {VERSION}"


class _Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


# replica → engine


class Origin(_Frame, frozen=True):
    """Which action of the journal an attempt is of. A replica keeps it, for the engine that comes after this one."""

    action: str
    parent: str  # the action that called it; "" for a root
    queued: float  # seconds since 1970, as all times here
    started: float
    cold: bool
    failures: int = 0  # of the action's own before this attempt
    failed_at: float = 0.0  # the last of them


class Hello(_Frame, frozen=True, tag="hello"):
    """First frame of a replica: the protocol it speaks, who it is and the token it was started with.

    ``is_back``: it has outlived its engine. Then all that it holds follows: ``Holds``, then ``Done`` and ``Failed`` of
    those that have ended, ``Declare`` and ``Submit`` of calls without an answer, and ``Told``.
    """

    version: int
    replica: str
    token: str
    pid: int
    is_back: bool = False


class Holds(_Frame, frozen=True, tag="holds"):
    """An execution from another engine, which runs, or whose outcome is not known to be written down."""

    epoch: int
    task: str
    run: str
    number: int  # of the action, within the run
    attempt: int
    origin: Origin
    context: dict[str, str] | None = None


class Told(_Frame, frozen=True, tag="told"):
    """That was all of it. ``is_ready``: the user's code is imported."""

    is_ready: bool


class Ready(_Frame, frozen=True, tag="ready"):
    """The user's code is imported; executions may come. ``imported`` is what the import took, in seconds."""

    imported: float


class Unfit(_Frame, frozen=True, tag="unfit"):
    """The user's code does not import; the replica ends itself."""

    failure: Failure


class Declare(_Frame, frozen=True, tag="declare"):
    """From here on this connection calls the task ``ref``."""

    ref: int
    task: TaskSpec


class Submit(_Frame, frozen=True, tag="submit"):
    """The execution ``parent`` calls the declared task ``ref``, with these inputs for the ``ordinal``-th time.

    ``context``: in place of the parent's own.
    """

    call: int
    parent: int  # epoch
    ref: int
    body: bytes
    blobs: tuple[str, ...] = ()
    group: str = ""
    ordinal: int = 1
    cached: CacheCall | None = None
    context: dict[str, str] | None = None


class Withdraw(_Frame, frozen=True, tag="withdraw"):
    """The caller no longer wants the answer of ``call``: abort it."""

    call: int


class Done(_Frame, frozen=True, tag="done"):
    """The execution returned. ``ran``: the seconds that the task took, decoding and encoding included."""

    epoch: int
    body: bytes
    blobs: tuple[str, ...] = ()
    ran: float = 0.0


class Failed(_Frame, frozen=True, tag="failed"):
    """The execution raised, or was cancelled (``code`` "CancelledError")."""

    epoch: int
    failure: Failure
    ran: float = 0.0  # 0.0: it has not


class Traced(_Frame, frozen=True, tag="traced"):
    """A traced call of the execution has ended; ``failure`` is set when it raised. To be written down, unanswered."""

    epoch: int
    key: str
    name: str
    started: float  # seconds since 1970
    body: bytes = b""
    blobs: tuple[str, ...] = ()
    failure: Failure | None = None


SHARED_STREAM = "shared"
"""Of text that any of several executions may have written."""

ENGINE_STREAM = "samovar"
"""Of what samovar itself says among a task's lines."""


class Log(_Frame, frozen=True, tag="log"):
    """Text that an execution wrote; epoch 0: written outside of any, or it is not known by which."""

    epoch: int
    stream: str  # "stdout" | "stderr" | "output", past Python | SHARED_STREAM
    text: str


class Beat(_Frame, frozen=True, tag="beat"):
    """Sent every second by a thread of its own; ``lag`` is how long the event loop has not answered, in seconds."""

    rss: int  # bytes
    lag: float


class Blocked(_Frame, frozen=True, tag="blocked"):
    """The event loop has not turned for ``seconds``, and still does not. Told once, however long it goes on.

    ``epoch``: whose code it runs; 0: nobody's. ``stack``: where that stands, as text.
    """

    epoch: int
    seconds: float
    stack: str


# engine → replica


class Welcome(_Frame, frozen=True, tag="welcome"):
    """The handshake holds: this is the code to import. ``blobs`` is the folder where large values lie.

    ``keeps_traces``: traced calls are written down. ``outlive``: for how many seconds the replica is to look for the
    next engine when this one has gone. 0: it ends. ``patience``: seconds that a turn of its event loop may take, from
    which on it is ``Blocked``.
    """

    bundle: Bundle
    blobs: str
    keeps_traces: bool = False
    outlive: float = 0.0
    patience: float = 1.0


class Refuse(_Frame, frozen=True, tag="refuse"):
    """The handshake does not hold; the connection is closed."""

    reason: str


class Past(_Frame, frozen=True):
    """What a traced call came to in an attempt before this one."""

    key: str
    body: bytes = b""
    blobs: tuple[str, ...] = ()
    failure: Failure | None = None


class Run(_Frame, frozen=True, tag="run"):
    """Execute ``module:qualname`` with the inputs in the payload."""

    epoch: int
    task: str
    module: str
    qualname: str
    run: str
    action: int
    attempt: int
    body: bytes
    blobs: tuple[str, ...] = ()
    max_inline: int = 10 * 1024 * 1024
    context: dict[str, str] | None = None
    past: tuple[Past, ...] = ()
    origin: Origin | None = None  # where a journal is kept
    trace: str = ""  # the span of this attempt, where the engine is traced


class Committed(_Frame, frozen=True, tag="committed"):
    """The next ``outcomes`` of this connection, in the order in which they were sent, need not be kept any longer."""

    outcomes: int


class Cancel(_Frame, frozen=True, tag="cancel"):
    """Cancel the execution; it answers with Failed or, when it was quicker, Done."""

    epoch: int


class Answer(_Frame, frozen=True, tag="answer"):
    """The result of ``call``; ``failure`` is set when it has none."""

    call: int
    body: bytes = b""
    blobs: tuple[str, ...] = ()
    failure: Failure | None = None


# client ↔ engine, where they share no folder


class Part(_Frame, frozen=True, tag="part"):
    """The next bytes of a blob. All of it comes before the frame that names it."""

    blob: str
    data: bytes


class Scrap(_Frame, frozen=True, tag="scrap"):
    """No frame will name these blobs: what has come of them can go."""

    blobs: tuple[str, ...]


# client → engine


Verb = Literal["scale", "drain", "stop"]
"""What is done to a pool by hand."""


class Join(_Frame, frozen=True, tag="join"):
    """First frame of a client."""

    version: int
    pid: int


class Start(_Frame, frozen=True, tag="start"):
    """Start a run of the declared task ``ref``; ``call`` names it on this connection."""

    call: int
    ref: int
    name: str
    body: bytes
    blobs: tuple[str, ...] = ()
    context: dict[str, str] | None = None
    cached: CacheCall | None = None
    caching: Caching = ""
    trace: str = ""  # the span that it is started in, as ``samovar.traceparent`` has it


class Prepare(_Frame, frozen=True, tag="prepare"):
    """Tasks of these environments will be called: make ready what their replicas start from. Not answered."""

    environments: tuple[Environment, ...]


class Offer(_Frame, frozen=True, tag="offer"):
    """Is the code of this digest there? ``project`` is where it comes from: what differs from it and came from there
    before is old.
    """

    call: int
    digest: str
    project: str


class Piece(_Frame, frozen=True):
    """The next bytes of a file, compressed; ``path`` is relative, with "/" between its parts."""

    path: str
    data: bytes
    is_executable: bool = False


class Parcel(_Frame, frozen=True, tag="parcel"):
    """Files of the code, one after another; the next parcel comes after the answer to this one."""

    call: int
    digest: str
    pieces: tuple[Piece, ...]
    is_last: bool


class Abort(_Frame, frozen=True, tag="abort"):
    """Nobody wants the run ``call`` any more."""

    call: int
    reason: str


class AbortRun(_Frame, frozen=True, tag="abort run"):
    """The same for a run that another client has started, or an engine before. ``number``: for one action of it and all
    below it; 0: for the whole run."""

    call: int
    name: str
    reason: str
    number: int = 0


class Attach(_Frame, frozen=True, tag="attach"):
    """Tell this client, too, of the run with this name: ``call`` names it on this connection from here on."""

    call: int
    name: str


class Ask(_Frame, frozen=True, tag="ask"):
    """How do things stand? ``replicas``: with each of them."""

    call: int
    replicas: bool = False


class AskActions(_Frame, frozen=True, tag="ask actions"):
    """Which actions are on their way? The newest first, from before the number ``before`` (0: from the newest).

    An empty field is no condition; ``pool`` and ``replica`` are the beginning of a name.
    """

    call: int
    run: str = ""
    task: str = ""
    action: str = ""
    phase: str = ""
    pool: str = ""
    replica: str = ""
    before: int = 0
    limit: int = 100
    parent: str | None = None  # "": of no action, so the first ones of runs


class Find(_Frame, frozen=True, tag="find"):
    """What is written down? What the query is made of is between the client and the one who keeps the journal."""

    call: int
    query: bytes


class Control(_Frame, frozen=True, tag="control"):
    """Change a pool by hand: ``pool`` is its name, the beginning of it, or the name of its environment."""

    call: int
    pool: str
    verb: Verb
    min_replicas: int = 0  # of "scale"
    max_replicas: int = 0


class Shutdown(_Frame, frozen=True, tag="shutdown"):
    """The service is to end: ``grace`` seconds for what runs, then it is aborted."""

    grace: float


# engine → client, or replica


class SlowDown(_Frame, frozen=True, tag="slow down"):
    """There is no room for this now. It comes back whole, so that nobody keeps what is admitted, and is to be said
    again after ``retry_after`` seconds; nobody needs to be told a SlowDownError."""

    said: Submit | Start
    retry_after: float


# engine → client


class Joined(_Frame, frozen=True, tag="joined"):
    """The handshake holds. ``blobs`` is the folder where large values lie, ``pid`` the engine's process."""

    pid: int
    blobs: str
    driver: str
    started_at: float  # seconds since the epoch
    gate: str = ""  # the endpoint for clients of other hosts, without a token; "": there is none
    web: str = ""  # the address of the dashboard, as this client may reach it; "": there is none


class Kept(_Frame, frozen=True, tag="kept"):
    """The answer to ``Offer`` and ``Parcel``: whether the code is there; ``problem``: why it cannot be kept."""

    call: int
    is_there: bool
    problem: str = ""


class Running(_Frame, frozen=True, tag="running"):
    """The run has left the queue."""

    call: int


class Ended(_Frame, frozen=True, tag="ended"):
    """How the run ended; ``failure`` is set when it has no result."""

    call: int
    phase: Phase
    body: bytes = b""
    blobs: tuple[str, ...] = ()
    failure: Failure | None = None


class Aborting(_Frame, frozen=True, tag="aborting"):
    """The answer to ``AbortRun``: whether there is such a run."""

    call: int
    found: bool


class Attached(_Frame, frozen=True, tag="attached"):
    """The answer to ``Attach``; ``task`` is "" when there is no such run, or none that one can be attached to.

    Of a run that has ended already, ``Ended`` follows. ``reason``: why not; "": nobody has ever heard of the run.
    """

    call: int
    task: str = ""
    is_running: bool = False
    reason: str = ""


class Ending(_Frame, frozen=True, tag="ending"):
    """The service ends as it was told to: when the connection does, nobody need wait for it to come back."""


class Line(_Frame, frozen=True, tag="line"):
    """Text that a task of the run wrote; ``label`` says which."""

    label: str
    stream: str
    text: str


class Note(_Frame, frozen=True, tag="note"):
    """A line of progress, for people: an image that is built, a warning."""

    text: str


class Standing(_Frame, frozen=True, tag="standing"):
    """The answer to ``Ask``: the figures of every pool, and of every replica where they were asked for."""

    call: int
    pools: tuple[PoolStats, ...]
    replicas: tuple[ReplicaStats, ...] = ()


class Actions(_Frame, frozen=True, tag="actions"):
    """A part of the answer to ``AskActions``, maybe empty; ``next`` is the ``before`` of the part after it, 0: none."""

    call: int
    actions: tuple[Underway, ...]
    next: int


class Found(_Frame, frozen=True, tag="found"):
    """The answer to ``Find``: a page, or why there is none."""

    call: int
    page: bytes
    problem: str = ""


class Controlled(_Frame, frozen=True, tag="controlled"):
    """The answer to ``Control``: the pool that was meant, or why none was."""

    call: int
    pool: str
    problem: str = ""


FromReplica = (
    Hello | Holds | Told | Ready | Unfit | Declare | Submit | Withdraw | Done | Failed | Traced | Log | Beat | Blocked
)
FromEngine = Welcome | Refuse | Run | Cancel | Answer | SlowDown | Committed
FromClient = (
    Join
    | Start
    | Prepare
    | Attach
    | Abort
    | AbortRun
    | Ask
    | AskActions
    | Find
    | Control
    | Shutdown
    | Offer
    | Parcel
    | Part
    | Scrap
)
ToClient = (
    Joined
    | Refuse
    | SlowDown
    | Running
    | Ended
    | Attached
    | Ending
    | Aborting
    | Line
    | Note
    | Standing
    | Actions
    | Found
    | Controlled
    | Kept
    | Part
    | Scrap
)
