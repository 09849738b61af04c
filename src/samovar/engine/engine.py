"""The engine: frames and exits become events, the core decides, commands become frames and driver calls.

Runs on one event loop and is not thread-safe (``samovar.host`` brings calls of other threads here). It never
unpickles: inputs and results are bytes on their way. A hot path per action is Submit → Run → Done → Answer; none of
it awaits, logs or touches a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from samovar import errors
from samovar.core.actions import ABORTED
from samovar.core.messages import (
    Abort,
    Assign,
    Cancel,
    Deliver,
    Drain,
    Event,
    Finished,
    OpenPool,
    ReplicaLost,
    ReplicaReady,
    ReplicaUnfit,
    Settle,
    StartReplica,
    StopReplica,
    Submit,
    Tick,
)
from samovar.core.pools import Pools
from samovar.engine.links import Link
from samovar.engine.work import Outcome, Run, Work
from samovar.model import Environment, Exit, Failure, Phase, TaskSpec
from samovar.ports import Driver, Report
from samovar.wire import frames

TICK = 0.05  # seconds
_DRAIN_LINK = 1.0  # seconds in which the last frames of a replica that ended may still arrive

OnLog = Callable[[str, str, str], None]  # label, stream, text


class PoolStats(NamedTuple):
    """One pool at one moment, for people."""

    name: str
    starting: int
    ready: int
    draining: int
    slots: int
    active: int
    parked: int
    queued: int
    done: int
    failed: int
    cold: int
    warm: int
    note: str


class _Counts:
    __slots__ = ("cold", "done", "failed", "warm")

    def __init__(self) -> None:
        self.done = self.failed = self.cold = self.warm = 0


class Engine:
    """``folder`` (0700) takes the socket, ``blobs`` the large values; both belong to the caller."""

    def __init__(self, driver: Driver, folder: str, blobs: str, report: Report, on_log: OnLog) -> None:
        self.on_log = on_log
        self.report = report
        self._driver = driver
        self._folder = folder
        self._blobs = blobs
        self._pools = Pools()
        self._works: dict[int, Work] = {}  # by action
        self._environments: dict[str, Environment] = {}  # by pool
        self._prepared: dict[str, asyncio.Future[None]] = {}  # by version
        self._counts: dict[str, _Counts] = {}
        self._links: dict[str, Link] = {}  # by replica
        self._tokens: dict[str, str] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._actions = 0
        self._server: asyncio.AbstractServer | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._closing = False
        self._names: dict[int, tuple[TaskSpec, str]] = {}  # id of a spec → the spec, kept alive, and its pool
        self.unflushed: list[Link] = []
        self._on_frame: dict[type[Any], Callable[[Link, Any], None]] = {
            frames.Submit: self._submitted,
            frames.Done: self._done,
            frames.Failed: self._failed,
            frames.Declare: self._declared,
            frames.Withdraw: self._withdrawn,
            frames.Log: self._logged,
            frames.Beat: self._beat,
            frames.Ready: self._ready,
            frames.Unfit: self._unfit,
        }
        self._carry_out: dict[type[Any], Callable[[Any], None]] = {
            Assign: self._assign,
            Settle: self._settle,
            Deliver: self._deliver,
            Cancel: self._cancel,
            StartReplica: self._start_replica,
            StopReplica: self._stop_replica,
        }

    # life

    @property
    def address(self) -> str:
        return os.path.join(self._folder, "engine.sock")

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_unix_server(lambda: Link(self._loop, self), self.address)
        os.chmod(self.address, 0o600)
        self._ticker = self._loop.call_later(TICK, self._tick)

    async def close(self, grace: float) -> None:
        """Abort what runs, let executions end within ``grace`` seconds, then leave nothing behind."""
        self._closing = True
        for number, work in list(self._works.items()):
            if work.on_done is not None and number in self._works:
                self._handle(Abort(number, "the engine closes"))
        self.flush()
        end = time.monotonic() + grace
        while any(link.running for link in self._links.values()) and time.monotonic() < end:
            await asyncio.sleep(0.01)
        if self._ticker is not None:
            self._ticker.cancel()
        for keeper in self._keepers.values():
            keeper.cancel()
        await asyncio.gather(*(self._driver.stop(replica, min(grace, 0.5)) for replica in list(self._keepers)))
        await self._driver.close()
        for link in list(self._links.values()):
            link.close()
        if self._server is not None:
            self._server.close()
        pending = [*self._keepers.values(), *self._chores]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def stats(self) -> list[PoolStats]:
        found = []
        for pool in self._pools.stats(time.monotonic()):
            count = self._counts[pool.name]
            done = (count.done, count.failed, count.cold, count.warm)
            found.append(PoolStats(*pool[:-1], *done, pool.note))
        return found

    # what a script asks for

    def start(
        self,
        task: TaskSpec,
        body: bytes,
        blobs: tuple[str, ...],
        run: Run,
        on_done: Callable[[Outcome], None],
    ) -> int:
        """Submit the first action of a run; ``on_done`` is called on the loop. Returns the action."""
        work = Work(task, self._pool(task, run), run, run.number(), body, blobs)
        work.on_done = on_done
        return self._submit(work, 0)

    def abort(self, action: int, reason: str) -> None:
        self._handle(Abort(action, reason))

    def phase(self, action: int) -> Phase | None:
        """None when it is settled."""
        work = self._works.get(action)
        return work.phase if work is not None else None

    # events

    def _handle(self, event: Event) -> None:
        carry_out = self._carry_out
        for command in self._pools.handle(event, time.monotonic()):
            carry_out[type(command)](command)

    def flush(self) -> None:
        """Write out what has been queued on links. Each entry from the loop ends with it."""
        links, self.unflushed = self.unflushed, []
        for link in links:
            link.flush()

    def _tick(self) -> None:
        self._handle(Tick())
        self.flush()
        self._ticker = self._loop.call_later(TICK, self._tick)

    def _submit(self, work: Work, parent: int) -> int:
        self._actions = number = self._actions + 1
        self._works[number] = work
        work.action = number
        self._handle(Submit(number, work.pool, parent, work.task.retry, work.task.timeouts))
        return number

    def _pool(self, task: TaskSpec, run: Run) -> str:
        known = self._names.get(id(task))
        if known is not None:
            return known[1]
        name = self._open_pool(task.environment, run)
        if not task.environment.scope:
            self._names[id(task)] = (task, name)
        return name

    def _open_pool(self, environment: Environment, run: Run) -> str:
        name = f"{environment.name}@{environment.version[:8]}"
        if environment.scope:
            name = f"{name}/{run.name}"
            run.pools.add(name)
        known = self._environments.get(name)
        if known is None or known.settings != environment.settings:
            self._environments[name] = environment
            self._counts.setdefault(name, _Counts())
            self._handle(OpenPool(name, environment.settings))
        return name

    def received(self, link: Link, batch: list[Any]) -> None:
        on_frame = self._on_frame
        if not link.replica:
            if not batch:
                return
            self._hello(link, batch.pop(0))
        for frame in batch:
            handler = on_frame.get(type(frame))
            if handler is None or not link.replica:
                link.close()
                return
            handler(link, frame)
        self.flush()

    def disconnected(self, link: Link) -> None:
        """The process may live on without a voice: it is of no use then, and its end is the loss."""
        if link.replica in self._keepers and not self._closing:
            self._chore(self._driver.stop(link.replica, 0.2))

    def _hello(self, link: Link, hello: Any) -> None:
        reason = ""
        if not isinstance(hello, frames.Hello):
            reason = "the first frame must be a hello"
        elif hello.version != frames.VERSION:
            reason = f"protocol {hello.version} is spoken, this engine speaks {frames.VERSION}"
        elif not secrets.compare_digest(self._tokens.get(hello.replica, "-"), hello.token):
            reason = "unknown replica or wrong token"
        if reason:
            link.send(frames.Refuse(reason))
            link.close()
            return
        link.replica = hello.replica
        self._links[hello.replica] = link
        del self._tokens[hello.replica]
        pool = hello.replica.rpartition("-")[0]
        link.send(frames.Welcome(self._environments[pool].bundle, self._blobs))

    def _ready(self, link: Link, frame: frames.Ready) -> None:
        self._handle(ReplicaReady(link.replica))

    def _unfit(self, link: Link, frame: frames.Unfit) -> None:
        self._handle(ReplicaUnfit(link.replica, frame.failure, permanent=True))

    def _declared(self, link: Link, frame: frames.Declare) -> None:
        link.tasks[frame.ref] = frame.task

    def _submitted(self, link: Link, frame: frames.Submit) -> None:
        parent = link.running.get(frame.parent)
        declared = link.tasks.get(frame.ref)
        if parent is None or parent.epoch != frame.parent or declared is None:
            link.send(frames.Answer(frame.call, failure=ABORTED))
            return
        run = parent.run
        work = Work(declared, self._pool(declared, run), run, run.number(), frame.body, frame.blobs)
        work.link = link
        work.call = frame.call
        link.calls[frame.call] = self._actions + 1
        self._submit(work, parent.action)

    def _withdrawn(self, link: Link, frame: frames.Withdraw) -> None:
        action = link.calls.get(frame.call)
        if action is not None:
            self._handle(Abort(action, "its caller was cancelled"))

    def _done(self, link: Link, frame: frames.Done) -> None:
        work = link.running.pop(frame.epoch, None)
        if work is None:
            return self._discard(frame.blobs)
        if work.epoch == frame.epoch:
            work.result = frame.body
            work.result_blobs = frame.blobs
        else:
            self._discard(frame.blobs)
        self._handle(Finished(frame.epoch))

    def _failed(self, link: Link, frame: frames.Failed) -> None:
        if link.running.pop(frame.epoch, None) is not None:
            self._handle(Finished(frame.epoch, frame.failure))

    def _logged(self, link: Link, frame: frames.Log) -> None:
        work = link.running.get(frame.epoch)
        self.on_log(work.label if work is not None else link.replica, frame.stream, frame.text)

    def _beat(self, link: Link, frame: frames.Beat) -> None:
        """A replica beats so that its engine hears of a death of the machine under it; nothing to decide yet."""

    # commands

    def _assign(self, command: Assign) -> None:
        work = self._works[command.action]
        work.epoch = command.epoch
        work.phase = Phase.RUNNING
        link = self._links[command.replica]
        link.running[command.epoch] = work
        task = work.task
        count = self._counts[work.pool]
        if command.cold:
            count.cold += 1
        else:
            count.warm += 1
        link.send(
            frames.Run(
                command.epoch,
                task.name,
                task.module,
                task.qualname,
                work.run.name,
                work.number,
                command.attempt,
                work.body,
                work.blobs,
                task.max_inline_io_bytes,
                work.run.context,
            )
        )

    def _settle(self, command: Settle) -> None:
        work = self._works[command.action]
        work.phase = command.phase
        work.epoch = 0
        count = self._counts[work.pool]
        if command.failure is None:
            count.done += 1
        else:
            count.failed += 1
            work.failure = command.failure
            self._discard(work.result_blobs)
            work.result_blobs = ()
        if work.blobs:
            self._discard(work.blobs)

    def _deliver(self, command: Deliver) -> None:
        work = self._works.pop(command.action)
        link = work.link
        if link is not None:
            if link.calls.pop(work.call, None) is None or link.closed.done():
                self._discard(work.result_blobs)
            else:
                link.send(frames.Answer(work.call, work.result, work.result_blobs, work.failure))
        elif work.on_done is not None:
            for pool in work.run.pools:
                self._handle(Drain(pool))
            work.on_done(Outcome(work.phase, work.result, work.result_blobs, work.failure))

    def _cancel(self, command: Cancel) -> None:
        link = self._links.get(command.replica)
        if link is not None:
            link.send(frames.Cancel(command.epoch))

    def _start_replica(self, command: StartReplica) -> None:
        self._keepers[command.replica] = self._loop.create_task(self._keep(command.pool, command.replica))

    def _stop_replica(self, command: StopReplica) -> None:
        self._chore(self._driver.stop(command.replica, command.grace))

    # replicas

    async def _keep(self, pool: str, replica: str) -> None:
        """One replica from start to end."""
        environment = self._environments[pool]
        try:
            await self._prepare(environment)
            self._tokens[replica] = token = secrets.token_hex(16)
            boot = {"SAMOVAR_ENGINE": self.address, "SAMOVAR_REPLICA": replica, "SAMOVAR_TOKEN": token}
            await self._driver.start(replica, environment, boot)
        except errors.BaseRuntimeError as error:
            del self._keepers[replica]
            failure = Failure(error.kind, error.code, f"environment '{environment.name}': {error}", worker=replica)
            self._handle(ReplicaUnfit(replica, failure, permanent=isinstance(error, errors.ImageBuildError)))
            self.flush()
            return
        ended = await self._driver.wait(replica)
        del self._keepers[replica]
        link = self._links.get(replica)
        if link is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(link.closed), _DRAIN_LINK)
            link.close()
        self._handle(ReplicaLost(replica, self._why(environment, replica, ended)))
        self.flush()
        self._links.pop(replica, None)
        self._tokens.pop(replica, None)

    async def _prepare(self, environment: Environment) -> None:
        """Once a version, however many replicas ask; a failure is not remembered."""
        version = environment.version
        known = self._prepared.get(version)
        if known is None:
            known = self._prepared[version] = asyncio.ensure_future(self._driver.prepare(environment, self.report))
        try:
            await asyncio.shield(known)
        except errors.BaseRuntimeError:
            self._prepared.pop(version, None)
            raise

    @staticmethod
    def _why(environment: Environment, replica: str, ended: Exit) -> Failure:
        output = f"; its last output:\n{ended.output.strip()}" if ended.output.strip() else ""
        if ended.out_of_memory:
            limit = environment.limits.memory or 0
            text = (
                f"replica {replica} went over the memory limit of environment '{environment.name}' "
                f"({limit / 2**20:.0f} MiB) and was killed; give the task more: "
                'override(resources=Resources(memory=…), reusable="off") or a larger TaskEnvironment'
            )
            return Failure("user", "OOMError", text, worker=replica)
        text = f"replica {replica} of environment '{environment.name}' {ended}{output}"
        return Failure("system", "RuntimeSystemError", text, worker=replica)

    # chores

    def _chore(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    def _discard(self, blobs: tuple[str, ...]) -> None:
        for name in blobs:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._blobs, os.path.basename(name)))
