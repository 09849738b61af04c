"""Replicas as containers of any engine that speaks the Docker API: Podman, Docker.

A replica's output and its end come over pipes (``container_boot``), so the API is asked only to create, start, signal
and remove. It may go away and come back: a start waits for it a moment, an end is seen without it, and what is left to
remove is removed when it answers again. Containers carry labels; of those whose engine is gone the next one rids us.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import secrets as tokens
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import aiodocker

from samovar.drivers import container_spec as spec
from samovar.drivers import private, secrets
from samovar.drivers.container_api import AWAY_SECONDS, GONE, Api, labelled
from samovar.drivers.container_boot import FOLDER, Boot, Ended, command
from samovar.drivers.output import OnOutput
from samovar.drivers.process import RUNTIME
from samovar.errors import ImageBuildError, InitializationError, ReplicaStartError
from samovar.images import dockerapi, oci
from samovar.images.store import PYTHON_LABEL
from samovar.model import Environment, Exit, ImageSpec, SecretSpec
from samovar.ports import Report

EnsureImage = Callable[[aiodocker.Docker, ImageSpec, Report], Awaitable[str]]
"""Returns the tag or id of an image to start replicas from, made first if it is not there. Raises ImageBuildError."""

BOOT_SECONDS = 5.0
"""A replica that has not said by now that it runs may never: its end is asked of the API."""


class ContainerDriver:
    """Implements ``samovar.ports.Driver``. One event loop for all calls.

    ``shared`` are the engine's folders. ``arguments`` follow the path of Python, and end with ``-c`` and a program.
    ``id`` labels the containers of this driver.
    """

    def __init__(
        self,
        shared: spec.Shared,
        arguments: tuple[str, ...] = RUNTIME,
        on_output: OnOutput | None = None,
        ensure: EnsureImage = oci.ensure,
    ) -> None:
        self.id = tokens.token_hex(6)
        self._shared = shared
        self._ensure = ensure
        self._arguments = arguments
        self._on_output = on_output
        self._private = private.PrivateFolder()
        self._images: dict[ImageSpec, spec.Image] = {}
        self._replicas: dict[str, _Replica] = {}
        self._numbers = itertools.count(1)
        self._opening: asyncio.Task[tuple[Api, spec.User]] | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._closed = False

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
        api, user = await self._open()
        if self._closed:
            raise ReplicaStartError(f"{_of(environment)}: the driver is closed", replica)
        if replica in self._replicas:
            raise ReplicaStartError(f"{_of(environment)}: there is a replica {replica!r} already", replica)
        spec.check(environment, user)
        variables = {**secrets.as_variables(environment), **boot}
        files = secrets.as_files(environment)
        name = f"samovar-{self.id}-{next(self._numbers)}"
        try:
            pipes = Boot(self._private.make("replica"), user.owner)
        except OSError as error:
            raise ReplicaStartError(f"{_of(environment)}: {error}", replica) from error
        started = self._replicas[replica] = _Replica(name, api, pipes, self._chores)
        try:
            asked = self._fill(pipes, replica, environment, variables, files, user)
            await asyncio.shield(started.start(asked))
        except BaseException as error:  # cancelled as well: nobody would ever stop it
            del self._replicas[replica]
            started.undo()
            if isinstance(error, aiodocker.DockerError) and error.status == GONE:
                self._images.pop(environment.image, None)  # it may have been removed: the next start makes it again
            if isinstance(error, (*dockerapi.UNREACHABLE, ReplicaStartError)):
                raise ReplicaStartError(f"{_of(environment)}: {dockerapi.why(error)}", replica) from error
            raise

    async def wait(self, replica: str) -> Exit:
        """LookupError: there is none of this name, or its end was waited for before."""
        found = self._replicas.get(replica)
        if found is None:
            raise LookupError(f"there is no replica {replica!r}")
        how = await asyncio.shield(found.ended)
        self._replicas.pop(replica, None)
        return how

    async def stop(self, replica: str, grace: float) -> None:
        """``grace`` 0: kill without asking."""
        found = self._replicas.get(replica)
        if found is not None:
            await found.stop(grace)

    async def close(self) -> None:
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AWAY_SECONDS):
                await asyncio.gather(*(replica.stop(0) for replica in list(self._replicas.values())))
                while self._chores:
                    await asyncio.wait(self._chores)
        for replica in list(self._replicas.values()):
            replica.abandon()
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self._opening is not None:
            with contextlib.suppress(InitializationError):
                await (await self._opening)[0].docker.close()
        self._private.close()

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
        mounts = [(str(pipes.folder), FOLDER), *(pipes.add_secret(secret, value) for secret, value in files)]
        pipes.write({**{secret.variable: secret.path for secret, _ in files}, **variables})
        pipes.listen(None if self._on_output is None else functools.partial(self._on_output, replica))
        for folder, writable in ((self._shared.folder, False), (self._shared.blobs, True)):
            if folder:
                user.share(folder, writable)
        image = self._images[environment.image]
        return {
            **spec.config(environment, image, user, self._shared, mounts),
            "Labels": spec.labels(replica, environment, self.id, self._private.lock),
            "Entrypoint": command(image.python, self._arguments),
            "Cmd": [],
        }

    async def _open(self) -> tuple[Api, spec.User]:
        """The API, connected once; a failure to connect is not kept."""
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.create_task(self._connect())
        return await asyncio.shield(self._opening)

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
            lock = Path(labels.get(spec.LOCK, "/"))
            if labels.get(spec.HOST) == socket.gethostname() and not private.is_in_use(lock):
                private.remove_unused(lock)
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

    def __init__(self, name: str, api: Api, boot: Boot, chores: set[asyncio.Task[None]]) -> None:
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._name = name
        self._api = api
        self._boot = boot
        self._chores = chores
        self._starting: asyncio.Task[None] | None = None
        self._removal: asyncio.Task[None] | None = None
        self._undone = False
        self._asked = False
        self._killed = False

    def start(self, asked: dict[str, Any]) -> asyncio.Task[None]:
        """A task, since a request that was sent cannot be taken back: who is cancelled leaves it running."""
        self._starting = asyncio.create_task(self._api.create_and_start(self._name, asked))
        self._starting.add_done_callback(self._started)
        return self._starting

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

    async def _ask_to_end(self) -> None:
        await _first(self._boot.running, self.ended)
        await self._api.signal(self._name, signal.SIGTERM)
        await asyncio.wait([self.ended])

    async def _kill(self) -> None:
        if self._starting is not None:  # what is not there yet cannot be killed
            await asyncio.wait([self._starting])
        if not self.ended.done():
            self._killed = True
            await self._api.signal(self._name, signal.SIGKILL)
            if not self._boot.running.done():
                self._boot.close()  # it may have died before it could speak, and then no pipe will tell
            await asyncio.wait([self.ended])
        if self._removal is not None:
            await asyncio.wait([self._removal])

    async def _undo(self) -> None:
        if self._starting is not None:
            await asyncio.wait([self._starting])
        self.abandon()
        await self._api.end(self._name)

    def _started(self, starting: asyncio.Task[None]) -> None:
        if not starting.cancelled() and starting.exception() is None and not self._undone:
            _keep(self._chores, self._watch())

    async def _watch(self) -> None:
        ended, running = self._boot.ended, self._boot.running
        await _first(running, ended, timeout=BOOT_SECONDS)
        asking: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        if not running.done() and not ended.done():
            asking = asyncio.create_task(self._api.code(self._name))
        await _first(ended, asking)
        code = asking.result() if asking.done() else None
        asking.cancel()
        output = self._boot.close()
        how = await self._exit(ended.result(), code, output)
        if not self.ended.done():
            self.ended.set_result(how)
        self._removal = _keep(self._chores, self._api.remove(self._name))

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
        by_memory = not self._killed and await self._api.ran_out_of_memory(self._name)
        return Exit(signal=signal.SIGKILL, out_of_memory=by_memory, output=output)


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
