"""A driver without processes, for tests of engines: replicas are tasks of the event loop, or nothing at all.

It keeps every promise of the port (``tests/conformance/driver`` holds it to that), so that what a test shows
with it is true of real replicas too. What a replica does is scripted by ``on_start``, which may speak the wire.
"""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from samovar.drivers import secrets
from samovar.drivers.output import TAIL_BYTES, OnOutput
from samovar.drivers.process import variables
from samovar.drivers.roll import Roll
from samovar.errors import ReplicaStartError
from samovar.model import Environment, Exit
from samovar.ports import Report

OnStart = Callable[[str, Environment, dict[str, str]], Coroutine[Any, Any, int | None]]
"""What a replica does, given its name, environment and boot; returns its exit code (None: 0).

Cancelled when the replica is asked to stop; one that goes on regardless is killed after the grace.
"""


class FakeReplica:
    """A replica that lives in the engine's own process."""

    def __init__(self, environment: Environment, boot: dict[str, str], given: dict[str, str]) -> None:
        self.environment = environment
        self.boot = boot
        self.variables = given
        self.files: dict[str, bytes] = {}  # secrets, by path
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[int | None] | None = None
        self.output = ""

    def end(self, how: Exit) -> None:
        """The first end counts."""
        if not self.ended.done():
            self.ended.set_result(Exit(how.code, how.signal, how.out_of_memory, how.output or self.output))
        if self.task is not None:
            self.task.cancel()

    async def stop(self, grace: float) -> None:
        if grace > 0 and not self.ended.done():
            await self._ask(grace)
        self.end(Exit(signal=signal.SIGKILL))

    async def _ask(self, grace: float) -> None:
        if self.task is None:
            self.end(Exit(signal=signal.SIGTERM))
            return
        self.task.cancel()
        await asyncio.wait([self.ended], timeout=grace)

    def finished(self, task: asyncio.Task[int | None]) -> None:
        """The script has come to its end by itself."""
        if task.cancelled():
            self.end(Exit(signal=signal.SIGTERM))
        elif (error := task.exception()) is not None:
            self.output += "".join(traceback.format_exception(error))[-TAIL_BYTES:]
            self.end(Exit(code=1))
        else:
            self.end(Exit(code=task.result() or 0))


class FakeDriver(Roll[FakeReplica]):
    """Implements ``samovar.ports.Driver``, and can be told what goes wrong.

    Without ``on_start`` a replica does nothing until it is stopped or crashed.
    """

    def __init__(self, on_start: OnStart | None = None, on_output: OnOutput | None = None) -> None:
        super().__init__()
        self.on_start = on_start
        self.prepared: list[Environment] = []
        self.started: list[str] = []
        self.stopped: list[tuple[str, float]] = []  # (replica, grace)
        self._on_output = on_output
        self._failures: list[str] = []

    def fail_next_start(self, reason: str) -> None:
        """The next start raises ReplicaStartError; of several, each start takes one."""
        self._failures.append(reason)

    def crash(self, replica: str, how: Exit) -> None:
        """End a replica as if by itself. KeyError: unknown."""
        self.replicas[replica].end(how)

    def say(self, replica: str, line: str) -> None:
        """Write one line to the output of a replica. KeyError: unknown."""
        found = self.replicas[replica]
        found.output = (found.output + line + "\n")[-TAIL_BYTES:]
        if self._on_output is not None:
            self._on_output(replica, line)

    async def prepare(self, environment: Environment, report: Report) -> None:
        self.prepared.append(environment)

    async def start(self, replica: str, environment: Environment, boot: dict[str, str]) -> None:
        self.check_free(replica, environment)
        if self._failures:
            raise ReplicaStartError(f"environment {environment.name!r}: {self._failures.pop(0)}", replica)
        files = secrets.as_files(environment)
        given = {**variables(environment, boot), **{secret.variable: secret.path for secret, _ in files}}
        started = FakeReplica(environment, dict(boot), given)
        started.files = {secret.path: value for secret, value in files}
        self.replicas[replica] = started
        self.started.append(replica)
        if self.on_start is not None:
            script = self.on_start(replica, environment, dict(boot))
            started.task = asyncio.create_task(script, name=f"fake replica {replica}")
            started.task.add_done_callback(started.finished)

    async def stop(self, replica: str, grace: float) -> None:
        found = self.replicas.get(replica)
        if found is not None and not found.ended.done():
            self.stopped.append((replica, grace))
        await super().stop(replica, grace)

    async def close(self) -> None:
        self._closed = True
        for replica in list(self.replicas):
            await self.stop(replica, 0)
