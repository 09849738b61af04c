"""Replicas as processes of this machine: no daemon, no image to pull, a start in milliseconds.

Each replica leads a session of its own, so that one signal reaches all that it started, and a Ctrl-C meant for
the engine reaches none of it. Everything here runs on the loop that called ``start``, which may live in any
thread: a death is seen through a pidfd, not through SIGCHLD.

With a home a replica outlives a driver that is killed: nothing that ties it to this process is there, and its record
tells the next driver which process it is, what bounds it, and what must go when it has ended.
"""

from __future__ import annotations

import asyncio
import functools
import glob
import importlib.util
import os
import site
import sys
from collections.abc import Mapping
from pathlib import Path

from samovar import family
from samovar.drivers import secrets
from samovar.drivers.home import Home, Survivors, write
from samovar.drivers.limits import Groups, Sampler, bound_data, group_name, lasting_group_name
from samovar.drivers.lives import Orphan
from samovar.drivers.output import OnOutput, Rounds
from samovar.drivers.private import PrivateFolder
from samovar.drivers.process_replica import Record, Replica, end
from samovar.drivers.roll import Roll
from samovar.errors import ImageBuildError, ReplicaStartError
from samovar.images import needs
from samovar.model import Bundle, Environment, Exit, ImageSpec
from samovar.ports import Report

RUNTIME = ("-P", "-c", "from samovar.runtime.main import main; main()")
"""What a replica runs. ``-P``: the directory it starts in must not shadow installed packages."""


class ProcessDriver(Roll[Replica]):
    """Implements ``samovar.ports.Driver``. One event loop for all calls.

    ``command`` is what follows the path of Python. ``groups`` are the cgroups that bound replicas; "auto" takes
    those that this process may divide, None uses none: memory is then bounded by sampling, and CPU is not, which is
    reported once an environment. ``home`` is where replicas are found again that outlive this process; without one they
    must not. InitializationError: it is another driver's.
    """

    def __init__(
        self,
        command: tuple[str, ...] = RUNTIME,
        on_output: OnOutput | None = None,
        groups: Groups | str | None = "auto",
        home: Path | None = None,
    ) -> None:
        super().__init__()
        self._command = command
        self._on_output = on_output
        self._groups = Groups.find() if isinstance(groups, str) else groups
        self._sampler = Sampler()
        self._rounds = Rounds()
        self._private = PrivateFolder()
        self._pythons: dict[ImageSpec, str] = {}
        self._removals: set[asyncio.Task[None]] = set()  # of what the dead left behind
        self._unwanted: list[asyncio.Future[Exit]] = []  # whose start was cancelled: killed, soon to be reaped
        self._report: Report = _nowhere
        self._said: set[str] = set()
        self._home = None if home is None else Home(home)
        self._survivors = None if self._home is None else Survivors(self._home.left(Record), end)

    async def prepare(self, environment: Environment, report: Report) -> None:
        self._report = report
        self._warn_of_wishes(environment)
        try:
            self._pythons[environment.image] = await _python_for(environment.image, report)
        except ImageBuildError as error:
            raise ImageBuildError(f"environment {environment.name!r}: {error}") from error

    async def start(self, replica: str, environment: Environment, boot: dict[str, str]) -> None:
        if environment.image not in self._pythons:
            await self.prepare(environment, _nowhere)
        self.check_free(replica, environment)
        python = _interpreter(self._pythons[environment.image], environment.bundle)
        started = self._made(replica, family.new())
        own = _python_variables(python, environment.bundle)
        given = {**own, **variables(environment, boot), family.VARIABLE: started.family}
        try:
            self._settle(started, environment)
            given.update(started.secret_files(environment))
            started.spawn([python, *self._command], given, environment)
        except BaseException as error:
            started.discard()
            if isinstance(error, OSError):  # no room for a folder, or a record
                raise ReplicaStartError(f"{_of(environment)}: {error}", replica) from error
            raise
        self.replicas[replica] = started
        try:
            await self._bound(started, environment)
            started.write_record()
        except BaseException as error:  # cancelled as well: nobody would ever stop it
            started.kill()
            del self.replicas[replica]
            self._unwanted.append(started.ended)
            if isinstance(error, OSError):
                raise ReplicaStartError(f"{_of(environment)}: {error}", replica) from error
            raise

    def survivor(self, replica: str) -> Replica | None:
        while self._survivors is not None and (claimed := self._survivors.claim(replica)) is not None:
            folder, record = claimed
            life = Orphan(record.pid, record.birth)
            if record.is_whole and not life.is_over:
                found = self._made(replica, record.family)
                found.take_over(life, record, folder)
                if record.sampled:
                    self._sample(found, record.sampled)
                return found
            removal = asyncio.get_running_loop().create_task(end(folder, record))
            self._removals.add(removal)
            removal.add_done_callback(self._removals.discard)
        return None

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*(replica.stop(0) for replica in list(self.replicas.values())))
        await asyncio.gather(*self._unwanted)
        if self._survivors is not None:
            await self._survivors.close()
        await asyncio.gather(*self._removals)
        self._sampler.close()
        self._private.close()
        if self._home is not None:
            self._home.close()

    def _made(self, replica: str, mark: str) -> Replica:
        sink = None if self._on_output is None else functools.partial(self._on_output, replica)
        return Replica(replica, mark, self._removals, sink, self._rounds, lasts=self._home is not None)

    def _settle(self, replica: Replica, environment: Environment) -> None:
        """Give it a folder, where it needs one. OSError: there is no room."""
        if self._home is not None:
            replica.folder = self._home.make("replica")
            places = () if self._groups is None else self._groups.places(self._group(replica), environment.limits)
            write(replica.folder, Record(replica.name, replica.family, tuple(map(str, places))))
        elif any(secret.mount for secret in environment.secrets):
            replica.folder = self._private.make("replica")

    def _group(self, replica: Replica) -> str:
        return group_name(replica.name) if self._home is None else lasting_group_name(replica.family)

    async def _bound(self, replica: Replica, environment: Environment) -> None:
        """Put the replica under its limits: by a cgroup where there is one, else by sampling its memory."""
        limits = environment.limits
        if self._groups is not None and self._groups.can_bound(limits):
            # In a thread: the kernel takes milliseconds to move a process.
            making = asyncio.to_thread(self._groups.create, self._group(replica), limits, replica.pid)
            await replica.join(asyncio.ensure_future(making))
        if replica.ended.done():
            return
        held = replica.group.bounds if replica.group is not None else frozenset[str]()
        refused = self._groups.refused if self._groups is not None else {}
        if limits.memory is not None and "memory" not in held:
            bound_data(replica.pid, limits.memory, environment.settings.concurrency)
            self._sample(replica, limits.memory)
            if "memory" in refused:
                why = f"a memory cgroup is refused ({refused['memory']})"
                self._say_once(f"{_of(environment)}: its memory is only sampled: {why}")
        if limits.cpu is not None and "cpu" not in held:
            why = f"a cpu cgroup is refused ({refused['cpu']})" if "cpu" in refused else "no cgroup can be made here"
            self._say_once(f"{_of(environment)} asks for cpu {limits.cpu:g}, which does not hold as a limit: {why}")

    def _sample(self, replica: Replica, limit: int) -> None:
        replica.sampled = limit
        self._sampler.watch(replica.pid, limit, replica.kill_for_memory)
        replica.ended.add_done_callback(lambda _: self._sampler.forget(replica.pid))

    def _warn_of_wishes(self, environment: Environment) -> None:
        """Of what the environment asks for and a process does not get."""
        limits = environment.limits
        if limits.gpu and not glob.glob("/dev/nvidia*"):
            self._say_once(
                f"{_of(environment)} asks for gpu {limits.gpu!r}, but this machine shows none; going on without"
            )
        if environment.network not in ("", "host"):
            wanted = f"{_of(environment)} asks for network {environment.network!r}"
            self._say_once(f"{wanted}, but a process has the machine's own")
        wishes = {"disk": limits.disk, "shm": limits.shm, "pids": limits.pids}
        if asked := ", ".join(name for name, bound in wishes.items() if bound is not None):
            self._say_once(f"{_of(environment)} asks for {asked}, which only a container has")

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._report(line)


def variables(environment: Environment, boot: Mapping[str, str]) -> dict[str, str]:
    """All environment variables of a replica. ReplicaStartError: a secret is not there.

    File secrets are not among them: where their files lie is for the driver to say.

    The engine's own SAMOVAR_ settings stay behind: a replica is told by ``boot`` where it belongs.
    """
    own = {key: value for key, value in os.environ.items() if not key.startswith("SAMOVAR_")}
    own.update(environment.image.env_vars)
    own.update(environment.env_vars)
    own.update(secrets.as_variables(environment))
    own.update(boot)
    return own


def _interpreter(python: str, bundle: Bundle) -> str:
    """Where the image asks for nothing it is the script's own, which may be another than this engine's."""
    if python == sys.executable and bundle.python and os.access(bundle.python, os.X_OK):
        return bundle.python
    return python


async def _python_for(image: ImageSpec, report: Report) -> str:
    if needs.is_plain(image):
        return sys.executable
    from samovar.images import venv  # only here: a start without a venv need not wait for all that makes one

    return await venv.ensure(image, report)


def _python_variables(python: str, bundle: Bundle) -> dict[str, str]:
    """What this Python needs to find samovar and its own commands."""
    if python == sys.executable:
        return {"PYTHONPATH": _python_path(os.environ.get("PYTHONPATH", ""))}
    home = Path(python).parent
    path = os.pathsep.join([str(home), os.environ.get("PATH", os.defpath)])
    found = {"VIRTUAL_ENV": str(home.parent), "PATH": path}
    if python == bundle.python:  # a script's: it has samovar, or has found it where the bundle says
        found["PYTHONPATH"] = os.pathsep.join(bundle.sys_path)
    return found


@functools.cache
def _python_path(inherited: str) -> str:
    """PYTHONPATH, and where samovar and what it needs lie, if this process got them in another way."""
    found = [entry for entry in inherited.split(os.pathsep) if entry]
    for package in ("samovar", "msgspec", "cloudpickle"):
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        home = str(Path(spec.submodule_search_locations[0]).absolute().parent)
        if home not in (*site.getsitepackages(), site.getusersitepackages(), *found):
            found.append(home)
    return os.pathsep.join(found)


def _of(environment: Environment) -> str:
    return f"environment {environment.name!r}"


def _nowhere(_: str) -> None:
    """A report that nobody reads."""
