"""Replicas as containers of any engine that speaks the Docker API: Podman, Docker.

A replica's output and its end come by a file and a pipe (``container_boot``), so the API is asked only to create,
start, signal and remove. It may go away and come back: a start waits for it a moment, an end is seen without it, and
what is left to remove is removed when it answers again. Containers carry labels; of those whose engine is gone the
next one rids us. With a home it does not: there the next driver finds them, takes over those that are wanted and ends
the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import secrets as tokens
import shutil
import signal
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import aiodocker

from samovar.drivers import container_spec as spec
from samovar.drivers import home, private, secrets
from samovar.drivers.container_api import AWAY_SECONDS, GONE, Api, labelled
from samovar.drivers.container_boot import Boot, Ended, command
from samovar.drivers.home import Home, Survivors, write
from samovar.drivers.output import OnOutput, Rounds, Sink
from samovar.drivers.process import RUNTIME
from samovar.drivers.roll import Roll
from samovar.errors import ImageBuildError, InitializationError, ReplicaStartError
from samovar.images import dockerapi, oci
from samovar.images.store import PYTHON_LABEL
from samovar.model import Environment, Exit, ImageSpec, SecretSpec
from samovar.ports import Report

EnsureImage = Callable[[aiodocker.Docker, ImageSpec, Report], Awaitable[str]]
"""Returns the tag or id of an image to start replicas from, made first if it is not there. Raises ImageBuildError."""

_REACH_EVERY = 1.0  # seconds

BOOT_SECONDS = 5.0
"""A replica that has not said by now that it runs may never: its end is asked of the API."""


class Record(home.Record, frozen=True):
    """What another driver must know of a container."""

    container: str  # its name


class ContainerDriver(Roll["_Replica"]):
    """Implements ``samovar.ports.Driver``. One event loop for all calls.

    ``shared`` are the engine's folders. ``arguments`` follow the path of Python, and end with ``-c`` and a program.
    ``home`` is where replicas are found again that outlive this process; without one they must not.
    ``id`` labels the containers of this driver. InitializationError: the home is another driver's.
    """

    def __init__(
        self,
        shared: spec.Shared,
        arguments: tuple[str, ...] = RUNTIME,
        on_output: OnOutput | None = None,
        ensure: EnsureImage = oci.ensure,
        home: Path | None = None,
    ) -> None:
        super().__init__()
        self.id = tokens.token_hex(6)
        self._shared = shared
        self._ensure = ensure
        self._arguments = arguments
        self._on_output = on_output
        self._private = private.PrivateFolder()
        self._images: dict[ImageSpec, spec.Image] = {}
        self._rounds = Rounds()
        self._numbers = itertools.count(1)
        self._opening: asyncio.Task[tuple[Api, spec.User]] | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._home = None if home is None else Home(home)
        self._survivors = None if self._home is None else Survivors(self._home.left(Record), _end)

    async def prepare(self, environment: Environment, report: Report) -> None:
        if environment.image in self._images:
            return
        try:
            api, _ = await self._open()
            self._images[environment.image] = await self._image(api, environment.image, report)
        except (InitializationError, ImageBuildError, *dockerapi.UNREACHABLE) as error:
            raise ImageBuildError(f"{_of(environment)}: {dockerapi.why(error)}") from error

    async def start(self, replica: str, environment: Environment, boot: dict[str, str]) -> None:
        await self.prepare(environment, _nowhere)
        _, user = await self._open()
        self.check_free(replica, environment)
        spec.check(environment, user)
        variables = {**secrets.as_variables(environment), **self._shared.reached(boot)}
        files = secrets.as_files(environment)
        name = f"samovar-{self.id}-{next(self._numbers)}"
        try:
            pipes = self._boot(replica, name, user)
        except OSError as error:
            raise ReplicaStartError(f"{_of(environment)}: {error}", replica) from error
        started = self.replicas[replica] = _Replica(name, self._reach, pipes, self._chores)
        try:
            asked = self._fill(pipes, replica, environment, variables, files, user)
            await asyncio.shield(started.start(asked))
        except BaseException as error:  # cancelled as well: nobody would ever stop it
            del self.replicas[replica]
            started.undo()
            if isinstance(error, aiodocker.DockerError) and error.status == GONE:
                self._images.pop(environment.image, None)  # it may have been removed: the next start makes it again
            if isinstance(error, (*dockerapi.UNREACHABLE, ReplicaStartError)):
                raise ReplicaStartError(f"{_of(environment)}: {dockerapi.why(error)}", replica) from error
            raise

    def survivor(self, replica: str) -> _Replica | None:
        while self._survivors is not None and (claimed := self._survivors.claim(replica)) is not None:
            folder, record = claimed
            boot = Boot(folder, None, self._rounds)
            if boot.listen_again(self._sink(replica)):
                found = _Replica(record.container, self._reach, boot, self._chores)
                found.watch()
                return found
            _keep(self._chores, _end(folder, record))
        return None

    async def close(self) -> None:
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AWAY_SECONDS):
                await asyncio.gather(*(replica.stop(0) for replica in list(self.replicas.values())))
                if self._survivors is not None:
                    await self._survivors.close()
                while self._chores:
                    await asyncio.wait(self._chores)
        for replica in list(self.replicas.values()):
            replica.abandon()
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self._opening is not None:
            with contextlib.suppress(InitializationError):
                await (await self._opening)[0].docker.close()
        self._private.close()
        if self._home is not None:
            self._home.close()

    def _boot(self, replica: str, container: str, user: spec.User) -> Boot:
        """OSError: there is no room for its folder."""
        if self._home is None:
            return Boot(self._private.make("replica"), user.owner, self._rounds)
        folder = self._home.make("replica")
        write(folder, Record(replica, container))
        return Boot(folder, user.owner, self._rounds)

    def _sink(self, replica: str) -> Sink | None:
        return None if self._on_output is None else functools.partial(self._on_output, replica)

    def _fill(
        self,
        pipes: Boot,
        replica: str,
        environment: Environment,
        variables: dict[str, str],
        files: list[tuple[SecretSpec, bytes]],
        user: spec.User,
    ) -> dict[str, Any]:
        """Write what the replica finds in its folder; what to ask the API for."""
        given = [pipes.add_secret(secret, value) for secret, value in files]
        pipes.write({**{secret.variable: secret.path for secret, _ in files}, **variables})
        given = [*pipes.listen(self._sink(replica)), *given]
        for folder, writable in ((self._shared.folder, False), (self._shared.blobs, True)):
            if folder:
                user.share(folder, writable)
        image = self._images[environment.image]
        lasts = self._home is not None
        wanted = {spec.FOLDER: str(pipes.folder)} if lasts else {spec.LOCK: str(self._private.lock)}
        return {
            **spec.config(environment, image, user, self._shared, given),
            "Labels": {**spec.labels(replica, environment, self.id), **wanted},
            "Entrypoint": command(image.python, self._arguments),
            "Cmd": [],
        }

    async def _open(self) -> tuple[Api, spec.User]:
        """The API, connected once; a failure to connect is not kept."""
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.create_task(self._connect())
        return await asyncio.shield(self._opening)

    async def _reach(self) -> Api:
        """The API, as soon as it answers: who was taken over cannot be refused for its want."""
        while True:
            try:
                return (await self._open())[0]
            except InitializationError:
                await asyncio.sleep(_REACH_EVERY)

    async def _connect(self) -> tuple[Api, spec.User]:
        docker = await dockerapi.connect()
        try:
            kind = (await dockerapi.server(docker)).kind
            rootless = False
            if os.getuid() != 0:
                rootless = "name=rootless" in ((await docker.system.info()).get("SecurityOptions") or ())
            api = Api(docker)
            await self._sweep(api)
        except BaseException as error:
            await docker.close()
            if isinstance(error, dockerapi.UNREACHABLE):
                message = f"the container engine does not answer as it should: {dockerapi.why(error)}"
                raise InitializationError("InitializationError", message) from error
            raise
        return api, spec.User.for_engine(kind, rootless)

    async def _sweep(self, api: Api) -> None:
        """Remove the containers of engines of this machine that live no more, and their folders."""
        for name, labels in await labelled(api.docker, {}):
            if spec.is_orphan(labels):
                if spec.LOCK in labels:
                    private.remove_unused(Path(labels[spec.LOCK]))
                _keep(self._chores, api.end(name))

    async def _image(self, api: Api, image: ImageSpec, report: Report) -> spec.Image:
        found = await self._ensure(api.docker, image, report)
        inspected = await api.docker.images.inspect(found)
        python = (inspected["Config"].get("Labels") or {}).get(PYTHON_LABEL)
        if not python:
            raise ImageBuildError(f"the image {found} does not say by a label {PYTHON_LABEL!r} where its Python is")
        return spec.Image(inspected["Id"], python)


class _Replica:
    """One container, from its start to its Exit; ``ended`` gets the Exit once."""

    def __init__(
        self, name: str, reach: Callable[[], Awaitable[Api]], boot: Boot, chores: set[asyncio.Task[None]]
    ) -> None:
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._name = name
        self._reach = reach
        self._boot = boot
        self._chores = chores
        self._starting: asyncio.Task[None] | None = None
        self._removal: asyncio.Task[None] | None = None
        self._undone = False
        self._asked = False
        self._killed = False

    def start(self, asked: dict[str, Any]) -> asyncio.Task[None]:
        """A task, since a request that was sent cannot be taken back: who is cancelled leaves it running."""
        self._starting = asyncio.create_task(self._start(asked))
        self._starting.add_done_callback(self._started)
        return self._starting

    def watch(self) -> None:
        """It runs: see to it until it has ended."""
        _keep(self._chores, self._watch())

    def undo(self) -> None:
        """Its start has failed or was cancelled: see that nothing stays."""
        self._undone = True
        _keep(self._chores, self._undo())

    async def stop(self, grace: float) -> None:
        """Return when the container is removed; where nobody answers, after AWAY_SECONDS."""
        if grace > 0 and not self.ended.done():
            self._asked = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._ask_to_end()
        await asyncio.wait([_keep(self._chores, self._kill())], timeout=AWAY_SECONDS)

    def abandon(self) -> None:
        """What becomes of it is of no interest any more."""
        self._boot.close()
        if not self.ended.done():
            self.ended.set_result(Exit(signal=signal.SIGKILL))

    async def _start(self, asked: dict[str, Any]) -> None:
        api = await self._reach()
        await api.create_and_start(self._name, asked)

    async def _ask_to_end(self) -> None:
        await _first(self._boot.running, self.ended)
        await (await self._reach()).signal(self._name, signal.SIGTERM)
        await asyncio.wait([self.ended])

    async def _kill(self) -> None:
        if self._starting is not None:  # what is not there yet cannot be killed
            await asyncio.wait([self._starting])
        if not self.ended.done():
            self._killed = True
            await (await self._reach()).signal(self._name, signal.SIGKILL)
            if not self._boot.running.done():
                self._boot.close()  # it may have died before it could speak, and then no pipe will tell
            await asyncio.wait([self.ended])
        if self._removal is not None:
            await asyncio.wait([self._removal])

    async def _undo(self) -> None:
        if self._starting is not None:
            await asyncio.wait([self._starting])
        self.abandon()
        await (await self._reach()).end(self._name)

    def _started(self, starting: asyncio.Task[None]) -> None:
        if not starting.cancelled() and starting.exception() is None and not self._undone:
            self.watch()

    async def _watch(self) -> None:
        ended, running = self._boot.ended, self._boot.running
        await _first(running, ended, timeout=BOOT_SECONDS)
        asking: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        if not running.done() and not ended.done():
            asking = asyncio.create_task((await self._reach()).code(self._name))
        await _first(ended, asking)
        code = asking.result() if asking.done() else None
        asking.cancel()
        output = self._boot.close()
        how = await self._exit(ended.result(), code, output)
        if not self.ended.done():
            self.ended.set_result(how)
        self._removal = _keep(self._chores, self._remove())

    async def _remove(self) -> None:
        await (await self._reach()).remove(self._name)

    async def _exit(self, said: Ended | None, code: int | None, output: str) -> Exit:
        """By what PID 1 said. Where it said nothing it was killed, or it is no Python that could start."""
        if said is not None:
            killed = said.status == -signal.SIGKILL  # not by us: that kills PID 1, which then says nothing
            failed = said.status != 0 and not (self._asked or self._killed)
            by_memory = said.memory_kills > 0 and (killed or failed)
            if said.status < 0:
                return Exit(signal=-said.status, out_of_memory=by_memory, output=output)
            return Exit(code=said.status, out_of_memory=by_memory, output=output)
        if code is not None and code <= 128 and not self._killed:
            return Exit(code=code, output=output)
        by_memory = not self._killed and await (await self._reach()).ran_out_of_memory(self._name)
        return Exit(signal=signal.SIGKILL, out_of_memory=by_memory, output=output)


async def _end(folder: Path, record: Record) -> None:
    """End what an earlier driver has left of a replica, and remove its folder. By a connection of its own: this may be
    another loop than the driver's."""
    while True:
        with contextlib.suppress(InitializationError):
            docker = await dockerapi.connect()
            break
        await asyncio.sleep(_REACH_EVERY)
    try:
        await Api(docker).end(record.container)
    finally:
        await docker.close()
    shutil.rmtree(folder, ignore_errors=True)


async def _first(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:
    """Wait until one of them is done, and for at most ``timeout`` seconds; none is cancelled."""
    await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


def _keep(chores: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that ``close`` waits for."""
    task = asyncio.create_task(work)
    chores.add(task)
    task.add_done_callback(chores.discard)
    return task


def _of(environment: Environment) -> str:
    return f"environment {environment.name!r}"


def _nowhere(_: str) -> None:
    """A report that nobody reads."""
