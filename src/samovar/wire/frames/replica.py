"""What an engine and its replicas say to each other, and what it says to both replicas and clients."""

from __future__ import annotations

import msgspec

from samovar.model import Bundle, CacheCall, Failure, TaskSpec

VERSION = 1


def other_version(spoken: int) -> str:
    """Why a peer that speaks it is refused."""
    return f"protocol {spoken} is spoken, this engine speaks {VERSION}"


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


# replica → engine


class Origin(Frame, frozen=True):
    """Which action of the journal an attempt is of. A replica keeps it, for the engine that comes after this one."""

    action: str
    parent: str  # the action that called it; "" for a root
    queued: float  # seconds since 1970, as all times here
    started: float
    cold: bool
    failures: int = 0  # of the action's own before this attempt
    failed_at: float = 0.0  # the last of them


class Hello(Frame, frozen=True, tag="hello"):
    """First frame of a replica: the protocol it speaks, who it is and the token it was started with.

    ``is_back``: it has outlived its engine. Then all that it holds follows: ``Holds``, then ``Done`` and ``Failed`` of
    those that have ended, ``Declare`` and ``Submit`` of calls without an answer, and ``Told``.
    """

    version: int
    replica: str
    token: str
    pid: int
    is_back: bool = False


class Holds(Frame, frozen=True, tag="holds"):
    """An execution from another engine, which runs, or whose outcome is not known to be written down."""

    epoch: int
    task: str
    run: str
    number: int  # of the action, within the run
    attempt: int
    origin: Origin
    context: dict[str, str] | None = None


class Told(Frame, frozen=True, tag="told"):
    """That was all of it. ``is_ready``: the user's code is imported."""

    is_ready: bool


class Ready(Frame, frozen=True, tag="ready"):
    """The user's code is imported; executions may come. ``imported`` is what the import took, in seconds."""

    imported: float


class Unfit(Frame, frozen=True, tag="unfit"):
    """The user's code does not import; the replica ends itself."""

    failure: Failure


class Declare(Frame, frozen=True, tag="declare"):
    """From here on this connection calls the task ``ref``."""

    ref: int
    task: TaskSpec


class Submit(Frame, frozen=True, tag="submit"):
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


class Withdraw(Frame, frozen=True, tag="withdraw"):
    """The caller no longer wants the answer of ``call``: abort it."""

    call: int


class Done(Frame, frozen=True, tag="done"):
    """The execution returned. ``ran``: the seconds that the task took, decoding and encoding included."""

    epoch: int
    body: bytes
    blobs: tuple[str, ...] = ()
    ran: float = 0.0


class Failed(Frame, frozen=True, tag="failed"):
    """The execution raised, or was cancelled (``code`` "CancelledError")."""

    epoch: int
    failure: Failure
    ran: float = 0.0  # 0.0: it has not


class Traced(Frame, frozen=True, tag="traced"):
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


class Log(Frame, frozen=True, tag="log"):
    """Text that an execution wrote; epoch 0: written outside of any, or it is not known by which."""

    epoch: int
    stream: str  # "stdout" | "stderr" | "output", past Python | SHARED_STREAM
    text: str


class Beat(Frame, frozen=True, tag="beat"):
    """Sent every second by a thread of its own; ``lag`` is how long the event loop has not answered, in seconds."""

    rss: int  # bytes
    lag: float


class Blocked(Frame, frozen=True, tag="blocked"):
    """The event loop has not turned for ``seconds``, and still does not. Told once, however long it goes on.

    ``epoch``: whose code it runs; 0: nobody's. ``stack``: where that stands, as text.
    """

    epoch: int
    seconds: float
    stack: str


# engine → replica


class Welcome(Frame, frozen=True, tag="welcome"):
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


class Refuse(Frame, frozen=True, tag="refuse"):
    """The handshake does not hold; the connection is closed."""

    reason: str


class Past(Frame, frozen=True):
    """What a traced call came to in an attempt before this one."""

    key: str
    body: bytes = b""
    blobs: tuple[str, ...] = ()
    failure: Failure | None = None


class Run(Frame, frozen=True, tag="run"):
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


class Committed(Frame, frozen=True, tag="committed"):
    """The next ``outcomes`` of this connection, in the order in which they were sent, need not be kept any longer."""

    outcomes: int


class Cancel(Frame, frozen=True, tag="cancel"):
    """Cancel the execution; it answers with Failed or, when it was quicker, Done."""

    epoch: int


class Answer(Frame, frozen=True, tag="answer"):
    """The result of ``call``; ``failure`` is set when it has none."""

    call: int
    body: bytes = b""
    blobs: tuple[str, ...] = ()
    failure: Failure | None = None


# client ↔ engine, where they share no folder


class Part(Frame, frozen=True, tag="part"):
    """The next bytes of a blob. All of it comes before the frame that names it."""

    blob: str
    data: bytes


class Scrap(Frame, frozen=True, tag="scrap"):
    """No frame will name these blobs: what has come of them can go."""

    blobs: tuple[str, ...]
