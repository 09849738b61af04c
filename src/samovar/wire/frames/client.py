"""What an engine and its clients say to each other."""

from __future__ import annotations

from typing import Literal

from samovar.model import CacheCall, Caching, Environment, Failure, Phase, PoolStats, ReplicaStats, Underway
from samovar.wire.frames.replica import Frame, Submit

# client → engine


Verb = Literal["scale", "drain", "stop"]
"""What is done to a pool by hand."""


class Join(Frame, frozen=True, tag="join"):
    """First frame of a client."""

    version: int
    pid: int


class Start(Frame, frozen=True, tag="start"):
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


class Prepare(Frame, frozen=True, tag="prepare"):
    """Tasks of these environments will be called: make ready what their replicas start from. Not answered."""

    environments: tuple[Environment, ...]


class Offer(Frame, frozen=True, tag="offer"):
    """Is the code of this digest there? ``project`` is where it comes from: what differs from it and came from there
    before is old.
    """

    call: int
    digest: str
    project: str


class Piece(Frame, frozen=True):
    """The next bytes of a file, compressed; ``path`` is relative, with "/" between its parts."""

    path: str
    data: bytes
    is_executable: bool = False


class Parcel(Frame, frozen=True, tag="parcel"):
    """Files of the code, one after another; the next parcel comes after the answer to this one."""

    call: int
    digest: str
    pieces: tuple[Piece, ...]
    is_last: bool


class Abort(Frame, frozen=True, tag="abort"):
    """Nobody wants the run ``call`` any more."""

    call: int
    reason: str


class AbortRun(Frame, frozen=True, tag="abort run"):
    """The same for a run that another client has started, or an engine before. ``number``: for one action of it and all
    below it; 0: for the whole run."""

    call: int
    name: str
    reason: str
    number: int = 0


class Attach(Frame, frozen=True, tag="attach"):
    """Tell this client, too, of the run with this name: ``call`` names it on this connection from here on."""

    call: int
    name: str


class Ask(Frame, frozen=True, tag="ask"):
    """How do things stand? ``replicas``: with each of them."""

    call: int
    replicas: bool = False


class AskActions(Frame, frozen=True, tag="ask actions"):
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


class Find(Frame, frozen=True, tag="find"):
    """What is written down? What the query is made of is between the client and the one who keeps the journal."""

    call: int
    query: bytes


class Control(Frame, frozen=True, tag="control"):
    """Change a pool by hand: ``pool`` is its name, the beginning of it, or the name of its environment."""

    call: int
    pool: str
    verb: Verb
    min_replicas: int = 0  # of "scale"
    max_replicas: int = 0


class Shutdown(Frame, frozen=True, tag="shutdown"):
    """The service is to end: ``grace`` seconds for what runs, then it is aborted."""

    grace: float


# engine → client, or replica


class SlowDown(Frame, frozen=True, tag="slow down"):
    """There is no room for the call now; it is to be made again after ``retry_after`` seconds, and nobody needs to be
    told a SlowDownError. To a replica its ``Submit`` comes back whole, so that it need not keep what is admitted; a
    client keeps its starts in any case."""

    call: int
    retry_after: float
    said: Submit | None = None


# engine → client


class Joined(Frame, frozen=True, tag="joined"):
    """The handshake holds. ``blobs`` is the folder where large values lie, ``pid`` the engine's process."""

    pid: int
    blobs: str
    driver: str
    started_at: float  # seconds since the epoch
    gate: str = ""  # the endpoint for clients of other hosts, without a token; "": there is none
    web: str = ""  # the address of the dashboard, as this client may reach it; "": there is none


class Kept(Frame, frozen=True, tag="kept"):
    """The answer to ``Offer`` and ``Parcel``: whether the code is there; ``problem``: why it cannot be kept."""

    call: int
    is_there: bool
    problem: str = ""


class Running(Frame, frozen=True, tag="running"):
    """The run has left the queue."""

    call: int


class Ended(Frame, frozen=True, tag="ended"):
    """How the run ended; ``failure`` is set when it has no result."""

    call: int
    phase: Phase
    body: bytes = b""
    blobs: tuple[str, ...] = ()
    failure: Failure | None = None


class Aborting(Frame, frozen=True, tag="aborting"):
    """The answer to ``AbortRun``: whether there is such a run."""

    call: int
    found: bool


class Attached(Frame, frozen=True, tag="attached"):
    """The answer to ``Attach``; ``task`` is "" when there is no such run, or none that one can be attached to.

    Of a run that has ended already, ``Ended`` follows. ``reason``: why not; "": nobody has ever heard of the run.
    """

    call: int
    task: str = ""
    is_running: bool = False
    reason: str = ""


class Ending(Frame, frozen=True, tag="ending"):
    """The service ends as it was told to: when the connection does, nobody need wait for it to come back."""


class Line(Frame, frozen=True, tag="line"):
    """Text that a task of the run wrote; ``label`` says which."""

    label: str
    stream: str
    text: str


class Note(Frame, frozen=True, tag="note"):
    """A line of progress, for people: an image that is built, a warning."""

    text: str


class Standing(Frame, frozen=True, tag="standing"):
    """The answer to ``Ask``: the figures of every pool, and of every replica where they were asked for."""

    call: int
    pools: tuple[PoolStats, ...]
    replicas: tuple[ReplicaStats, ...] = ()


class Actions(Frame, frozen=True, tag="actions"):
    """A part of the answer to ``AskActions``, maybe empty; ``next`` is the ``before`` of the part after it, 0: none."""

    call: int
    actions: tuple[Underway, ...]
    next: int


class Found(Frame, frozen=True, tag="found"):
    """The answer to ``Find``: a page, or why there is none."""

    call: int
    page: bytes
    problem: str = ""


class Controlled(Frame, frozen=True, tag="controlled"):
    """The answer to ``Control``: the pool that was meant, or why none was."""

    call: int
    pool: str
    problem: str = ""
