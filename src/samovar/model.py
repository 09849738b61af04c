"""The frozen nouns that every room shares: what a task needs, what a pool may do, how an action ended.

They travel on the wire, so they are msgspec structs; units are seconds and bytes throughout.
"""

from __future__ import annotations

import enum
import hashlib
import os
from typing import Literal, NamedTuple

from samovar.light import msgspec


class Phase(enum.StrEnum):
    """Where an action stands (Flyte's words)."""

    QUEUED = "queued"
    WAITING_FOR_RESOURCES = "waiting_for_resources"
    INITIALIZING = "initializing"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    TIMED_OUT = "timed_out"

    @property
    def is_terminal(self) -> bool:
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.ABORTED, Phase.TIMED_OUT)


# Bound to names: in Python 3.11 the attribute of an enum costs as much as a call.
QUEUED, RUNNING, SUCCEEDED, WAITING = Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED, Phase.WAITING_FOR_RESOURCES


class Limits(msgspec.Struct, frozen=True):
    """What one replica may use. None: no bound."""

    cpu: float | None = None  # cores
    memory: int | None = None  # bytes
    gpu: str | None = None  # as the user wrote it: "1", "T4:1"
    disk: int | None = None  # bytes
    shm: int | None = None  # bytes
    pids: int | None = None  # processes and threads; None: a bound of the driver's own


class ImageStep(msgspec.Struct, frozen=True):
    """One step of an image. What its arguments are depends on its kind:

    ``pip``: requirements · ``uv_project``: a pyproject.toml, and its uv.lock where there is one · ``apt``: packages ·
    ``command``: shell commands · ``file``, ``folder``, ``contents``: what to copy, and where to · ``workdir``: a
    directory · ``env``: NAME=VALUE. Paths are absolute.
    """

    kind: str
    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()  # of pip, for the two kinds that install Python packages


class ImageSpec(msgspec.Struct, frozen=True):
    """What an image is made of, in the order in which it is built."""

    base: str = "auto"  # the name of an image; "auto": a plain Python
    dockerfile: str = ""  # the path of what the base is built from, instead of a name
    python_version: str | None = None  # "3.12"; None: the one that runs the engine
    steps: tuple[ImageStep, ...] = ()
    platform: str = ""  # "linux/arm64"; "": the machine's own
    name: str = ""  # for people

    @property
    def env_vars(self) -> tuple[tuple[str, str], ...]:
        """Environment variables; of two values the later one is in force."""
        pairs = (item.partition("=") for step in self.steps if step.kind == "env" for item in step.arguments)
        return tuple({name: value for name, _, value in pairs}.items())


class SecretSpec(msgspec.Struct, frozen=True):
    """A secret of an environment: named here, and looked up where the engine runs."""

    variable: str  # the environment variable that holds it, or, with a mount, the path of its file
    key: str  # "group/key", or "key" without a group
    mount: str = ""  # the folder in which it is a file; "": it is no file

    @property
    def path(self) -> str:
        """Where a container has the file."""
        return f"{self.mount.rstrip('/')}/{self.key.rpartition('/')[2]}"


class Bundle(msgspec.Struct, frozen=True):
    """The user's code: where a replica finds it and what it imports before its first execution.

    One that is packed travels: its paths are relative to the folder into which a service unpacks its files.
    """

    main: str = ""  # path of the script, "" where there is none
    main_name: str = ""  # the module name under which a replica imports the script
    sys_path: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()  # imported at start, after the script
    cwd: str = ""
    digest: str = ""  # of the code that is named here
    python: str = ""  # the interpreter that runs it, for images that ask for none
    images: tuple[tuple[str, ImageSpec], ...] = ()  # of the environments in it: replicas cannot read what these name
    is_packed: bool = False
    folder: str = ""  # into which it was unpacked; "": the code is used where it lies

    def unpacked(self, folder: str, cwd: str) -> Bundle:
        """The same with its files in ``folder``; paths that are absolute stay."""
        return msgspec.structs.replace(
            self,
            main=os.path.join(folder, self.main) if self.main else "",
            sys_path=tuple(os.path.normpath(os.path.join(folder, path)) for path in self.sys_path),
            cwd=cwd,
            folder=folder,
            is_packed=False,
        )

    def seen_at(self, folder: str) -> Bundle:
        """What was unpacked, as somebody sees it who has it in another place."""
        old, new = f"{self.folder}/", f"{folder}/"

        def moved(path: str) -> str:
            return os.path.normpath(f"{path}/".replace(old, new, 1)) if f"{path}/".startswith(old) else path

        search_path = tuple(moved(path) for path in self.sys_path)
        return msgspec.structs.replace(self, main=moved(self.main), sys_path=search_path, folder=folder)


class PoolSettings(msgspec.Struct, frozen=True):
    """What may change on a live pool, and the concurrency, which may not (it is part of the version)."""

    min_replicas: int = 0
    max_replicas: int = 1
    concurrency: int = 1
    idle_ttl: float = 30.0  # seconds without work until every replica stops
    scaledown_ttl: float = 30.0  # seconds without work until one replica above min stops
    max_tasks: int | None = None  # executions after which a replica retires; 1: a fresh one for each


class Environment(msgspec.Struct, frozen=True):
    """A task environment as an engine sees it."""

    name: str
    image: ImageSpec = ImageSpec()
    limits: Limits = Limits()
    env_vars: tuple[tuple[str, str], ...] = ()
    secrets: tuple[SecretSpec, ...] = ()
    bundle: Bundle = Bundle()
    settings: PoolSettings = PoolSettings()
    network: str = ""  # "none", "bridge", "host", or the name of one; "": what the container engine does by itself
    scope: str = ""  # the run that owns the pool where the policy says scope="run"

    @property
    def version(self) -> str:
        """Digest of what a replica is made of; environments of one version share a pool."""
        parts = (
            self.name,
            self.image,
            self.limits,
            self.env_vars,
            self.secrets,
            msgspec.structs.replace(self.bundle, images=()),
            self.network,
            self.scope,
            self.settings.concurrency,
            self.settings.max_tasks,
        )
        return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=8).hexdigest()


class Retry(msgspec.Struct, frozen=True):
    """How often a task is tried again after its own failure, and how long to wait: base · factorⁿ, at most cap."""

    count: int = 0
    base: float = 0.0  # seconds
    factor: float = 2.0
    cap: float = 60.0  # seconds

    def delay(self, failures: int) -> float:
        """Seconds to wait after the ``failures``-th failure (from 1)."""
        if self.base <= 0 or failures < 1:
            return 0.0
        return min(self.cap, self.base * self.factor ** min(failures - 1, 60))


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds; None: no bound."""

    max_runtime: float | None = None
    max_queued_time: float | None = None
    deadline: float | None = None


class CacheCall(msgspec.Struct, frozen=True):
    """A call whose result is kept, or is known."""

    key: str  # digest of the task, its version and the inputs
    replace: bool = False  # run it whatever is known, and keep the new result
    alone: bool = False  # while another call with this key runs, wait for it


Caching = Literal["", "off", "replace"]
"""What a run says of all its cached calls: nothing, take and keep none, run them and keep the new results."""


class TaskSpec(msgspec.Struct, frozen=True):
    """A task as an engine and a replica see it: declared once a connection, then named by a number."""

    name: str  # environment.function
    module: str
    qualname: str
    environment: Environment
    retry: Retry = Retry()
    timeouts: Timeouts = Timeouts()
    max_inline_io_bytes: int = 10 * 1024 * 1024


class Failure(msgspec.Struct, frozen=True):
    """Why an attempt or an action failed."""

    kind: str  # "user" | "system" | "unknown"
    code: str  # a class name: of errors.py or of the user's exception
    message: str
    traceback: str = ""
    recoverable: bool = True  # False: no retry
    worker: str = ""  # the replica
    exception: bytes = b""  # the pickled exception, opaque to the engine; empty where it does not pickle


class Exit(msgspec.Struct, frozen=True):
    """How a replica ended, as its driver saw it."""

    code: int | None = None  # exit status; None when a signal ended it, or how it ended is not known
    signal: int | None = None
    out_of_memory: bool = False
    output: str = ""  # the end of what it wrote to stdout and stderr outside of tasks

    def __str__(self) -> str:
        if self.out_of_memory:
            return "went over its memory limit and was killed"
        if self.signal is not None:
            import signal  # only here: a death is rare, and the names cost an import

            try:
                return f"was killed by {signal.Signals(self.signal).name}"
            except ValueError:
                return f"was killed by signal {self.signal}"
        if self.code is None:  # only its parent is told how, and that was an engine that is gone
            return "ended, and how is not known, since an earlier engine had started it"
        return f"exited with code {self.code}"


class PoolStats(NamedTuple):
    """Counts of one pool at one moment, for people."""

    name: str
    starting: int
    ready: int
    draining: int
    slots: int
    active: int
    parked: int
    queued: int
    done: int
    failed: int  # aborted ones too
    cold: int
    warm: int
    note: str  # why the head of the queue waits; "" when nothing waits
    state: str = ""  # "awake" | "asleep" | "draining" | "drained"
    settings: PoolSettings = PoolSettings()


class Blockage(NamedTuple):
    """A task keeps the event loop of its replica from turning."""

    task: str  # "" where it is code that no task has started
    label: str  # of the action, for people
    seconds: float  # so far
    stack: str


class ReplicaStats(NamedTuple):
    """One replica at one moment, for people."""

    name: str
    pool: str
    state: str  # "starting" | "ready" | "draining"
    active: int
    parked: int  # or about to resume
    slots: int
    served: int
    age: float  # seconds since its start was ordered
    heard: float  # seconds since its last sign of life
    actions: tuple[int, ...]  # some of what it runs, by the engine's numbers
    runs: tuple[str, ...] = ()  # the same, for people
    pid: int = 0  # its own, as it sees it; 0: not known yet
    rss: int = 0  # bytes
    lag: float = 0.0  # seconds for which its event loop has not answered
    blockage: Blockage | None = None
    process: int = 0  # its pid, as the engine's machine sees it; 0: not known


class Underway(NamedTuple):
    """An action that is queued or runs, for people."""

    number: int  # the engine's
    run: str
    action: str
    parent: str
    task: str
    phase: Phase
    pool: str
    attempts: int
    queued: float  # seconds since 1970
    started: float | None
    replica: str
    cold: bool
    of_run: int = 0  # its number within the run
    has_children: bool = False  # that have not ended
