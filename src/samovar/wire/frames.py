"""The frames: everything that an engine and its peers, replicas and clients, say to each other.

A batch of frames is one length-prefixed msgpack array (``session``). ``epoch`` names one execution, is given
once by an engine, and fences: an answer for an epoch that is no longer current is ignored. ``call`` is a
number of the submitting replica's own. ``body`` and ``blobs`` are a payload, opaque to the engine.
"""

from __future__ import annotations

import msgspec

from samovar.model import Bundle, Failure, Phase, PoolStats, TaskSpec

VERSION = 1


def other_version(spoken: int) -> str:
    """Why a peer that speaks it is refused."""
    return f"protocol {spoken} is spoken, this engine speaks {VERSION}"


class _Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


# replica → engine


class Hello(_Frame, frozen=True, tag="hello"):
    """First frame of a replica: the protocol it speaks, who it is and the token it was started with."""

    version: int
    replica: str
    token: str
    pid: int


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
    """The execution ``parent`` calls the declared task ``ref``."""

    call: int
    parent: int  # epoch
    ref: int
    body: bytes
    blobs: tuple[str, ...] = ()
    group: str = ""


class Withdraw(_Frame, frozen=True, tag="withdraw"):
    """The caller no longer wants the answer of ``call``: abort it."""

    call: int


class Done(_Frame, frozen=True, tag="done"):
    """The execution returned."""

    epoch: int
    body: bytes
    blobs: tuple[str, ...] = ()


class Failed(_Frame, frozen=True, tag="failed"):
    """The execution raised, or was cancelled (``code`` "CancelledError")."""

    epoch: int
    failure: Failure


class Log(_Frame, frozen=True, tag="log"):
    """Text that an execution wrote; epoch 0: written outside of any."""

    epoch: int
    stream: str  # "stdout" | "stderr"
    text: str


class Beat(_Frame, frozen=True, tag="beat"):
    """Sent every second by a thread of its own; ``lag`` is how long the event loop has not answered, in seconds."""

    rss: int  # bytes
    lag: float


# engine → replica


class Welcome(_Frame, frozen=True, tag="welcome"):
    """The handshake holds: this is the code to import. ``blobs`` is the folder where large values lie."""

    bundle: Bundle
    blobs: str


class Refuse(_Frame, frozen=True, tag="refuse"):
    """The handshake does not hold; the connection is closed."""

    reason: str


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


class Cancel(_Frame, frozen=True, tag="cancel"):
    """Cancel the execution; it answers with Failed or, when it was quicker, Done."""

    epoch: int


class Answer(_Frame, frozen=True, tag="answer"):
    """The result of ``call``; ``failure`` is set when it has none."""

    call: int
    body: bytes = b""
    blobs: tuple[str, ...] = ()
    failure: Failure | None = None


# client → engine


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


class Abort(_Frame, frozen=True, tag="abort"):
    """Nobody wants the run ``call`` any more."""

    call: int
    reason: str


class AbortRun(_Frame, frozen=True, tag="abort run"):
    """The same for a run that another client has started, or an engine before."""

    call: int
    name: str
    reason: str


class Ask(_Frame, frozen=True, tag="ask"):
    """How do things stand?"""

    call: int


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


class Line(_Frame, frozen=True, tag="line"):
    """Text that a task of the run wrote; ``label`` says which."""

    label: str
    stream: str
    text: str


class Note(_Frame, frozen=True, tag="note"):
    """A line of progress, for people: an image that is built, a warning."""

    text: str


class Standing(_Frame, frozen=True, tag="standing"):
    """The answer to ``Ask``: the figures of every pool."""

    call: int
    pools: tuple[PoolStats, ...]


FromReplica = Hello | Ready | Unfit | Declare | Submit | Withdraw | Done | Failed | Log | Beat
FromEngine = Welcome | Refuse | Run | Cancel | Answer | SlowDown
FromClient = Join | Start | Abort | AbortRun | Ask | Shutdown
ToClient = Joined | Refuse | SlowDown | Running | Ended | Aborting | Line | Note | Standing
